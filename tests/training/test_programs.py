"""The real programs, as a user starts them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import training_helpers  # noqa: F401 - registers the data set uneven_squares.
from absl import flags
from absl.testing import flagsaver
from programs import messages, run_program

from training import recipes, train
from training.devices import usable_cores
from training.errors import UserError

QUICK = ("--train_steps=4", "--steps_per_evaluation=2")
RESULT = "test accuracy"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("work")
    process = run_program("train", *QUICK, "--run_dir=run", "--saved_model_dir=net", cwd=folder, fresh=True)
    assert process.returncode == 0, process.stderr
    return folder, process


def test_training_leaves_a_whole_run_folder(run):
    folder, process = run
    names = {path.name for path in (folder / "run").iterdir()}
    assert names == {
        ".lock",
        "run.json",
        "metrics.csv",
        "steps.csv",
        "learning_curve.png",
        "tensorboard",
        "checkpoints",
        "best.keras",
        "model.keras",
    }
    assert (folder / "net" / "1" / "saved_model.pb").exists()
    assert "PreResNet20, 269,434 parameters, on digits (1437 training and 360 test images)" in process.stdout
    assert RESULT in process.stdout


def test_the_record_has_settings_data_versions_and_result_and_names_no_place(run):
    folder, _ = run
    text = (folder / "run" / "run.json").read_text()
    record = json.loads(text)
    assert record["status"] == "finished"
    assert (record["settings"]["train_steps"], record["settings"]["recipe"]) == (4, "digits")
    assert record["data"]["name"] == "digits"
    assert len(record["data"]["sha256"]) == 64
    assert record["environment"]["tensorflow"].startswith("2.")
    assert record["environment"]["cores"] == usable_cores()
    assert record["result"]["images"] == 360
    assert os.uname().nodename not in text
    assert str(folder) not in text
    assert os.path.expanduser("~") + "/" not in text


def test_missing_packages_are_named_in_one_line():
    hide = (
        "import importlib.util as util; find = util.find_spec; hidden = ('sklearn', 'matplotlib');"
        "util.find_spec = lambda name, *rest: None if name in hidden else find(name, *rest);"
        "import training"
    )
    process = subprocess.run(
        [sys.executable, "-c", hide], cwd=Path(__file__).parents[2], capture_output=True, text=True
    )
    assert process.returncode == 1
    assert process.stderr == "error: matplotlib, scikit-learn not installed; in the clone: pip install -e '.[train]'\n"


def test_a_finished_run_says_so(run):
    folder, _ = run
    process = run_program("train", *QUICK, "--run_dir=run", "--saved_model_dir=net", cwd=folder)
    assert process.returncode == 0, process.stderr
    assert process.stdout.startswith("run is finished: test error ")
    assert not (folder / "net" / "2").exists()


def test_other_flags_are_refused_by_name(run):
    folder, _ = run
    process = run_program("train", *QUICK, "--learning_rate=0.2", "--seed=3", "--run_dir=run", cwd=folder)
    assert process.returncode == 1
    assert messages(process) == [
        "error: run holds a run with other settings: learning_rate (0.1 there, 0.2 now), seed (0 there, 3 now). "
        "Give the same flags to go on with it, or another --run_dir (--init_from=run begins with its weights)."
    ]


def test_the_exported_net_answers_about_an_image(run):
    folder, _ = run
    process = run_program("predict", "--saved_model=net", "--index=3", cwd=folder, fresh=True)
    assert process.returncode == 0, process.stderr
    asked, *_ = process.stdout.splitlines()
    assert asked == "asked: net/1"
    assert "test image 3 of digits: the net says" in process.stdout
    assert "; the truth is " in process.stdout
    assert process.stdout.count("@@") > 3  # The digit itself is drawn.


def test_bad_input_gets_one_line_and_leaves_nothing(tmp_path):
    process = run_program("train", "--design=preactivation", "--run_dir=run", "--saved_model_dir=net", cwd=tmp_path)
    assert process.returncode == 1
    (line,) = messages(process)
    assert line.startswith("error: design='preactivation' is unknown; allowed: original, bn_after_addition, ")
    assert line.endswith("Did you mean 'full_preactivation' or 'relu_only_preactivation'?")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--model=PreResNet21",), "'PreResNet21' is unknown; the nearest are PreResNet20, PreResNet18, PreResNet32"),
        (("--model=ViT",), "model='ViT' is unknown; the nearest are"),
        (("--data=digit",), "--data=digit is unknown to TFDS; the nearest: digits"),
        (("--classes=7",), "--classes=7 does not match the data: digits has 10 classes"),
        (("--shortcut_options=x",), "--shortcut_options=x is refused: name=number"),
        (("--shortcut=dropout", "--shortcut_options=rate=2"), "rate=2 is refused"),
        (("--learning_rate_drops=ten",), "--learning_rate_drops=ten is refused"),
        (("--batch_size=0",), "--batch_size=0 is refused"),
        (
            ("--sync_batch_norm", "--jit_compile=on"),
            "--sync_batch_norm and --jit_compile=on exclude each other: statist",
        ),
        (("--sync_batch_norm", "--remat=unit"), "--sync_batch_norm and --remat=unit exclude each other: statistics"),
        (
            ("--batch_size=63", "--accumulation_steps=2"),
            "--batch_size=63 does not divide into 1 replicas of --accumulat",
        ),
        (("--distribute=mirrored",), "--distribute=mirrored needs two GPUs, and 0 are here"),
        (("--cpu_replicas=2", "--distribute=none"), "--cpu_replicas=2 and --distribute=none exclude each other"),
        (("--exclude_from_weight_decay=gama",), "--exclude_from_weight_decay=gama fits none of the net's variables"),
        (("--augmentation=scale", "--crop_padding=0"), "digits has one form"),
        (("--data=./nowhere",), "--data=./nowhere is refused: there is no such folder"),
        (("--epochs=2", "--train_steps=3"), "--epochs and --train_steps are both given"),
        (("--saved_model_dir=/dev/null/net",), "--saved_model_dir=/dev/null/net cannot be written to"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_written(tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    with flagsaver.flagsaver():
        flags.FLAGS(["train", *arguments])
        with pytest.raises(UserError, match=words) as caught:
            train.main()
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_every_setting_of_a_recipe_is_a_flag():
    assert {setting.name for setting in recipes.settings()} <= set(flags.FLAGS)

    with flagsaver.flagsaver():
        given = ["--nonesterov", "--flip", "--momentum=0.8", "--learning_rate_drops=3,5", "--schedule=cosine"]
        flags.FLAGS(["train", *given])
        assert train._recipe_overrides() == {
            "nesterov": False,
            "flip": True,
            "momentum": 0.8,
            "learning_rate_drops": (3, 5),
            "schedule": "cosine",
        }


def test_a_bad_flag_value_names_the_flag_and_what_is_allowed(tmp_path):
    process = run_program("train", "--precision=float8", "--run_dir=run", cwd=tmp_path)
    assert process.returncode != 0
    assert "flag --precision=float8: value should be one of <float32|mixed_bfloat16|mixed_float16>" in process.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "either --saved_model or --net is needed: the folder of an exported net, like saved_models/"),
        (("--saved_model=nowhere",), "--saved_model=nowhere is no SavedModel and holds none"),
        (("--saved_model=net", "--index=360"), "--index=360 is refused: digits has 360 test images"),
    ],
)
def test_predict_refuses_in_one_line(run, arguments, words):
    process = run_program("predict", *arguments, cwd=run[0])
    assert process.returncode == 1
    (line,) = messages(process)
    assert words in line


def test_predict_refuses_an_image_of_other_classes(run):
    """Of which the names would be told under the wrong numbers."""
    images, labels = np.zeros((6, 8, 8, 1), np.uint8), np.arange(6) % 3
    np.savez(run[0] / "three.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    process = run_program("predict", "--saved_model=net", "--data=three.npz", cwd=run[0])
    assert process.returncode == 1
    assert messages(process) == ["error: preresnet20 tells 10 classes apart, three.npz has 3: no match."]


def test_help_explains_every_number_of_a_recipe():
    text = run_program("train", "--help").stdout
    for words in (
        "--batch_size: images in a training step",
        "--learning_rate_drops:",
        "--crop_padding:",
        "--precision:",
    ):
        assert words in text


@pytest.mark.slow
def test_a_net_is_asked_in_the_size_it_was_trained_in(tmp_path):
    """In one process for the data set that the test makes; the program's own pieces all the same."""
    from training import job

    data = {"data": "uneven_squares", "data_dir": str(tmp_path / "tfds")}
    steps = {"train_steps": 2, "batch_size": 2}
    own = {"run_dir": str(tmp_path / "run"), "saved_model_dir": str(tmp_path / "net")}
    job.run(job.Job(**data, **own, model="preresnet20", image_size=6, recipe_overrides=steps))
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["settings"]["model"] == "PreResNet20"
    code = (
        "import sys, training_helpers; from absl import flags; from training import predict;"
        "flags.FLAGS(sys.argv); predict.main()"
    )
    arguments = (f"--saved_model={tmp_path / 'net'}", "--data=uneven_squares", f"--data_dir={tmp_path / 'tfds'}")
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": f"{root}:{root / 'tests'}:{Path(__file__).parent}"}
    command = [sys.executable, "-c", code, *arguments]
    process = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert "test image 0 of uneven_squares: the net says" in process.stdout, process.stderr


def test_the_seed_of_a_dropout_shortcut_is_a_whole_number():
    with flagsaver.flagsaver():
        flags.FLAGS(["train", "--shortcut=dropout", "--shortcut_options=seed=3,rate=0.25"])
        assert train._model_options()["shortcut_options"] == {"seed": 3, "rate": 0.25}
