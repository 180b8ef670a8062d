import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from training_helpers import numbered_data

from training.data import load_data
from training.errors import UserError

CIFAR10 = Path(os.environ.get("TFDS_DATA_DIR", "nowhere")) / "cifar10"


def test_digits():
    data = load_data("digits")
    assert data.train_images.shape == (1437, 8, 8, 1)
    assert data.test_images.shape == (360, 8, 8, 1)
    assert data.train_images.dtype == np.uint8
    assert (data.train_images.min(), data.train_images.max()) == (0, 255)
    assert data.class_names == ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")
    assert np.bincount(data.test_labels).tolist() == [36, 36, 35, 37, 36, 37, 36, 36, 35, 36]


def test_no_digit_is_in_both_parts():
    data = load_data("digits")
    train = {image.tobytes() for image in data.train_images}
    assert not any(image.tobytes() in train for image in data.test_images)


def test_the_description_tells_two_sets_apart():
    data, other = numbered_data(5), numbered_data(5)
    assert data.description() == other.description()
    other.test_images[0, 0, 0, 0] ^= 1
    assert data.description()["sha256"] != other.description()["sha256"]


def test_constant_channels_can_be_normalized():
    data = numbered_data(5)
    data.train_images[:] = 7  # Before its mean is asked for, and kept.
    assert np.isfinite(data.preprocessing(data.train_images)).all()


@pytest.mark.parametrize(
    ("name", "mean", "deviation"),
    [
        ("cifar10", (125.3, 123.0, 113.9), (63.0, 62.1, 66.7)),
        ("cifar100", (129.3, 124.1, 112.4), (68.2, 65.4, 70.4)),
    ],
)
def test_cifar_is_normalized_by_the_authors_constants(name, mean, deviation):
    preprocessing = dataclasses.replace(numbered_data(5, channels=3), name=name).preprocessing
    assert (preprocessing.mean, preprocessing.deviation) == (mean, deviation)


def test_a_tfds_set_with_splits_and_its_own_order(tmp_path):
    data = load_data("tiny_squares", str(tmp_path), train_split="train[:6]", test_split="train[6:]")
    assert (data.name, data.version, data.class_names) == ("tiny_squares", "1.0.0", ("dark", "light"))
    assert data.train_images.shape == (6, 4, 4, 3)
    assert data.test_images.shape == (4, 4, 4, 3)
    np.testing.assert_array_equal(data.train_images[:, 0, 0, 0] > 127, data.train_labels == 1)


def test_without_a_test_split_the_validation_split_is_the_test(tmp_path):
    data = load_data("tiny_squares", str(tmp_path))
    assert (len(data.train_images), len(data.test_images)) == (10, 3)


def test_images_of_different_sizes_need_a_size(tmp_path):
    with pytest.raises(UserError, match="differ in size: give --image_size"):
        load_data("uneven_squares", str(tmp_path))
    data = load_data("uneven_squares", str(tmp_path), image_size=5)
    assert data.train_images.shape == (10, 5, 5, 3)
    assert data.train_images.dtype == np.uint8
    assert {int(image.max()) - int(image.min()) for image in data.train_images} == {0}  # Squares of one colour stay so.


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"name": "cifar11"}, "'?cifar11'? is unknown to TFDS; the nearest are .*cifar10"),
        ({"name": "digit"}, "the nearest are digits"),
        ({"name": "cifar10:9.9.9"}, "cifar10:9.9.9 is refused by TFDS"),
        ({"name": "coco"}, "no image classification set"),
        ({"name": "digits", "test_split": "train"}, "--test_split"),
    ],
)
def test_what_is_no_classification_set_is_refused(arguments, words):
    with pytest.raises(UserError, match=words) as caught:
        load_data(**arguments)
    assert "\n" not in str(caught.value)


def test_an_unknown_split_is_refused(tmp_path):
    with pytest.raises(UserError, match="no split 'left'; it has train, validation"):
        load_data("tiny_squares", str(tmp_path), train_split="left")


def test_a_set_that_cannot_be_downloaded_says_what_to_do(monkeypatch, tmp_path):
    def refuse(builder, **_):
        for folder in ("downloads/mnist", "mnist/incomplete"):
            (tmp_path / folder).mkdir(parents=True)
        raise ConnectionError("a very long\ntraceback")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", refuse)
    with pytest.raises(UserError, match=r"mnist .* is not on disk .* TFDS_DATA_DIR .* tfds build mnist") as caught:
        load_data("mnist", str(tmp_path))
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not CIFAR10.exists(), reason="CIFAR-10 is not on this disk")
def test_real_cifar10_is_whole():
    data = load_data("cifar10")
    assert np.bincount(data.train_labels).tolist() == [5000] * 10
    assert np.bincount(data.test_labels).tolist() == [1000] * 10
    np.testing.assert_allclose(data.train_images.mean((0, 1, 2)), (125.3, 123.0, 113.9), atol=0.06)
    assert data.class_names[:3] == ("airplane", "automobile", "bird")


def test_mean_and_deviation_are_those_of_numpy():
    data = numbered_data(2100, side=3, channels=3)
    np.testing.assert_allclose(data.preprocessing.mean, data.train_images.mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(data.preprocessing.deviation, data.train_images.std((0, 1, 2)), rtol=1e-12)
    assert data.preprocessing is data.preprocessing


def test_an_empty_split_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"'train\[:0\]' of tiny_squares holds no image"):
        load_data("tiny_squares", str(tmp_path), train_split="train[:0]")
