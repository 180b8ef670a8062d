import dataclasses
import hashlib

import numpy as np
import pytest
from image_files import encode
from training_helpers import numbered_data, rows_of, write_images

from keras_preresnet.preprocessing import CIFAR10, CIFAR100, IMAGENET
from training import tfds_data
from training.arrays import ArrayImages
from training.data import load_data
from training.encoded import EncodedImages
from training.errors import UserError


def test_the_description_tells_two_sets_apart_and_is_of_all_images_and_labels():
    data, other = numbered_data(5), numbered_data(5)
    assert data.description() == other.description()
    arrays = (data.train.images, data.train.labels, data.test.images, data.test.labels)
    assert data.description()["sha256"] == hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()
    changed = numbered_data(5)
    changed.test.images[0, 0, 0, 0] ^= 1
    assert changed.description()["sha256"] != other.description()["sha256"]


def test_constant_channels_can_be_normalized():
    data = numbered_data(5)
    data.train.images[:] = 7  # Before its mean is asked for, and kept.
    assert np.isfinite(data.preprocessing(data.train.images)).all()


@pytest.mark.parametrize(
    ("constants", "mean", "deviation"),
    [
        (CIFAR10, (125.3, 123.0, 113.9), (63.0, 62.1, 66.7)),
        (CIFAR100, (129.3, 124.1, 112.4), (68.2, 65.4, 70.4)),
        (IMAGENET, (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    ],
)
def test_the_authors_constants(constants, mean, deviation):
    np.testing.assert_allclose(constants.mean, mean, rtol=1e-12)
    np.testing.assert_allclose(constants.deviation, deviation, rtol=1e-12)
    data = dataclasses.replace(numbered_data(5, channels=3), known_preprocessing=constants)
    assert data.preprocessing is constants


def test_which_sets_are_normalized_by_the_authors_constants():
    assert tfds_data.KNOWN_PREPROCESSING == {"cifar10": CIFAR10, "cifar100": CIFAR100, "imagenet2012": IMAGENET}


def test_mean_and_deviation_are_those_of_numpy():
    data = numbered_data(2100, side=3, channels=3)
    np.testing.assert_allclose(data.preprocessing.mean, data.train.images.mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(data.preprocessing.deviation, data.train.images.std((0, 1, 2)), rtol=1e-12)
    assert data.preprocessing is data.preprocessing


def _folder(root, bad=()):
    """Training greys 5 to 75, test greys 85 and 95."""
    write_images(root, {"train/a": 4, "train/b": 4, "test/a": 1, "test/b": 1})
    for name in bad:
        (root / name).write_text("no image")
    return str(root)


def test_the_digits_are_in_memory():
    data = load_data("digits")
    assert (data.name, len(data.train), len(data.test), data.train.image_shape) == ("digits", 1437, 360, (8, 8, 1))


def test_a_folder_is_held_in_memory_or_encoded(tmp_path):
    name = _folder(tmp_path / "squares")
    held, encoded = load_data(name), load_data(name, image_size=8, augmentation="scale")
    assert isinstance(held.train, ArrayImages)
    assert isinstance(encoded.train, EncodedImages)
    greys = [10 * k + 5 for k in range(8)]
    assert held.train.images[:, 0, 0, 0].tolist() == greys
    assert held.train.labels.tolist() == [0] * 4 + [1] * 4
    assert (held.train.image_shape, encoded.train.image_shape) == ((12, 16, 3), (8, 8, 3))
    for data in (held, encoded):
        assert (data.name, data.class_names, len(data.test)) == ("squares", ("a", "b"), 2)
        np.testing.assert_allclose(data.preprocessing.mean, [np.mean(greys)] * 3)
        np.testing.assert_allclose(data.preprocessing.deviation, [np.std(greys)] * 3)
        assert str(tmp_path) not in str(data.description())


def test_the_augmentation_and_the_flip_reach_the_images(tmp_path):
    name = _folder(tmp_path / "squares")
    ((pixels, _, _),) = load_data(name, image_size=8, augmentation="inception").train.dataset(rows_of([0]), True)
    assert pixels.dtype == np.float32
    assert load_data(name, image_size=8, augmentation="scale", flip=False).train._flip is False


def test_a_numpy_file(tmp_path):
    np.savez(tmp_path / "x.npz", images=np.zeros((8, 4, 4), np.uint8), labels=np.arange(8) % 2)
    data = load_data(str(tmp_path / "x.npz"), test_fraction=0.5)
    assert (data.name, len(data.train), len(data.test)) == ("x.npz", 4, 4)
    assert str(tmp_path) not in str(data.description())


def test_bad_images_in_memory_are_left_out_if_they_are_allowed(tmp_path):
    name = _folder(tmp_path / "squares", ["train/a/001.png", "test/b/000.png"])
    with pytest.raises(UserError, match=r"2 images could not be decoded: test/b/000.png, train/a/001.png; mend"):
        load_data(name, image_size=8, max_bad_images=1)
    data = load_data(name, image_size=8, max_bad_images=2)
    assert data.train.images[:, 0, 0, 0].tolist() == [5, 25, 35, 45, 55, 65, 75]
    assert data.train.labels.tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert data.test.labels.tolist() == [0]
    description = data.description()
    assert description["bad_images"] == ["test/b/000.png", "train/a/001.png"]
    assert (description["train_images"], description["test_images"]) == (7, 1)


def test_encoded_bad_images_are_found_before_the_training(tmp_path):
    name = _folder(tmp_path / "squares", ["train/a/001.png"])
    with pytest.raises(UserError, match=r"1 image could not be decoded: train/a/001.png; mend or remove it"):
        load_data(name, image_size=8, augmentation="scale").description()
    data = load_data(name, image_size=8, augmentation="scale", max_bad_images=1)
    assert data.description()["bad_images"] == ["train/a/001.png"]
    data.bad_images.record("train/a/002.png")
    assert data.description()["bad_images"] == ["train/a/001.png"]
    assert data.description()["train_images"] == 8
    np.testing.assert_allclose(data.preprocessing.mean, [np.mean([5, 25, 35, 45, 55, 65, 75])] * 3)


@pytest.mark.parametrize("augmentation", ["none", "scale"])
def test_a_set_of_which_nothing_can_be_decoded_is_refused(tmp_path, augmentation):
    name = _folder(tmp_path / "s", [f"train/{c}/{k:03}.png" for k in range(8) for c in "ab" if (k < 4)])
    for k in range(4):
        (tmp_path / "s" / "train" / "b" / f"{k:03}.png").write_text("no image")
    with pytest.raises(UserError, match="of the 8 training images of s none could be decoded"):
        load_data(name, image_size=8, augmentation=augmentation, max_bad_images=99).description()


def test_images_of_different_sizes_need_a_size(tmp_path):
    name = _folder(tmp_path / "s")
    (tmp_path / "s" / "test" / "a" / "000.png").write_bytes(encode(np.full((20, 10, 3), 85, np.uint8), "PNG"))
    with pytest.raises(UserError, match="the images of s differ in size: give --image_size"):
        load_data(name)
    data = load_data(name, image_size=5)
    assert (data.train.image_shape, data.test.image_shape) == ((5, 5, 3), (5, 5, 3))
    assert data.test.images[:, 2, 2, 0].tolist() == [85, 95]


def test_in_memory_the_shorter_side_is_resized_and_the_centre_cut_out(tmp_path):
    name = _folder(tmp_path / "s")
    pixels = np.zeros((12, 20, 3), np.uint8)
    pixels[:, 4:16] = 200  # What a square of the centre shows, at any size.
    (tmp_path / "s" / "train" / "a" / "000.png").write_bytes(encode(pixels, "PNG"))
    assert (load_data(name, image_size=6).train.images[0, :, 1:-1] == 200).all()


def test_what_does_not_fit_into_memory_names_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setattr("training.arrays.MEMORY_LIMIT", 10 * 9 * 9 * 3 - 1)
    name = _folder(tmp_path / "s")
    with pytest.raises(UserError, match=r"s does not fit into memory: 10 images of 9x9. --augmentation=scale leaves"):
        load_data(name, image_size=9)
    monkeypatch.setattr("training.arrays.MEMORY_LIMIT", 10 * 9 * 9 * 3)
    load_data(name, image_size=9)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"name": "cifar11"}, "'?cifar11'? is unknown to TFDS; the nearest: .*cifar10"),
        ({"name": "digit"}, "the nearest: digits"),
        ({"name": "cifar10:9.9.9"}, "cifar10:9.9.9 is refused by TFDS"),
        ({"name": "coco"}, "no image classification set"),
        ({"name": "digits", "test_split": "train"}, "--test_split"),
        ({"name": "digits", "test_fraction": 0.5}, "--test_fraction=0.5 is refused: digits has a test set"),
        ({"name": "digits", "max_bad_images": 3}, "digits has one form: .*--max_bad_images"),
        ({"name": "digits", "augmentation": "scale"}, "digits has one form: .* other than translation and none"),
        ({"name": "x.npz", "image_size": 8}, "x.npz has one form: .*--image_size"),
        ({"name": "x.npz"}, "x.npz cannot be read"),
        ({"name": "flowers/sunny"}, "=flowers/sunny is no folder, and unknown to TFDS; the nearest: tf_flowers"),
        ({"name": "my set/cats"}, "=my set/cats is no folder, and refused by TFDS: "),
        ({"name": "./nowhere"}, "--data=./nowhere is refused: there is no such folder"),
        ({"name": "digits", "augmentation": "cutout"}, "=cutout is unknown; allowed: translation, none, scale, incept"),
        ({"name": "digits", "max_bad_images": -1}, "--max_bad_images=-1"),
        ({"name": "cifar10", "image_size": 0}, "--image_size=0"),
    ],
)
def test_what_is_no_classification_set_is_refused(arguments, words):
    with pytest.raises(UserError, match=words) as caught:
        load_data(**arguments)
    assert "\n" not in str(caught.value)


def test_encoded_images_need_a_size(tmp_path):
    with pytest.raises(UserError, match="--augmentation=scale needs --image_size with s, for example 224"):
        load_data(_folder(tmp_path / "s"), augmentation="scale")


def test_a_folder_without_a_slash_is_pointed_out(tmp_path, monkeypatch):
    _folder(tmp_path / "my_squares")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"=my_squares is unknown to TFDS; for the folder give --data=./my_squares\."):
        load_data("my_squares")
    encoded = {"image_size": 8, "augmentation": "scale"}
    assert load_data("./my_squares", **encoded).name == "my_squares"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_data("~/my_squares", **encoded).name == "my_squares"


@pytest.mark.parametrize("name", ["~nobody_of_this_name/set", "~nobody_of_this_name/set.npz"])
def test_the_home_of_no_user_is_refused_in_one_line(name):
    with pytest.raises(UserError, match=f"^--data={name} is refused: there is no such home; give the path in full"):
        load_data(name)
