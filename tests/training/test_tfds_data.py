import os
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from training_helpers import rows_of

from keras_preresnet.preprocessing import CIFAR10
from training.data import load_data
from training.errors import UserError

CIFAR10_ON_DISK = Path(os.environ.get("TFDS_DATA_DIR", "nowhere")) / "cifar10"


def test_a_tfds_set_with_splits_and_its_own_order(tmp_path):
    data = load_data("tiny_squares", str(tmp_path), train_split="train[:6]", test_split="train[6:]")
    assert (data.name, data.version, data.class_names) == ("tiny_squares", "1.0.0", ("dark", "light"))
    assert data.train.images.shape == (6, 4, 4, 3)
    assert data.test.images.shape == (4, 4, 4, 3)
    np.testing.assert_array_equal(data.train.images[:, 0, 0, 0] > 127, data.train.labels == 1)


def test_a_tfds_set_is_the_same_in_memory_and_encoded(tmp_path):
    held = load_data("tiny_squares", str(tmp_path))
    encoded = load_data("tiny_squares", str(tmp_path), image_size=4, augmentation="scale")
    ((pixels, labels, _),) = encoded.train.dataset(rows_of(range(10)), training=False).as_numpy_iterator()
    np.testing.assert_array_equal(pixels, held.train.images)
    np.testing.assert_array_equal(labels, held.train.labels)
    assert encoded.preprocessing == held.preprocessing
    assert encoded.description()["sha256"] != held.description()["sha256"]


def test_without_a_test_split_the_validation_split_is_the_test(tmp_path):
    data = load_data("tiny_squares", str(tmp_path))
    assert (len(data.train), len(data.test)) == (10, 3)


def test_a_test_split_without_labels_is_passed_over_and_grey_stays_grey(tmp_path):
    data = load_data("grey_squares", str(tmp_path))
    assert (len(data.train), len(data.test), data.train.image_shape) == (10, 3, (4, 4, 1))
    with pytest.raises(UserError, match="grey_squares has no labels in test; give another split"):
        load_data("grey_squares", str(tmp_path), test_split="test")
    with pytest.raises(UserError, match="--augmentation=inception is refused"):
        load_data("grey_squares", str(tmp_path), image_size=4, augmentation="inception")


def test_images_of_16_bits_are_refused(tmp_path):
    with pytest.raises(UserError, match="deep_squares is no image classification set of 8 bits: 'image' is of uint16"):
        load_data("deep_squares", str(tmp_path))


def test_tfds_images_of_different_sizes_need_a_size(tmp_path):
    with pytest.raises(UserError, match="differ in size: give --image_size"):
        load_data("uneven_squares", str(tmp_path))
    data = load_data("uneven_squares", str(tmp_path), image_size=5)
    assert data.train.images.shape == (10, 5, 5, 3)
    assert data.train.images.dtype == np.uint8
    assert {int(image.max()) - int(image.min()) for image in data.train.images} == {0}  # One colour stays so.


def test_an_unknown_split_is_refused(tmp_path):
    with pytest.raises(UserError, match="no split 'left'; it has train, validation"):
        load_data("tiny_squares", str(tmp_path), train_split="left")


def test_an_empty_split_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"'train\[:0\]' of tiny_squares holds no image"):
        load_data("tiny_squares", str(tmp_path), train_split="train[:0]")


@pytest.mark.parametrize("arguments", [{}, {"image_size": 4, "augmentation": "scale"}])
def test_a_file_that_is_cut_off_is_refused_in_one_line(tmp_path, arguments):
    load_data("tiny_squares", str(tmp_path))
    (path,) = tmp_path.rglob("*train.tfrecord*")
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(UserError, match=r"tiny_squares-train.tfrecord\S* is cut off: it holds 9 whole records of 10"):
        load_data("tiny_squares", str(tmp_path), **arguments).description()


def test_files_of_another_kind_are_refused(tmp_path):
    builder = tfds.builder("tiny_squares", data_dir=tmp_path, file_format="array_record")
    builder.download_and_prepare()
    with pytest.raises(UserError, match="tiny_squares is on disk as array_record, and only tfrecord is read"):
        load_data("tiny_squares", str(tmp_path))


def test_a_set_that_cannot_be_downloaded_says_what_to_do(monkeypatch, tmp_path):
    def refuse(builder, **_):
        for folder in ("downloads/mnist", "mnist/incomplete"):
            (tmp_path / folder).mkdir(parents=True)
        raise ConnectionError("a very long\ntraceback")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", refuse)
    with pytest.raises(
        UserError, match=r"mnist .* \(ConnectionError a very long\)\. .* TFDS_DATA_DIR .* tfds build mnist"
    ) as caught:
        load_data("mnist", str(tmp_path))
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not CIFAR10_ON_DISK.exists(), reason="CIFAR-10 is not on this disk")
def test_real_cifar10_is_whole():
    data = load_data("cifar10")
    assert np.bincount(data.train.labels).tolist() == [5000] * 10
    assert np.bincount(data.test.labels).tolist() == [1000] * 10
    np.testing.assert_allclose(data.train.images.mean((0, 1, 2)), (125.3, 123.0, 113.9), atol=0.06)
    assert data.class_names[:3] == ("airplane", "automobile", "bird")
    assert data.preprocessing is CIFAR10


@pytest.mark.skipif(not CIFAR10_ON_DISK.exists(), reason="CIFAR-10 is not on this disk")
def test_real_cifar10_can_be_left_encoded():
    part = {"name": "cifar10", "train_split": "train[500:700]", "test_split": "test[:10]"}
    held, encoded = load_data(**part), load_data(**part, image_size=32, augmentation="scale")
    images = encoded.train.with_evaluation_size(32, short_side=32)
    index = [199, 0, 57]
    ((pixels, labels, _),) = images.dataset(rows_of(index), training=False).as_numpy_iterator()
    np.testing.assert_array_equal(pixels, held.train.images[index])
    np.testing.assert_array_equal(labels, held.train.labels[index])


def test_a_missing_file_of_an_encoded_set_is_one_line(tmp_path):
    data = load_data("tiny_squares", str(tmp_path), image_size=4, augmentation="scale")
    assert data.preprocessing  # Which reads them.
    (path,) = tmp_path.rglob("*train.tfrecord*")
    path.unlink()
    with pytest.raises(UserError, match="No such file or directory"):
        data.description()
