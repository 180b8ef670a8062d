"""What `training.reproduce` refuses before it trains anything, and the runs of others that it takes."""

import dataclasses
import json

import pytest
from table_helpers import REPORT, reproduction, write_set

from training import job
from training.errors import UserError
from training.reproduction import Reproduction, choose_rows
from training.scales import Scale
from training.table_results import collect
from training.tables import TABLES, Number, Row


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_set(tmp_path_factory.mktemp("data"))


def _table(folder, **facts):
    folder.mkdir(exist_ok=True)
    scale = Scale("20", 2000, precision="mixed_bfloat16").record()
    (folder / "table.json").write_text(json.dumps({"table": 1, "scale": scale, **facts}))


@pytest.mark.parametrize(
    ("number", "scale", "words"),
    [
        (
            2,
            Scale("20", 2000, precision="mixed_bfloat16"),
            r"--table=2 is refused: .* holds table 1; give another --run_dir",
        ),
        (
            1,
            Scale("8", 3000, precision="mixed_bfloat16"),
            r"another scale: depth \(20 there, 8 now\), train_steps \(2000 there, 3000 now\)\. Give the same flags",
        ),
        (1, Scale("20", 2000), r"another scale: precision \(mixed_bfloat16 there, float32 now\)"),
        (1, Scale("20", 2000, data="a/b.npz", precision="mixed_bfloat16"), r"data \(None there, b.npz now\)"),
    ],
)
def test_another_table_or_scale_is_refused_in_one_line(tmp_path, number, scale, words):
    _table(tmp_path)
    table = TABLES[number]
    with pytest.raises(UserError, match=words) as caught:
        Reproduction(table, choose_rows(table, ["all"]), scale, 1, tmp_path).run()
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["table.json"]


def test_a_folder_of_something_else_is_refused(tmp_path, data):
    (tmp_path / "letters.txt").write_text("")
    with pytest.raises(UserError, match=r"holds no table\.json but letters\.txt; give another --run_dir"):
        reproduction(1, tmp_path, data).run()


def test_a_bad_net_leaves_nothing(tmp_path, data):
    bad = Row("bad", "ResNet110", (Number(1.0),), {"design": "none"})
    with pytest.raises(UserError, match="design='none' is unknown"):
        reproduction(dataclasses.replace(TABLES[1], rows=(bad,)), tmp_path / "table", data).run()
    assert not (tmp_path / "table").exists()


@pytest.mark.parametrize("where", ["./nowhere", "nowhere.npz", "cifar11"])
def test_data_that_is_not_there_is_told_before_any_plan(tmp_path, capsys, where):
    with pytest.raises(UserError, match=r"no such folder|No such file|unknown to TFDS; the nearest: cifar10"):
        reproduction(1, tmp_path / "table", where).run()
    assert (capsys.readouterr().out, list(tmp_path.iterdir())) == ("", [])


def test_a_run_of_the_trainer_is_taken_and_one_of_other_settings_refused(tmp_path, data, monkeypatch, capsys):
    """There need be no table.json: the folders may have been filled by `training.train`."""
    row = TABLES[1]["scaling_0.5"]
    options = {"depth": 8, "shortcut": "constant_scaling", "shortcut_options": {"scale": 0.5, "residual_scale": 1}}
    recipe = {"recipe": "paper_cifar", "recipe_overrides": {"train_steps": 2, "batch_size": 8}}
    path = tmp_path / "table" / row.name / "run1"
    monkeypatch.chdir(tmp_path)
    job.run(job.Job(data, "ResNet110", model_options=options, **recipe, run_dir=str(path), export=False))
    assert capsys.readouterr().out.splitlines()[-1] == f"run folder {path}"
    assert [entry.name for entry in tmp_path.iterdir()] == ["table"]  # No SavedModel.
    record = (path / "run.json").read_text()
    assert "export" not in json.loads(record)["settings"]
    monkeypatch.setattr(job, "run", None)
    lines = reproduction(1, tmp_path / "table", data, (row.name,), depth="8").run()
    assert [line.row.name for line in lines if line.errors] == [row.name]
    assert (path / "run.json").read_text() == record
    for name in REPORT:
        (tmp_path / "table" / name).unlink()
    words = r"run1 holds a run with other settings: train_steps \(2 there, 3 now\), learning_rate_drops .* --run_dir"
    with pytest.raises(UserError, match=words):
        collect(TABLES[1], Scale("8", 3, 8, data), tmp_path / "table")
