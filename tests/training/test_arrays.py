import numpy as np
import pytest
from sklearn.datasets import load_digits
from training_helpers import numbered_data, rows_of

from training.arrays import digits, load_npz
from training.errors import UserError

IMAGES = np.arange(20 * 3 * 4 * 3).reshape(20, 3, 4, 3).astype(np.uint8)
LABELS = np.arange(20) % 2


def _load(path, test_fraction=0.25, seed=0, **arrays):
    np.savez(path / "set.npz", **arrays)
    return load_npz(str(path / "set.npz"), test_fraction, seed)


def _batches(images, *indexes):
    return list(images.dataset(rows_of(*indexes), training=True).as_numpy_iterator())


def test_images_come_in_the_order_asked_for_and_are_not_augmented():
    images = numbered_data(20).train
    order = [[3, 19, 0], [5, 5]]
    for (pixels, labels, weights), index in zip(_batches(images, *order), order, strict=True):
        np.testing.assert_array_equal(pixels, images.images[index])
        assert (pixels.dtype, labels.dtype, weights.dtype) == (np.uint8, np.int64, np.float32)
        assert labels.tolist() == index
        assert weights.tolist() == [1] * len(index)


def test_padding_is_black_and_weighs_nothing():
    images = numbered_data(20).train
    ((pixels, labels, weights),) = _batches(images, [4, -1])
    np.testing.assert_array_equal(pixels[0], images.images[4])
    assert not pixels[1].any()
    assert (labels.tolist(), weights.tolist()) == ([4, 0], [1, 0])


def test_all_parts_are_all_images():
    images = numbered_data(2100, side=2).train
    np.testing.assert_array_equal(np.concatenate(list(images.parts())), images.images)
    assert images.image_shape == (2, 2, 1)


def test_digits():
    data = digits()
    assert data.train.images.shape == (1437, 8, 8, 1)
    assert data.test.images.shape == (360, 8, 8, 1)
    assert data.train.images.dtype == np.uint8
    assert (data.train.images.min(), data.train.images.max()) == (0, 255)
    assert data.class_names == ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")
    assert np.bincount(data.test.labels).tolist() == [36, 36, 35, 37, 36, 37, 36, 36, 35, 36]


def test_no_digit_is_in_both_parts_and_each_has_its_label():
    data = digits()
    train = {image.tobytes() for image in data.train.images}
    assert not any(image.tobytes() in train for image in data.test.images)
    pixels, labels = load_digits(return_X_y=True)
    scaled = np.round(pixels * (255 / 16)).astype(np.uint8)
    truth = {image.tobytes(): label for image, label in zip(scaled, labels, strict=True)}
    for half in (data.train, data.test):
        assert [truth[image.tobytes()] for image in half.images] == half.labels.tolist()


@pytest.mark.parametrize(
    "names",
    [("x_train", "y_train", "x_test", "y_test"), ("train_images", "train_labels", "test_images", "test_labels")],
)
@pytest.mark.parametrize("column", [False, True])
def test_a_numpy_file_with_both_halves(tmp_path, names, column):
    labels = LABELS[:, None].astype(np.uint8) if column else LABELS
    found = _load(tmp_path, **dict(zip(names, (IMAGES, labels, IMAGES[:5], labels[:5]), strict=True)))
    assert (found.name, found.class_names) == ("set.npz", ("0", "1"))
    np.testing.assert_array_equal(found.train.images, IMAGES)
    np.testing.assert_array_equal(found.test.images, IMAGES[:5])
    assert found.test.labels.tolist() == LABELS[:5].tolist()
    assert found.train.labels.dtype == np.int64


def test_a_numpy_file_of_which_a_share_is_held_out(tmp_path):
    found = _load(tmp_path, images=IMAGES[..., 0], labels=LABELS, class_names=np.array(["cat", "dog"]))
    assert found.class_names == ("cat", "dog")
    assert (len(found.train), len(found.test), found.train.image_shape) == (15, 5, (3, 4, 1))
    all_images = np.concatenate([found.train.images, found.test.images])
    assert {image.tobytes() for image in all_images} == {image[..., 0].tobytes() for image in IMAGES}
    truth = {image[..., 0].tobytes(): label for image, label in zip(IMAGES, LABELS, strict=True)}
    assert [truth[image.tobytes()] for image in found.test.images] == found.test.labels.tolist()
    again = _load(tmp_path, images=IMAGES[..., 0], labels=LABELS)
    np.testing.assert_array_equal(again.test.images, found.test.images)
    other = _load(tmp_path, images=IMAGES[..., 0], labels=LABELS, seed=1)
    assert np.any(other.test.images != found.test.images)


HALVES = {"x_train": IMAGES, "y_train": LABELS, "x_test": IMAGES, "y_test": LABELS}


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({}, "set.npz holds nothing; one of these sets is needed: x_train, y_train"),
        ({"x": IMAGES}, "set.npz holds x; one of these sets is needed"),
        ({"images": IMAGES / 255, "labels": LABELS}, r"images of set.npz is float64 \(20, 3, 4, 3\); uint8"),
        ({"images": IMAGES[0, 0], "labels": LABELS}, r"images of set.npz is uint8 \(4, 3\); uint8"),
        ({"images": IMAGES, "labels": LABELS / 2}, r"labels of set.npz is float64 \(20,\); whole numbers"),
        ({"images": IMAGES, "labels": np.eye(20, dtype=int)}, r"labels of set.npz is int64 \(20, 20\); whole numbers"),
        ({"images": IMAGES, "labels": LABELS[1:]}, "set.npz holds 20 images and 19 labels; as many are needed"),
        ({"images": IMAGES[:0], "labels": LABELS[:0]}, "set.npz holds 0 images and 0 labels"),
        ({"images": IMAGES, "labels": LABELS - 1}, "holds labels from -1 to 0; allowed are 0 to 0"),
        ({"images": IMAGES, "labels": LABELS * 0}, "set.npz has a single class"),
        ({"images": IMAGES, "labels": LABELS * 2, "class_names": ["a", "b"]}, "labels from 0 to 2; allowed are 0 to 1"),
        ({**HALVES, "y_test": LABELS + 1}, "labels from 1 to 2; allowed are 0 to 1, for the 2 classes of the training"),
        ({**HALVES, "x_test": IMAGES[:, 1:]}, r"images of \(3, 4, 3\) and of \(2, 4, 3\)"),
        ({"images": IMAGES[:2], "labels": LABELS[:2]}, "of 2 images none can be held out"),
        ({"images": np.array([{}, None]), "labels": LABELS}, "cannot be read as a NumPy file of plain arrays: Object"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(tmp_path, arrays, words):
    with pytest.raises(UserError, match=words) as caught:
        _load(tmp_path, **arrays)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


def _whole(path):
    np.savez_compressed(path, images=IMAGES, labels=LABELS)
    return path.read_bytes()


@pytest.mark.parametrize("kind", ["text", "empty", "pickle", "single", "cut off", "changed", "folder", "gone"])
def test_what_is_no_numpy_file_is_refused_in_one_line(tmp_path, kind):
    path = tmp_path / "set.npz"
    contents = {"text": b"no arrays", "empty": b"", "pickle": b"\x80\x04N.", "cut off": _whole(path)[:300]}
    contents["changed"] = _whole(path).replace(_whole(path)[100:140], b"\xff" * 40)
    path.unlink()
    if kind in contents:
        path.write_bytes(contents[kind])
    elif kind == "single":
        with path.open("wb") as file:
            np.save(file, IMAGES)
    elif kind == "folder":
        path.mkdir()
    with pytest.raises(UserError, match=r"set.npz cannot be read as a NumPy file of plain arrays") as caught:
        load_npz(str(path), 0.1, 0)
    assert "\n" not in str(caught.value)


def test_more_than_the_memory_holds_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("training.arrays.MEMORY_LIMIT", 500)
    with pytest.raises(UserError, match="does not fit into memory"):
        _load(tmp_path, images=IMAGES, labels=LABELS)


@pytest.mark.parametrize("fraction", [0, 1, -0.1])
def test_a_fraction_lies_between_0_and_1(tmp_path, fraction):
    with pytest.raises(UserError, match="--test_fraction"):
        _load(tmp_path, test_fraction=fraction, images=IMAGES, labels=LABELS)
