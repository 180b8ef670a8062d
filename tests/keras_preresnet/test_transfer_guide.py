"""docs/transfer.md is true: its lines run, and fine-tuning learns what it says."""

import re
from pathlib import Path

import keras
import numpy as np
import pytest
import sklearn.datasets
import tensorflow as tf

import keras_preresnet

TEXT = (Path(__file__).parents[2] / "docs" / "transfer.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


def digits():
    images = np.kron(sklearn.datasets.load_digits().images, np.ones((1, 4, 4)))[..., None] * 15
    return np.repeat(images, 3, axis=-1), sklearn.datasets.load_digits().target


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The guide writes to the folder it is run in."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("folder")
def test_its_lines_run_one_after_the_other(capsys):
    images, labels = digits()
    names = {"new_images": images[-40:], "labels": labels[-40:], "tf": tf}
    with pytest.warns(UserWarning, match="were freed"):
        exec(BLOCKS[0], names)
    assert max(names["history"].history["val_accuracy"]) > 0.85
    keras.config.set_dtype_policy("float32")
    capsys.readouterr()
    exec(BLOCKS[1], names)
    answers = re.findall(r"^(\d) \d+%$", capsys.readouterr().out, re.MULTILINE)
    assert np.mean([int(answer) == label for answer, label in zip(answers, labels[-40:], strict=True)]) > 0.8
    for block in BLOCKS[2:]:
        exec(block, names)
    shown = capsys.readouterr().out
    assert "licence      MIT" in shown
    assert "{'stage2': (40, 16, 16, 32), 'stage2_raw': (40, 16, 16, 32), 'stage3': (40, 8, 8, 64)" in shown
    assert names["vectors"].shape == (40, 64)


def test_its_ten_lines_are_about_ten():
    lines = [line for line in BLOCKS[0].splitlines() if line.strip() and not line.startswith("import")]
    assert len(lines) <= 16


def wrong_after(model, images, labels, seed=0):
    """Digits wrong of 500, after 6 epochs on 10 of each class."""
    chosen = np.concatenate([np.flatnonzero(labels == digit)[:10] for digit in range(10)])
    keras.utils.set_random_seed(seed)
    optimizer = keras.optimizers.SGD(0.05, momentum=0.9)
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=False)
    model.fit(images[chosen], labels[chosen], batch_size=10, epochs=6, verbose=0)
    return int(np.sum(model.predict(images[-500:], batch_size=500, verbose=0).argmax(1) != labels[-500:]))


@pytest.mark.slow
def test_fine_tuning_beats_training_from_scratch_on_few_images():
    images, labels = digits()
    images = np.asarray(keras_preresnet.preprocess_input(images, "cifar10"))
    tuned = keras_preresnet.reset_classifier(keras_preresnet.PreResNet20(weights="cifar10"), 10)
    fine_tuned, scratch = wrong_after(tuned, images, labels), wrong_after(keras_preresnet.PreResNet20(), images, labels)
    assert fine_tuned < 0.7 * scratch, (fine_tuned, scratch)
