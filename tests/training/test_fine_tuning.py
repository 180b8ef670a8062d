"""Fine-tuning: frozen means frozen, the body follows more slowly, and trained weights are worth having."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from programs import messages, run_program
from seeds import draw_anew
from sklearn.datasets import load_digits

from keras_preresnet import (
    ResidualNetwork,
    create_model,
    model_class_names,
    model_preprocessing,
    reset_classifier,
)
from training.data import load_data
from training.initial_weights import named_net, start_from
from training.recipes import RECIPES, Recipe, resolve
from training.step import TrainingStep

NET = {"units": (2,), "widths": (8,), "stem_width": 8, "classes": 3, "input_shape": (8, 8, 1)}
RECIPE = {"batch_size": 8, "warmup_steps": 0, "learning_rate": 0.1, "learning_rate_drops": (), "weight_decay": 1e-2}
DRAW = np.random.default_rng(0)
BATCH = DRAW.normal(size=(8, 8, 8, 1)).astype("float32"), DRAW.integers(0, 3, 8), np.ones(8, "float32")


def _step(precision="float32", shortcut="identity", **settings):
    draw_anew(3)
    model = ResidualNetwork(**NET, dtype=precision, shortcut=shortcut)
    return TrainingStep(model, Recipe(**{**RECIPE, **settings}), precision)


def _train(step, count, head_only):
    batches = iter(tf.data.Dataset.from_tensors(BATCH).repeat())
    return [float(step(batches, tf.constant(1), tf.constant(0.0), head_only)[0]) for _ in range(count)]


def _bits(step):
    return {variable.path: variable.numpy().tobytes() for variable in step.model.variables}


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("shortcut", ["identity", "dropout"])
def test_frozen_means_frozen(precision, shortcut):
    """Every weight, statistic and random state of the body keeps its bits, decay and clipping notwithstanding."""
    step = _step(precision, shortcut, clip_norm=0.5, accumulation_steps=2)
    before = _bits(step)
    losses = _train(step, 5, head_only=True)
    after = _bits(step)
    moved = {path for path, bits in before.items() if after[path] != bits}
    assert moved == {"predictions/kernel", "predictions/bias"}
    assert losses[-1] < losses[0]
    norms = dict(zip(step.norm_groups, step.gradient_norms.numpy().tolist(), strict=True))
    assert norms["head"] > 0
    assert (norms["stem"], norms["stage1"]) == (0, 0)
    _train(step, 1, head_only=False)
    assert all(bits != after[path] for path, bits in _bits(step).items())


def test_the_classifier_alone_learns_as_keras_trains_it():
    """One step of momentum SGD on the classifier, the body at inference."""
    step, reference = _step(momentum=0.0, nesterov=False), _step().model
    for layer in reference.layers:
        layer.trainable = layer.name == "predictions"
    with tf.GradientTape() as tape:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(
            BATCH[1], reference(BATCH[0], training=False)
        )
    variables = reference.trainable_variables
    gradients = tape.gradient(loss, [v.value for v in variables])
    assert _train(step, 1, head_only=True)[0] == pytest.approx(float(loss), rel=1e-5)
    for variable, gradient in zip(variables, gradients, strict=True):
        ours = next(v for v in step.model.variables if v.path == variable.path)
        np.testing.assert_allclose(ours, variable - 0.1 * (gradient + 1e-2 * variable), rtol=1e-4, atol=1e-6)


def test_the_body_moves_at_its_share_of_the_rate():
    fast, slow = _step(), _step(body_rate=0.1)
    start = {variable.path: variable.numpy() for variable in fast.model.trainable_variables}
    _train(fast, 1, False)
    _train(slow, 1, False)
    for variable, other in zip(fast.model.trainable_variables, slow.model.trainable_variables, strict=True):
        share = 1.0 if variable.path.startswith("predictions") else 0.1
        begin = start[variable.path]
        np.testing.assert_allclose(other - begin, share * (variable - begin), rtol=1e-3, atol=1e-6)


def test_the_first_phase_keeps_its_share_of_a_shorter_training():
    recipe, _ = resolve("fine_tune", {"train_steps": 100}, None, 500)
    assert (recipe.train_steps, recipe.head_steps, recipe.warmup_steps) == (100, 20, 5)
    assert RECIPES["fine_tune"].head_steps == 375  # 4 epochs of 3000 / 32


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """Five handwritten digits of each class to learn from, 32x32 in RGB, and 300 to be tested on."""
    folder = tmp_path_factory.mktemp("work")
    images, labels = load_digits(return_X_y=True)
    grey = np.kron(images.reshape(-1, 8, 8, 1) * (255 / 16), np.ones((1, 4, 4, 1)))
    images = np.repeat(np.round(grey).astype(np.uint8), 3, axis=-1)
    learn = np.concatenate([np.flatnonzero(labels == k)[:5] for k in range(10)])
    test = np.setdiff1d(np.arange(len(labels)), learn)[:300]
    arrays = {"x_train": images[learn], "y_train": labels[learn], "x_test": images[test], "y_test": labels[test]}
    np.savez(folder / "few.npz", **arrays)
    return folder


def _few(work, name, *flags):
    own = (f"--run_dir={name}", "--noexport", "--crop_padding=1", "--noflip")
    steps = ("--batch_size=25", "--train_steps=60", "--learning_rate=0.05")
    process = run_program("train", "--data=few.npz", *own, *steps, *flags, cwd=work)
    assert process.returncode == 0, process.stderr
    record = json.loads((work / name / "run.json").read_text())
    return process.stdout, record


@pytest.fixture(scope="module")
def tuned(work):
    """PreResNet20, trained on CIFAR-10, fine-tuned on the few digits: unlike photographs, they want a faster body."""
    return _few(work, "tuned", "--init_from=PreResNet20:cifar10", "--body_rate=1")


@pytest.mark.slow
def test_a_net_trained_on_photographs_learns_digits_from_five_of_each_better_than_a_new_one(work, tuned):
    _, tuned = tuned
    _, scratch = _few(work, "scratch", "--recipe=fine_tune", "--head_steps=0", "--body_rate=1")
    print(f"tuned {tuned['result']['test_error']:.1f} %, from scratch {scratch['result']['test_error']:.1f} %")
    assert tuned["result"]["test_error"] < scratch["result"]["test_error"] - 5
    assert scratch["data"]["preprocessing"]["mean"] != [125.3, 123.0, 113.9]


def test_fine_tuned_weights_keep_their_preprocessing_and_get_the_classes_of_the_new_data(work, tuned):
    output, tuned = tuned
    assert "starting from PreResNet20:cifar10; the classifier is new, for the 10 classes of few.npz" in output
    assert (tuned["settings"]["recipe"], tuned["settings"]["head_steps"]) == ("fine_tune", 12)
    # The preprocessing is that of the weights, not of the new images, and goes with the net.
    assert tuned["data"]["preprocessing"]["mean"] == [125.3, 123.0, 113.9]
    net = keras.saving.load_model(work / "tuned" / "model.keras")
    assert model_class_names(net) == tuple("0123456789")
    assert model_preprocessing(net).mean == (125.3, 123.0, 113.9)


def test_the_same_classes_keep_their_classifier(work, tuned):
    flags = (
        "--data=few.npz",
        "--init_from=tuned/model.keras",
        "--train_steps=2",
        "--learning_rate=0",
        "--run_dir=again",
    )
    process = run_program("train", *flags, "--noexport", cwd=work)
    assert process.returncode == 0, process.stderr
    assert "starting from tuned/model.keras, its classifier included" in process.stdout


def test_without_a_model_the_net_is_the_one_that_is_started_from(tmp_path):
    assert named_net("preresnet164:cifar10") == "preresnet164"
    (tmp_path / "run.json").write_text('{"settings": {"model": "PreResNet56"}}')
    assert named_net(str(tmp_path)) == "PreResNet56"
    for source in (None, "cifar10", "a:b.keras", "nowhere"):
        assert named_net(source) is None


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--init_from=nowhere.keras",), "--init_from=nowhere.keras is refused: there is no such file"),
        (("--init_from=runs/typo",), "--init_from=runs/typo is refused: there is no such file or run folder"),
        (("--init_from=cifar11",), "--init_from=cifar11 is refused: None, packaged weights (there are"),
        (("--init_from=cifar10", "--design=original"), "--init_from=cifar10 is packaged for PreResNet20"),
        (("--init_from=cifar10", "--design=original"), "from PreResNet20 it differs in design="),
        (("--init_from=PreResNet164:cifar10", "--design=original"), "from PreResNet164 it differs in design="),
        (
            ("--init_from=PreResNet20:cifar10", "--model=ResNet56"),
            "--init_from=PreResNet20:cifar10 is refused with --model=ResNet56; give --model=PreResNet20",
        ),
        (("--init_from=ResNet56:cifar10",), "ResNet56 has no packaged weights 'cifar10'; packaged are: PreResNet20"),
        (("--init_from=a:b.keras",), "--init_from=a:b.keras is refused: there is no such file"),
        (("--init_from=.",), "--init_from=. is refused: the folder holds no finished run"),
        (("--init_from=tuned", "--design=original"), "is of another net"),
    ],
)
def test_what_cannot_be_started_from_is_refused(work, tuned, flags, words):
    process = run_program("train", "--data=few.npz", "--run_dir=refused", *flags, cwd=work)
    assert process.returncode == 1
    (line,) = messages(process)
    assert words in line
    assert not (work / "refused").exists()


@pytest.mark.parametrize("ending", [".weights.h5", ".keras"])
@pytest.mark.parametrize("classes", [4, 10])
def test_weights_that_carry_nothing_get_the_preprocessing_and_the_names_of_the_data(tmp_path, capsys, ending, classes):
    digits = load_data("digits")
    source = tmp_path / f"net{ending}"
    model = create_model("PreResNet20", input_shape=(8, 8, 1), classes=classes)
    (model.save_weights if ending == ".weights.h5" else model.save)(source)
    tuned, data = start_from(str(source), "PreResNet20", {"input_shape": (8, 8, 1)}, digits)
    assert model_class_names(tuned) == data.class_names == tuple("0123456789")
    assert data.preprocessing == digits.preprocessing
    np.testing.assert_array_equal(tuned.get_layer("stem_conv").kernel, model.get_layer("stem_conv").kernel)
    assert f"{source} carries no preprocessing: that of digits is used" in capsys.readouterr().out


def test_a_classifier_is_kept_where_the_weights_carry_the_names_and_no_preprocessing(tmp_path, capsys):
    digits = load_data("digits")
    model = create_model("PreResNet20", input_shape=(8, 8, 1))
    named = reset_classifier(model, 10, class_names=digits.class_names)
    named.save(tmp_path / "net.keras")
    tuned, _ = start_from(str(tmp_path / "net.keras"), "PreResNet20", {"input_shape": (8, 8, 1)}, digits)
    assert "its classifier included" in capsys.readouterr().out
    np.testing.assert_array_equal(tuned.get_layer("predictions").kernel, named.get_layer("predictions").kernel)
