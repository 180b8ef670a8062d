"""`python -m training.publish` as a user starts it, on a net that `training.train` has made."""

import csv
import hashlib
import json

import numpy as np
import pytest
import tensorflow as tf
from programs import messages, run_program

from keras_preresnet import create_model
from training.model_card import training_command
from training.recipes import resolve

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
    process = run_program("train", "--train_steps=60", "--steps_per_evaluation=30", "--noexport", cwd=folder)
    assert process.returncode == 0, process.stderr
    return folder


@pytest.fixture(scope="module")
def published(work):
    process = run_program("publish", "--run_dir=runs/preresnet20_digits", cwd=work, fresh=True)
    assert process.returncode == 0, process.stderr
    return process, work / "saved_models" / "preresnet20_digits"


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
        (("--run_dir=runs/preresnet20_digits",), "saved_models/preresnet20_digits exists; give another --output_dir"),
        (("--run_dir=begun",), "--run_dir=begun is refused: the folder of a finished run, with its net, is needed."),
        (
            ("--run_dir=saved_models/preresnet20_digits/1",),
            "is refused: the folder of a finished run, with its net, is needed.",
        ),
    ],
)
def test_what_cannot_be_published_is_one_line_and_leaves_nothing(work, published, arguments, words):
    (work / "begun").mkdir(exist_ok=True)
    (work / "begun" / "run.json").write_text('{"status": "running", "settings": {}, "data": {}}')
    before = {path for path in work.rglob("*") if "saved_models" in path.parts}
    process = run_program("publish", *arguments, cwd=work)
    assert process.returncode == 1
    (line,) = messages(process)
    assert words in line
    assert {path for path in work.rglob("*") if "saved_models" in path.parts} == before


def _record(recipe="paper_cifar", overrides=None, **settings):
    resolved, _ = resolve(recipe, overrides or {}, None, 50_000)
    facts = {"data": "cifar10", "model": "PreResNet56", "recipe": recipe, "precision": "float32", "seed": 0}
    facts |= {"model_options": {}, "deterministic": False, **vars(resolved), **settings}
    return {"settings": json.loads(json.dumps(facts)), "data": {"train_images": 50_000}}


@pytest.mark.parametrize(
    ("record", "flags"),
    [
        (_record(), []),
        (
            _record(seed=3, test_split="test[:9]", deterministic=True),
            ["test_split=test[:9]", "seed=3", "deterministic"],
        ),
        # The warm-up and the drops move with the steps by themselves.
        (_record(overrides={"train_steps": 6400}), ["train_steps=6400"]),
        (
            _record(overrides={"train_steps": 6400, "learning_rate_drops": (100, 200), "nesterov": False}),
            ["train_steps=6400", "learning_rate_drops=100,200", "nesterov=False"],
        ),
        (
            _record(
                model_options={"depth": 20, "remat": True, "shortcut_options": {"gate_bias": -6}},
                overrides={"batch_size": 64},
            ),
            ["depth=20", "shortcut_options=gate_bias=-6", "remat=unit", "batch_size=64"],
        ),
    ],
    ids=["as it is", "settings", "steps", "recipe", "model"],
)
def test_the_command_names_what_is_no_default(record, flags):
    precision = ["data=cifar10", "model=PreResNet56", "recipe=paper_cifar", "precision=float32"]
    expected = ["python -m training.train", *(f"--{flag}" for flag in precision + flags)]
    assert training_command(record).replace("=True", "").split(" \\\n    ") == expected
