import pandas as pd
import pytest
import tensorflow as tf

from training.logs import RunLog, Table
from training.meter import Meter

EVALUATION = {
    "epoch": 1.0,
    "learning_rate": 0.1,
    "train_loss": 1 / 3,
    "train_error": 20.0,
    "test_loss": 0.5,
    "test_error": 100 / 3,
    "images_per_second": 10.0,
    "seconds": 5.5,
}


def _events(folder):
    found = {}
    for file in (folder / "tensorboard").iterdir():
        for event in tf.compat.v1.train.summary_iterator(str(file)):
            for value in event.summary.value:
                assert value.metadata.plugin_data.plugin_name in ("scalars", "")
                found.setdefault(value.tag, []).append((event.step, float(tf.make_ndarray(value.tensor))))
    return found


def _filled(folder):
    log = RunLog(folder, "a net", 0)
    for step in (10, 20, 30):
        log.add_steps({"step": step, "loss": step / 7, "gradient_norm_stem": 1.5})
        if step != 20:
            log.add_evaluation({"step": step, **EVALUATION})
    log.close()


def test_numbers_are_read_as_they_were_written(tmp_path):
    table, values = Table(tmp_path / "a.csv"), [1 / 3, 0.1, 1e-300, 123456789.123456789, 5e-324]
    for step, value in enumerate(values):
        table.add({"step": step, "value": value})
    assert Table(tmp_path / "a.csv").rows["value"].tolist() == values
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


def test_rows_after_a_step_are_cut_off(tmp_path):
    table = Table(tmp_path / "a.csv")
    for step in (5, 10, 15):
        table.add({"step": step, "loss": step / 3})
    table.cut(10)
    expected = pd.DataFrame({"step": [5, 10], "loss": [5 / 3, 10 / 3]})
    pd.testing.assert_frame_equal(Table(tmp_path / "a.csv").rows, expected)
    pd.testing.assert_frame_equal(table.rows, expected)


def test_both_tables_are_events_of_tensorboard(tmp_path):
    _filled(tmp_path)
    events = _events(tmp_path)
    assert [step for step, _ in events["training/loss"]] == [10, 20, 30]
    assert events["training/loss"][1][1] == pytest.approx(20 / 7)
    assert events["evaluation/test_error"] == [(10, pytest.approx(100 / 3)), (30, pytest.approx(100 / 3))]
    assert set(events) == {"training/loss", "training/gradient_norm_stem", *(f"evaluation/{key}" for key in EVALUATION)}
    assert (tmp_path / "learning_curve.png").read_bytes().startswith(b"\x89PNG")


def test_a_run_that_goes_on_loses_rows_and_events_after_its_step(tmp_path):
    _filled(tmp_path)
    log = RunLog(tmp_path, "a net", 20)
    assert log.seconds == 5.5
    log.add_steps({"step": 30, "loss": 9.0, "gradient_norm_stem": 2.0})
    log.close()
    assert log.steps.rows["step"].tolist() == [10, 20, 30]
    assert log.metrics.rows["step"].tolist() == [10]
    events = _events(tmp_path)
    assert [value for _, value in events["training/loss"]] == pytest.approx([10 / 7, 20 / 7, 9.0])
    assert [step for step, _ in events["evaluation/test_loss"]] == [10]


def test_a_run_that_begins_anew_loses_all(tmp_path):
    _filled(tmp_path)
    log = RunLog(tmp_path, "a net", 0)
    log.close()
    assert (len(log.steps.rows), len(log.metrics.rows), log.seconds) == (0, 0, 0.0)
    assert _events(tmp_path) == {}


def test_a_meter_tells_the_rate_and_what_was_spent_waiting(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("training.meter.time.monotonic", lambda: now[0])
    meter = Meter(batch_size=10, seconds_before=7.0)
    now[0] = 150.0
    meter.add(1, waited=40.0)  # The graph was built.
    now[0] = 154.0
    meter.add(8, waited=1.0)
    assert meter.columns() == {"images_per_second": 20.0, "waiting_share": 0.25}
    assert meter.seconds == 61.0
    with meter.paused():
        now[0] = 254.0
    now[0] = 255.0
    meter.add(3, waited=0.5)
    assert meter.columns() == {"images_per_second": 30.0, "waiting_share": 0.5}
