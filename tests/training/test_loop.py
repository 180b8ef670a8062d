"""The loop on a small net: what it writes and when, and how it stops. Kills of the real program are in test_kills."""

import dataclasses
import functools
import os
import resource
import signal
from contextlib import closing

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from seeds import draw_anew
from training_helpers import numbered_data

from keras_preresnet import ResidualNetwork
from training.errors import UserError
from training.interruption import Stopped
from training.loop import Intervals, Training
from training.recipes import Recipe
from training.runs import RunFolder
from training.step import TrainingStep

DATA = numbered_data(40, test_count=11, classes=3)
RECIPE = Recipe(batch_size=8, train_steps=10, warmup_steps=0, learning_rate_drops=(6,), crop_padding=1)
RECORD = {"status": "running", "settings": {"model": "small"}, "data": {"sha256": "0"}}
INTERVALS = Intervals(evaluation=5, checkpoint=3, log=4, report=2)
NET = {"units": (3,), "widths": (8,), "stem_width": 8, "classes": 3, "input_shape": (8, 8, 1)}
TIME_COLUMNS = ["images_per_second", "waiting_share"]


class _Step(TrainingStep):
    """Calls `before` ahead of each step, with the number of steps done."""

    before = staticmethod(lambda done: None)

    def __call__(self, *arguments):
        self.before(self.done)
        return super().__call__(*arguments)


def _training(path, recipe=RECIPE, precision="float32", intervals=INTERVALS, data=DATA, before=None):
    draw_anew(4)
    step = _Step(ResidualNetwork(**NET, shortcut="dropout", dtype=precision), recipe, precision)
    step.before = before or step.before
    folder = RunFolder(path)
    folder.open(RECORD)
    return Training(step, data, 7, folder, intervals)


def _run(path, **options):
    training = _training(path, **options)
    with closing(training.folder):
        return training, training.run()


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """A function of `_run`'s options: the unbroken run and its outcome, made when it is first asked for."""
    return functools.cache(lambda **options: _run(tmp_path_factory.mktemp("whole"), **options))


def _state(training):
    return {name: np.array(variable) for name, variable in training.saved.items()}


def _interrupt(after):
    def before(done):
        if done == after:
            raise KeyboardInterrupt

    return before


@pytest.mark.parametrize(
    "precision", ["float32", "mixed_bfloat16", pytest.param("mixed_float16", marks=pytest.mark.slow)]
)
def test_a_broken_run_ends_as_an_unbroken_one(tmp_path, unbroken, precision):
    """Broken off after its second checkpoint."""
    _break_off_and_compare(tmp_path, unbroken, 8, precision)


def test_a_run_broken_off_before_its_first_checkpoint_starts_again(tmp_path, unbroken):
    _break_off_and_compare(tmp_path, unbroken, 2, "float32")


def _break_off_and_compare(path, unbroken, stop_after, precision):
    recipe = dataclasses.replace(RECIPE, ema_momentum=0.5, clip_norm=1.0)
    options = {"precision": precision, "recipe": recipe}
    whole, outcome = unbroken(**options)
    with pytest.raises(KeyboardInterrupt):
        _run(path, before=_interrupt(stop_after), **options)
    again, same = _run(path, **options)
    assert same == outcome
    states = _state(whole), _state(again)
    assert any("seed" in name for name in states[0])
    for name, value in states[0].items():
        assert np.isfinite(value).all(), name
        np.testing.assert_array_equal(value, states[1][name], err_msg=name)
    for table in ("metrics", "steps"):
        rows = [getattr(training.log, table).rows.drop(columns=TIME_COLUMNS) for training in (whole, again)]
        pd.testing.assert_frame_equal(*(row.drop(columns="seconds", errors="ignore") for row in rows))


def test_tables_have_a_row_for_each_interval_and_one_for_the_end(tmp_path):
    training, outcome = _run(tmp_path, recipe=dataclasses.replace(RECIPE, train_steps=12))
    rows = training.log.metrics.rows
    assert rows["step"].tolist() == [5, 10, 12]
    assert rows["epoch"].tolist() == [1.0, 2.0, 2.4]
    assert rows["learning_rate"].tolist() == pytest.approx([0.1, 0.01, 0.01])
    assert rows["test_error"].iloc[-1] == pytest.approx(outcome.score.error)
    assert training.log.steps.rows["step"].tolist() == [4, 8, 12]
    norms = {column for column in training.log.steps.rows if column.startswith("gradient_norm_")}
    assert norms == {"gradient_norm_stem", "gradient_norm_stage1", "gradient_norm_head"}
    names = {path.name for path in tmp_path.iterdir()}
    assert {"metrics.csv", "steps.csv", "learning_curve.png", "tensorboard", "checkpoints", "best.keras"} <= names


def test_train_loss_is_the_mean_over_the_images_since_the_last_evaluation(tmp_path):
    losses = []
    training = _training(tmp_path)
    training.step = _Recording(training.step, losses)
    with closing(training.folder):
        training.run()
    assert training.log.metrics.rows["train_loss"].tolist() == pytest.approx(
        [np.mean(losses[:5]), np.mean(losses[5:])], rel=1e-5
    )
    assert training.log.steps.rows["loss"].tolist() == pytest.approx(
        [np.mean(losses[:4]), np.mean(losses[4:8]), np.mean(losses[8:])], rel=1e-5
    )


class _Recording:
    """A step that notes its losses."""

    def __init__(self, step, losses):
        self._step, self._losses = step, losses

    def __getattr__(self, name):
        return getattr(self._step, name)

    def __call__(self, *arguments):
        results = self._step(*arguments)
        self._losses.append(float(results[0]))
        return results


@pytest.mark.parametrize("call", [3, 100])
def test_several_steps_a_call_change_nothing(tmp_path, unbroken, call):
    whole, outcome = unbroken()
    several, same = _run(tmp_path, intervals=dataclasses.replace(INTERVALS, call=call))
    assert same == outcome
    for name, value in _state(whole).items():
        np.testing.assert_array_equal(value, _state(several)[name], err_msg=name)


def test_the_best_net_is_kept_beside_the_last(tmp_path):
    training, outcome = _run(tmp_path, recipe=dataclasses.replace(RECIPE, train_steps=30))
    errors = training.log.metrics.rows.set_index("step")["test_error"]
    assert outcome.best_error == errors.min()
    assert outcome.best_step == errors.idxmin()
    best = keras.saving.load_model(tmp_path / "best.keras")
    logits = best(DATA.preprocessing(DATA.test.images), training=False).numpy()
    assert 100 * np.mean(logits.argmax(1) != DATA.test.labels) == pytest.approx(outcome.best_error)


def test_a_finished_run_is_only_evaluated(tmp_path):
    first, outcome = _run(tmp_path)
    again, same = _run(tmp_path)
    assert same == outcome
    assert len(again.log.metrics.rows) == 2
    np.testing.assert_array_equal(first.step.model.get_weights()[0], again.step.model.get_weights()[0])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_it_saves_and_goes_on_later(tmp_path, unbroken, number):
    """Told during the fifth step, it stops after the sixth: in a cluster all processes are to hear of it."""
    whole, _ = unbroken()

    def tell(done):
        if done == 4:
            os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    with pytest.raises(Stopped, match="stopped after step 6 and saved; the same command goes on from there"):
        _run(tmp_path, before=tell)
    assert signal.getsignal(number) is before
    assert (tmp_path / "checkpoints" / "step_00000006").is_dir()
    again, _ = _run(tmp_path)
    for name, value in _state(whole).items():
        np.testing.assert_array_equal(value, _state(again)[name], err_msg=name)


def _checkpoints_are_finite(path):
    found = sorted((path / "checkpoints").glob("step_*"))
    for checkpoint in found:
        reader = tf.train.load_checkpoint(str(checkpoint / "variables"))
        names = [key for key in reader.get_variable_to_shape_map() if key.startswith("variables/model")]
        assert all(np.isfinite(reader.get_tensor(key)).all() for key in names if "VARIABLE_VALUE" in key)
    return len(found)


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_step(tmp_path):
    """The net is ruined between the seventh step and the eighth; the checkpoint of step 6 is kept."""

    def ruin(done):
        if done == 7:
            training.step.model.get_layer("predictions").bias.assign([np.nan, 0, 0])

    training = _training(tmp_path, before=ruin)
    with (
        closing(training.folder),
        pytest.raises(
            UserError, match=r"the loss of step 8 is not finite .* lower --learning_rate.* is kept"
        ) as caught,
    ):
        training.run()
    assert "\n" not in str(caught.value)
    assert _checkpoints_are_finite(tmp_path) == 2


def test_an_exploding_loss_stops_the_run(tmp_path):
    with pytest.raises(UserError, match=r"the loss of step \d+ is not finite or has exploded"):
        _run(tmp_path, recipe=dataclasses.replace(RECIPE, learning_rate=1e6))


def test_no_checkpoint_holds_weights_that_are_not_finite(tmp_path):
    """The first step has a finite loss and ruins the weights."""
    recipe, intervals = dataclasses.replace(RECIPE, learning_rate=1e39), Intervals(100, checkpoint=1, report=100)
    with pytest.raises(UserError, match=r"the weights are no longer finite, after step 1\. .* another --run_dir"):
        _run(tmp_path, recipe=recipe, intervals=intervals)
    assert _checkpoints_are_finite(tmp_path) == 0


def test_a_full_disk_stops_the_run_in_one_line_and_keeps_the_last_good_checkpoint(tmp_path, unbroken):
    """From step 5 on no file may grow over 2,000 bytes: what the disk says then is another errno, by the same way."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(done):
        if done == 5:
            resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))

    try:
        with pytest.raises(UserError, match=r"could not be written to: .*The last good checkpoint is kept") as caught:
            _run(tmp_path, before=fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "\n" not in str(caught.value)
    assert (tmp_path / "checkpoints" / "step_00000003").is_dir()
    whole, _ = unbroken()
    again, _ = _run(tmp_path)
    for name, value in _state(whole).items():
        np.testing.assert_array_equal(value, _state(again)[name], err_msg=name)


def test_images_that_cannot_be_decoded_stop_the_run(tmp_path):
    data = numbered_data(40, test_count=11, classes=3)

    def spoil(done):
        if done == 3:
            data.bad_images.record("cat/broken.jpg")

    with pytest.raises(UserError, match=r"1 image could not be decoded: cat/broken\.jpg"):
        _run(tmp_path, data=data, before=spoil)


def test_seconds_go_on_after_a_break(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        _run(tmp_path, before=_interrupt(8))
    before = pd.read_csv(tmp_path / "metrics.csv")["seconds"].iloc[0]
    training, _ = _run(tmp_path)
    assert training.log.metrics.rows["seconds"].is_monotonic_increasing
    assert training.log.metrics.rows["seconds"].iloc[0] == before


@pytest.mark.parametrize(("done", "count"), [(0, 2), (1, 1), (2, 1), (3, 1), (4, 1), (8, 1), (9, 1)])
def test_no_call_passes_over_an_interval(done, count):
    """Grids of 5, 3, 4 and 2 steps, ten in all."""
    assert dataclasses.replace(INTERVALS, call=100).until_next(done, 10) == count


def test_the_net_that_is_kept_as_the_best_and_what_is_known_of_it_are_saved_together(tmp_path, monkeypatch):
    """Of 5, 7, 6, 6 and 6 wrong answers the first is the best: there is a checkpoint of that step."""
    wrong = iter((5, 7, 6, 6, 6))
    scored = Training._score

    def score(training):
        return dataclasses.replace(scored(training), wrong=next(wrong), images=10)

    monkeypatch.setattr(Training, "_score", score)
    training, outcome = _run(tmp_path, intervals=Intervals(evaluation=2, checkpoint=100))
    assert (outcome.best_step, outcome.best_error) == (2, 50.0)
    names = sorted(path.name for path in training.checkpoints.folder.iterdir())
    assert names == ["step_00000002", "step_00000010"]
