"""`python -m training.evaluate` as a user starts it, on a net that `training.train` has made."""

import json
import os
from pathlib import Path

import keras
import pandas as pd
import pytest
from programs import messages, run_program

from keras_preresnet import ResidualNetwork

ROOT = Path(__file__).parents[2]
FILES = {"evaluation.json", "per_class.csv", "confusion_matrix.csv", "confusion_matrix.png", "reliability.png"}


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("work")
    arguments = ("--train_steps=4", "--steps_per_evaluation=4", "--precision=mixed_bfloat16")
    process = run_program("train", *arguments, "--run_dir=run", "--saved_model_dir=net", cwd=folder)
    assert process.returncode == 0, process.stderr
    return folder


@pytest.fixture(scope="module")
def evaluated(work):
    """The three sources: their output and evaluation.json."""
    results = {}
    for source, arguments in {
        "run": ("--net=run", "--predictions"),
        "file": ("--net=run/model.keras", "--output_dir=of_file", "--batch_size=7"),
        "saved_model": ("--net=net", "--data=digits"),
    }.items():
        process = run_program("evaluate", *arguments, cwd=work)
        assert process.returncode == 0, process.stderr
        own = f"evaluation/{work.name}_net"
        folder = work / {"run": "run/evaluation", "file": "of_file", "saved_model": own}[source]
        results[source] = process, folder, json.loads((folder / "evaluation.json").read_text())
    return results


def test_every_source_has_the_error_that_the_run_ended_with(work, evaluated):
    result = json.loads((work / "run" / "run.json").read_text())["result"]
    for process, _, facts in evaluated.values():
        assert (facts["images"], facts["wrong"], facts["error"]) == (360, result["wrong"], result["test_error"])
        assert facts["loss"] == pytest.approx(result["loss"], rel=1e-4)
        words = f"PreResNet20 on digits: error {result['test_error']:.2f} % ({result['wrong']} of 360 images wrong, "
        assert words.lower() in process.stdout.lower()
        assert "top-5 error " in process.stdout
        assert "expected calibration error " in process.stdout
        assert process.stdout.count("│ 3") >= 1  # The table has a row for each digit.
        assert messages(process) == []
    assert [facts["loaded_from"] for _, _, facts in evaluated.values()] == ["keras", "keras", "SavedModel"]


def test_its_files_are_whole_agree_and_name_no_place(work, evaluated):
    for source, (_, folder, facts) in evaluated.items():
        extra = {"predictions.csv"} if source == "run" else set()
        assert {path.name for path in folder.iterdir()} == FILES | extra
        counts = pd.read_csv(folder / "confusion_matrix.csv", index_col=0).to_numpy()
        assert counts.sum() - counts.trace() == facts["wrong"]
        classes = pd.read_csv(folder / "per_class.csv")
        assert (classes["images"] * classes["error"] / 100).sum() == pytest.approx(facts["wrong"])
        assert sum(row["images"] for row in facts["calibration_bins"]) == 360
        for path in folder.glob("*.[jc]s*"):
            text = path.read_text()
            assert os.uname().nodename not in text
            assert str(work) not in text
            assert os.path.expanduser("~") + "/" not in text
    predictions = pd.read_csv(work / "run" / "evaluation" / "predictions.csv")
    assert (predictions["label"] != predictions["predicted"]).sum() == evaluated["run"][2]["wrong"]


def test_bad_input_gets_one_line_and_leaves_nothing(work, tmp_path):
    run = work / "run"
    (tmp_path / "cut.keras").write_bytes((run / "model.keras").read_bytes()[:9999])
    images = keras.Input((8, 8, 1))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Lambda(lambda x: 2 * x)(images))
    keras.Model(images, keras.layers.Dense(10)(x)).save(tmp_path / "code.keras")
    ResidualNetwork(units=(1,), widths=(16,), classes=7, input_shape=(8, 8, 1)).save(tmp_path / "seven.keras")
    before = {path.name for path in tmp_path.iterdir()}
    expected = {
        "nowhere": "--net=nowhere does not exist; a run folder, a .keras file, a SavedModel, an exported .onnx or ",
        "cut.keras": "cut.keras is damaged or no .keras file; save the net again.",
        "code.keras": "code.keras cannot be loaded: it holds Python code, a Lambda layer, ",
        "seven.keras": "residual_network tells 7 classes apart, digits has 10: no match.",
    }
    for net, words in expected.items():
        process = run_program("evaluate", f"--net={net}", "--data=digits", cwd=tmp_path)
        assert process.returncode == 1
        (line,) = messages(process)
        assert line.startswith(f"error: {words}")
    assert {path.name for path in tmp_path.iterdir()} == before
