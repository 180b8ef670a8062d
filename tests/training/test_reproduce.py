"""Tables run end to end by the real trainer, on small nets and few images."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import pandas as pd
import pytest
import tensorflow as tf
from programs import environment, run_program
from seeds import draw_anew
from table_helpers import REPORT, reproduction, write_set
from training_helpers import write_images

from training import job, logs, reproduction_report
from training.errors import UserError
from training.interruption import Stopped, StopSignal
from training.tables import TABLES, Number, Row


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_set(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def made():
    """The folders of finished runs, by their settings."""
    return {}


@pytest.fixture
def quick(monkeypatch, made):
    """Rows of the same settings are trained once, and figures, which take as long, have tests of their own.

    Returns what trains in any case.
    """
    tf.get_logger().setLevel("ERROR")
    run = job.run

    def run_once(one):
        key, folder = repr(dataclasses.replace(one, run_dir=None)), Path(one.run_dir)
        if key in made and not folder.exists():
            shutil.copytree(made[key], folder)
        else:
            run(one)
        made[key] = folder

    def draw(table, lines, folder):
        for name in ("curves.png", "curves.svg"):
            (folder / name).write_text("<svg/>")

    monkeypatch.setattr(job, "run", run_once)
    monkeypatch.setattr(keras.utils, "set_random_seed", draw_anew)
    monkeypatch.setattr(logs, "draw_learning_curve", lambda *_: None)
    monkeypatch.setattr(reproduction_report, "draw_curves", draw)
    return run


def _record(folder, row, run=1):
    return json.loads((folder / row / f"run{run}" / "run.json").read_text())


@pytest.mark.parametrize(("number", "rows"), [(1, 16), (2, 10), (3, 12), (4, 9)])
def test_every_row_of_a_cifar_table_runs(tmp_path, data, quick, number, rows):
    table = TABLES[number]
    lines = reproduction(table, tmp_path, data).run()
    assert {path.name for path in tmp_path.iterdir()} == REPORT | {row.name for row in table.rows if row.model}
    ended = [line for line in lines if line.errors]
    assert len(ended) == rows
    assert all(line.runs[0].last_step == 2 for line in ended)
    for line in lines:
        if line.row.model is None:
            assert line.here == "not run: of another paper"
            continue
        settings = _record(tmp_path, line.row.name)["settings"]
        assert (settings["model"], settings["train_steps"], settings["seed"]) == (line.row.model, 2, 0)
        assert settings["model_options"].items() >= line.row.options.items()
        assert "2 of " in line.scale_of_runs
        assert "set.npz instead of cifar10" in line.scale_of_runs
        assert line.scale_of_runs.endswith("1 of 5 runs")
    frame = pd.read_csv(tmp_path / "table.csv")
    assert (frame["row"].tolist(), frame["error"].notna().sum()) == ([row.name for row in table.rows], rows)


IMAGENET_SCALE = {"image_size": 32, "batch_size": 6}


def _small_imagenet(folder):
    """Six classes, so that there is a top-5 error."""
    write_images(folder, {f"{split}/class{k}": 2 for k in range(6) for split in ("train", "val")}, (40, 48))
    return str(folder)


@pytest.mark.parametrize("model", ["PreResNet18", pytest.param(None, marks=pytest.mark.slow)])
def test_imagenet_rows_are_tested_at_each_of_the_papers_sizes(tmp_path, quick, model):
    """All rows of Table 5 at 50 layers, and quickly one of them at 18."""
    table, name = TABLES[5], "preactivation_200_inception"
    if model:
        table = dataclasses.replace(table, rows=(dataclasses.replace(table[name], model=model), table["Inception-v3"]))
    plan = reproduction(table, tmp_path / "table", _small_imagenet(tmp_path / "images"), **IMAGENET_SCALE)
    lines = {line.name: line for line in plan.run()}
    for line in lines.values():
        if line.row.model is None:
            assert line.here == "not run: of another paper"
            continue
        assert len(line.errors) == 1
        assert 0 <= line.top5 <= line.median <= 100
        assert " / " in line.here
        assert f"tested at {32 if line.number.crop == 224 else 46} of {line.number.crop}" in line.scale_of_runs
    run = tmp_path / "table" / name / "run1"
    for folder, side, crop in (("evaluation", 32, None), ("evaluation_46", 46, 46)):
        facts = json.loads((run / folder / "evaluation.json").read_text())
        assert (facts["image_shape"], facts["crop"], facts["images"]) == ([side, side, 3], crop, 12)
    record = _record(tmp_path / "table", name)
    assert lines[f"{name} @224"].median == pytest.approx(record["result"]["test_error"])
    assert (record["settings"]["augmentation"], record["settings"]["recipe"]) == ("inception", "paper_imagenet")
    assert record["settings"]["model_options"] == {"depth": 18 if model else 50}


@pytest.mark.slow
@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_every_row_runs_at_the_papers_depth(tmp_path, data, quick, number):
    lines = reproduction(number, tmp_path, data, depth=None).run()
    for line in lines:
        if line.row.model:
            assert "depth" not in line.scale_of_runs
            assert line.errors
            assert "depth" not in _record(tmp_path, line.row.name)["settings"]["model_options"]


def test_more_runs_have_seeds_of_their_own_and_finished_ones_are_kept(tmp_path, data, quick, monkeypatch):
    rows = ("original_110", "original_164")
    reproduction(2, tmp_path, data, rows[:1]).run()
    before = (tmp_path / "original_110" / "run1" / "run.json").stat().st_mtime_ns
    made = []
    run = job.run
    monkeypatch.setattr(job, "run", lambda one: made.append(Path(one.run_dir)) or run(one))
    lines = reproduction(2, tmp_path, data, rows, runs=2).run()
    assert [path.relative_to(tmp_path) for path in made] == [
        Path("original_164/run1"),
        Path("original_110/run2"),
        Path("original_164/run2"),
    ]
    assert (tmp_path / "original_110" / "run1" / "run.json").stat().st_mtime_ns == before
    assert [_record(tmp_path, "original_164", number)["settings"]["seed"] for number in (1, 2)] == [0, 1]
    assert [len(line.errors) for line in lines if line.runs] == [2, 2]
    assert [line.here for line in lines if not line.runs] == ["not run"] * 8
    del made[:]
    reproduction(2, tmp_path, data, rows, runs=2).run()
    assert made == []


def test_a_run_that_explodes_is_a_fail_and_the_table_goes_on(tmp_path, data, quick, capsys):
    exploding = Row("exploding", "ResNet110", (Number(6.61),), overrides={"learning_rate": 1e6})
    table = dataclasses.replace(TABLES[2], rows=(exploding, TABLES[2].rows[0]))
    lines = reproduction(table, tmp_path, data).run()
    assert "fail: the loss of step " in capsys.readouterr().out
    assert lines[0].here == "fail (the loss exploded)"
    assert lines[1].here == f"{lines[1].median:.2f}"
    failure = json.loads((tmp_path / "exploding" / "run1" / "failed.json").read_text())
    assert "is not finite or has exploded" in failure["reason"]
    reproduction(table, tmp_path, data).run()
    assert "0 of 2 runs to make" in capsys.readouterr().out


def test_a_stop_leaves_a_report_and_the_same_command_goes_on(tmp_path, data, quick, monkeypatch, capsys):
    rows = ("original_110", "full_preactivation_110", "original_164")
    run = job.run

    def interrupted(one):
        if "full_preactivation" not in one.run_dir:
            run(one)
            return
        os.kill(os.getpid(), signal.SIGTERM)  # While the net is not even built.
        quick(one)

    monkeypatch.setattr(job, "run", interrupted)
    with pytest.raises(Stopped, match="stopped with 1 of 3 runs made; the same command goes on from there"):
        reproduction(2, tmp_path, data, rows).run()
    frame = pd.read_csv(tmp_path / "table.csv").set_index("row")["result"]
    assert float(frame["original_110"]) > 0
    assert frame["full_preactivation_110"] == "broken off after step 1"
    assert frame["original_164"] == "not run"
    assert {path.name for path in tmp_path.iterdir()} == REPORT | set(rows[:2])
    monkeypatch.setattr(job, "run", run)
    capsys.readouterr()
    lines = reproduction(2, tmp_path, data, rows).run()
    printed = capsys.readouterr().out
    assert "2 of 3 runs to make" in printed
    assert "going on after step 1" in printed
    assert sum(len(line.errors) for line in lines) == 3


def test_a_stop_signal_within_another_tells_it_and_knows_what_it_has_received():
    with StopSignal() as outer:
        with StopSignal() as inner:
            os.kill(os.getpid(), signal.SIGTERM)
            assert inner.received
        assert outer.received
        with StopSignal() as later:
            assert later.received
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)


def test_the_program_stops_with_75(tmp_path, data):
    size = ("--depth=smallest", "--train_steps=100000", "--batch_size=8", "--runs=1")
    where = (f"--data={data}", f"--run_dir={tmp_path / 'table'}")
    command = [sys.executable, "-m", "training.reproduce", "--table=1", "--rows=identity", *size, *where]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment(), **pipes)
    while not (tmp_path / "table" / "identity" / "run1" / "metrics.csv").exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=100)
    assert process.returncode == 75, errors
    assert output.splitlines()[-1] == "stopped with 0 of 1 runs made; the same command goes on from there"
    assert "broken off after step" in (tmp_path / "table" / "table.md").read_text()


@pytest.mark.slow
def test_row_after_row_runs_on_two_replicas(tmp_path, data):
    size = ("--depth=smallest", "--train_steps=2", "--batch_size=8", "--runs=1", "--rows=identity,scaling_0.5")
    flags = ("--table=1", f"--data={data}", "--run_dir=table", *size)
    process = run_program("reproduce", *flags, "--cpu_replicas=2", cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    assert process.stdout.count("batch norm over 1/2 of the batch") == 2
    for row in ("identity", "scaling_0.5"):
        record = json.loads((tmp_path / "table" / row / "run1" / "run.json").read_text())
        assert record["settings"]["replicas"] == 2
    process = run_program("reproduce", *flags, cwd=tmp_path)
    assert process.returncode == 1
    assert "another scale: cpu_replicas (2 there, None now)" in process.stderr


def test_the_cpu_is_split_before_the_data_is_looked_for(tmp_path, data, monkeypatch):
    """Looking for a set of TFDS makes TensorFlow use the CPU, which cannot be split afterwards."""
    calls = []
    monkeypatch.setattr("training.reproduction.choose_strategy", lambda cpu_replicas: calls.append(cpu_replicas))

    def find_data(*place):
        raise UserError(f"asked after {calls}")

    monkeypatch.setattr("training.reproduction.find_data", find_data)
    with pytest.raises(UserError, match=r"asked after \[2\]"):
        reproduction(1, tmp_path / "table", data, cpu_replicas=2).run()
