"""`python -m training.publish` as a user starts it, on a net that `training.train` has made."""

import csv
import dataclasses
import hashlib
import json

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from programs import messages, run_program

from keras_preresnet import create_model
from keras_preresnet.export_formats import FORMATS
from training.errors import UserError
from training.evaluation_report import EvaluationReport
from training.measures import measure_answers
from training.model_card import model_card, training_command
from training.publication import Publication
from training.recipes import resolve
from training.temperature import scale_temperature

PUBLISHED = {
    "README.md",
    "1",
    "run",
    "evaluation",
    "formats.csv",
    "PreResNet20_digits.weights.h5",
}


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    for package in ("tf2onnx", "onnx", "onnxruntime", "ai_edge_litert"):
        pytest.importorskip(package, reason=f"{package} is not installed: pip install -e '.[export]'")
    folder = tmp_path_factory.mktemp("work")
    process = run_program("train", "--train_steps=60", "--steps_per_evaluation=30", cwd=folder)
    assert process.returncode == 0, process.stderr
    return folder


@pytest.fixture(scope="module")
def published(work):
    process = run_program("publish", "--run_dir=runs/preresnet20_digits", cwd=work, fresh=True)
    assert process.returncode == 0, process.stderr
    return process, work / "published" / "preresnet20_digits"


def test_everything_is_there_and_says_the_same(work, published):
    process, folder = published
    assert {path.name for path in folder.iterdir()} == PUBLISHED
    assert {path.name for path in folder.parent.iterdir()} == {folder.name}
    result = json.loads((folder / "run" / "run.json").read_text())["result"]
    facts = json.loads((folder / "evaluation" / "evaluation.json").read_text())
    assert facts["wrong"] == result["wrong"]
    formats = {row["format"]: row for row in csv.DictReader((folder / "formats.csv").open())}
    assert list(formats) == ["saved_model", "onnx", "litert", "litert_float16", "litert_int8"]
    for name in ("saved_model", "onnx", "litert"):
        assert (int(formats[name]["wrong"]), formats[name]["same_top1"]) == (result["wrong"], "360")
    assert int(formats["litert_int8"]["bytes"]) < int(formats["litert_float16"]["bytes"]) < 600_000
    card = (folder / "README.md").read_text()
    digest = hashlib.sha256((folder / "PreResNet20_digits.weights.h5").read_bytes()).hexdigest()
    for words in (
        f"# PreResNet20 on digits: {result['test_error']:.2f} % test error",
        f"| error | {result['test_error']:.2f} % ({result['wrong']} wrong) |",
        f"| expected calibration error (15 bins) | {facts['expected_calibration_error']:.2f} % |",
        f"The temperature of {facts['temperature_scaling']['temperature']:.3f} is fitted",
        f"| litert_int8 | {int(formats['litert_int8']['bytes']):,} | {float(formats['litert_int8']['error']):.2f} % ",
        digest,
    ):
        assert words in card
    assert f"PreResNet20_digits.weights.h5: test_error={result['test_error']:.2f}, sha256={digest}" in process.stdout
    assert str(work) not in card


def test_its_weights_are_those_of_the_saved_model(published):
    _, folder = published
    model = create_model("PreResNet20", input_shape=(8, 8, 1), weights=str(folder / "PreResNet20_digits.weights.h5"))
    facts = json.loads((folder / "1" / "assets.extra" / "model.json").read_text())["preprocessing"]
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 1), dtype=np.uint8)
    answers = tf.saved_model.load(str(folder / "1")).signatures["serving_default"](images=tf.constant(images))
    expected = model((images - facts["mean"][0]) / facts["deviation"][0], training=False)
    np.testing.assert_allclose(answers["logits"], expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--run_dir=runs/preresnet20_digits",), "published/preresnet20_digits exists; give another --output_dir"),
        (("--run_dir=nowhere",), "--run_dir=nowhere is refused, for there is no run: the folder of a finished run"),
        (("--run_dir=begun",), "--run_dir=begun is refused, for its run is not finished: the folder of"),
        (("--run_dir=stripped",), "--run_dir=stripped is refused: model.keras, steps.csv is missing there."),
        (
            ("--run_dir=runs/preresnet20_digits", "--data=other.npz", "--output_dir=new/out"),
            "--data=other.npz holds other images than the run's; give those that it was trained on.",
        ),
    ],
)
def test_what_cannot_be_published_is_one_line_and_leaves_nothing(work, published, arguments, words):
    record = json.loads((work / "runs" / "preresnet20_digits" / "run.json").read_text())
    for name, status in (("begun", "running"), ("stripped", "finished")):
        (work / name).mkdir(exist_ok=True)
        (work / name / "run.json").write_text(json.dumps({**record, "status": status}))
        for file in ("metrics.csv", "learning_curve.png"):
            (work / name / file).write_text("")
    images = np.random.default_rng(0).integers(0, 256, (200, 8, 8, 1), dtype=np.uint8)
    np.savez(work / "other.npz", images=images, labels=np.arange(200) % 10)
    before = {path for path in work.rglob("*") if "published" in path.parts}
    process = run_program("publish", *arguments, cwd=work)
    assert process.returncode == 1
    (line,) = messages(process)
    assert words in line
    assert {path for path in work.rglob("*") if "published" in path.parts} == before
    assert not (work / "new").exists()


def test_missing_packages_are_named_first(monkeypatch, work):
    monkeypatch.chdir(work)
    monkeypatch.setitem(FORMATS, "onnx", dataclasses.replace(FORMATS["onnx"], packages=("no_such_package",)))
    with pytest.raises(UserError, match=r"the package of no_such_package is needed: pip install"):
        Publication("runs/preresnet20_digits", "elsewhere").run()
    assert not (work / "elsewhere").exists()


def _record(recipe="paper_cifar", overrides=None, **settings):
    resolved, _ = resolve(recipe, overrides or {}, None, 50_000)
    facts = {"data": "cifar10", "model": "PreResNet56", "recipe": recipe, "precision": "float32", "seed": 0}
    facts |= {"train_split": None, "test_split": None, "test_fraction": 0.1, "image_size": None, "max_bad_images": 0}
    facts |= {"sync_batch_norm": False, "deterministic": False, "init_from": None, "model_options": {}}
    facts |= {"steps_per_evaluation": -(-50_000 // resolved.batch_size), "replicas": 1, **vars(resolved), **settings}
    machine = {"accelerators": [], "workers": 1}
    return {"settings": json.loads(json.dumps(facts)), "data": {"train_images": 50_000}, "environment": machine}


@pytest.mark.parametrize(
    ("record", "flags"),
    [
        (_record(), []),
        (
            _record(seed=1234567, test_split="test[:9]", deterministic=True, steps_per_evaluation=1600),
            ["'test_split=test[:9]'", "deterministic=True", "seed=1234567", "steps_per_evaluation=1600"],
        ),
        (
            _record(test_fraction=0.2, image_size=64, max_bad_images=3, sync_batch_norm=True),
            ["test_fraction=0.2", "image_size=64", "max_bad_images=3", "sync_batch_norm=True"],
        ),
        (_record(init_from="model.keras, sha256 12ab"), ["init_from=model.keras"]),
        (_record(replicas=2), ["cpu_replicas=2"]),
        ({**_record(replicas=2), "environment": {"accelerators": ["GPU", "GPU"], "workers": 1}}, []),
        ({**_record(replicas=2), "environment": {"accelerators": [], "workers": 2}}, []),
        # The warm-up and the drops move with the steps by themselves.
        (_record(overrides={"train_steps": 6400}), ["train_steps=6400"]),
        (
            _record(
                overrides={
                    "train_steps": 6400,
                    "learning_rate_drops": (100, 200),
                    "nesterov": False,
                    "exclude_from_weight_decay": ("gamma|beta",),
                }
            ),
            [
                "train_steps=6400",
                "learning_rate_drops=100,200",
                "nesterov=False",
                "'exclude_from_weight_decay=gamma|beta'",
            ],
        ),
        (
            _record(
                model_options={"depth": 20, "remat": True, "shortcut_options": {"gate_bias": -6, "seed": 1234567}},
                overrides={"batch_size": 64},
            ),
            ["depth=20", "shortcut_options=gate_bias=-6,seed=1234567", "remat=unit", "batch_size=64"],
        ),
    ],
    ids=[
        *("as it is", "settings", "more settings", "begun from", "split CPU", "GPUs", "machines"),
        *("steps", "recipe", "model"),
    ],
)
def test_the_command_names_what_is_no_default(record, flags):
    named = ["data=cifar10", "model=PreResNet56", "recipe=paper_cifar", "precision=float32"]
    flags = [f"'--{flag[1:]}" if flag.startswith("'") else f"--{flag}" for flag in named + flags]
    assert training_command(record).split(" \\\n    ") == ["python -m training.train", *flags]


def test_a_card_of_many_classes_with_any_names():
    """Class 0 is never predicted: its precision is none."""
    names = tuple(f"a|{k}" for k in range(40))
    labels = np.arange(40)
    logits = np.eye(40)[np.maximum(labels, 1)]
    answers = measure_answers(logits, labels).rename_axis("index")
    facts = {"net": "Tiny", "data": "<set>", "undecodable": 0}
    report = EvaluationReport(facts, answers, names, scale_temperature(logits, answers))
    record = _record(replicas=2)
    record["data"] |= {"name": "<set>", "version": "1", "sha256": "12ab", "image_shape": [8, 8, 1]}
    record["data"]["preprocessing"] = {"mean": [1.5], "deviation": [2.5]}
    record["trainable_parameters"] = 1234
    record["environment"] |= {"processor": "one", "cores": 2}
    record["environment"] |= {"keras_preresnet": "1", "tensorflow": "2", "keras": "3"}
    steps = pd.DataFrame({"images_per_second": [100.0, 1000.0, 900.0]})
    formats = pd.DataFrame([{"format": "onnx", "bytes": 1000, "error": 2.5, "wrong": 1, "same_top1": 40}])
    card = model_card(record, steps, report, report.summary, formats, "Weights.")
    assert "# Tiny on &lt;set>: 2.50 % test error" in card
    assert "the 25 classes of highest error; all 40 are in per_class.csv" in card
    assert "a\\|24, and 15 more." in card
    assert "| a\\|0 | 1 | 100.00 | - | 0.00 | a\\|1 (1) |" in card
    assert card.count("| 1 | 0.00 | ") == 24
    assert "nan" not in card
    assert "| hours | 2.5, at the median rate of 900 images/s |" in card  # 64,000 x 128 / 900 s.
    assert "(there is no best one from 0.05 to 20)" in report.scaling.words or report.scaling.temperature > 0.055
