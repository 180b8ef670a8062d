"""Data sets as arrays in memory: the handwritten digits of scikit-learn, and image classification sets of TFDS."""

import hashlib
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from keras_preresnet.preprocessing import CIFAR10, CIFAR100, Preprocessing
from keras_preresnet.validation import near
from training.errors import UserError

MEMORY_LIMIT = 8 * 2**30  # Bytes of images.
KNOWN_PREPROCESSING = {"cifar10": CIFAR10, "cifar100": CIFAR100}


@dataclass(frozen=True)
class ImageData:
    """A labelled image set: uint8 images `(n, height, width, channels)` of 0 to 255, int64 labels `(n,)`."""

    name: str
    version: str
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    class_names: tuple[str, ...]

    @cached_property
    def preprocessing(self) -> Preprocessing:
        """The authors' constants for CIFAR; else the mean and deviation of each channel of the training images."""
        if self.name in KNOWN_PREPROCESSING:
            return KNOWN_PREPROCESSING[self.name]
        values = np.arange(256)
        shares = self._histogram() / self.train_images[..., 0].size  # (channels, 256)
        mean = shares @ values
        deviation = np.sqrt(np.maximum(shares @ values**2 - mean**2, 0))
        return Preprocessing(tuple(mean.tolist()), tuple(np.maximum(deviation, 1.0).tolist()))

    def _histogram(self):
        """Counts of each value in each channel; numpy.std would make eight times the memory of the images."""
        channels = self.train_images.shape[-1]
        counts = np.zeros((channels, 256), np.int64)
        for start in range(0, len(self.train_images), 1000):
            part = self.train_images[start : start + 1000].reshape(-1, channels)
            counts += [np.bincount(part[:, channel], minlength=256) for channel in range(channels)]
        return counts

    def description(self) -> dict:
        """Returns the name, version, size and checksum of the set: what a run says about its data."""
        digest = hashlib.sha256()
        for array in (self.train_images, self.train_labels, self.test_images, self.test_labels):
            digest.update(np.ascontiguousarray(array).data)
        return {
            "name": self.name,
            "version": self.version,
            "sha256": digest.hexdigest(),
            "train_images": len(self.train_images),
            "test_images": len(self.test_images),
            "image_shape": list(self.train_images.shape[1:]),
            "classes": len(self.class_names),
        }


def load_data(
    name: str,
    data_dir: str | None = None,
    train_split: str | None = None,
    test_split: str | None = None,
    image_size: int | None = None,
) -> ImageData:
    """Loads "digits", or a TFDS set by its name (with a version if wanted, "cifar10:3.0.2").

    Args:
        name: The data set.
        data_dir: Folder of TFDS; default the environment's TFDS_DATA_DIR, else TFDS's own.
        train_split: TFDS split to train on, for example "train[:45000]"; default "train".
        test_split: TFDS split to test on; default "test", or "validation" where there is no "test".
        image_size: Side to which images are resized; needed where the set's images differ in size.

    Raises:
        UserError: for an unknown set, one that is neither on disk nor to be downloaded, or one without labels.
    """
    if name == "digits":
        if train_split or test_split or image_size:
            raise UserError("--train_split, --test_split and --image_size are for TFDS sets; digits has one form.")
        return _digits()
    return _tfds(name, data_dir, train_split, test_split, image_size)


def _digits():
    """1,797 digits, 8x8, split into 1,437 and 360 with the classes in equal shares."""
    import sklearn
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    images = np.round(images.reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
    parts = train_test_split(images, labels.astype(np.int64), test_size=360, stratify=labels, random_state=0)
    train_images, test_images, train_labels, test_labels = parts
    names = tuple(str(digit) for digit in range(10))
    return ImageData("digits", sklearn.__version__, train_images, train_labels, test_images, test_labels, names)


def _tfds(name, data_dir, train_split, test_split, image_size):
    builder = _builder(name, data_dir)
    image_key, label_key = _keys(builder)
    _prepare(builder)
    splits = builder.info.splits
    train_split = train_split or "train"
    test_split = test_split or ("test" if "test" in splits else "validation")
    read = _reader(builder, image_key, label_key, image_size)
    return ImageData(
        builder.name,
        str(builder.version),
        *read(train_split),
        *read(test_split),
        tuple(builder.info.features[label_key].names),
    )


def _builder(name, data_dir):
    os.environ.setdefault("NO_GCE_CHECK", "true")  # TFDS would ask the network where it runs.
    import tensorflow_datasets as tfds

    try:
        return tfds.builder(name, data_dir=data_dir, try_gcs=False)
    except tfds.core.DatasetNotFoundError as error:
        known = [*tfds.list_builders(with_community_datasets=False), "digits"]
        hits = near(name, known)
        hint = f"the nearest are {', '.join(hits)}" if hits else "see tensorflow_datasets.list_builders()"
        raise UserError(f"--data={name} is unknown to TFDS; {hint}.") from error
    except (AssertionError, ValueError) as error:  # A version that there is not.
        raise UserError(f"--data={name} is refused by TFDS: {' '.join(str(error).split())}") from error


def _keys(builder):
    import tensorflow_datasets as tfds

    keys = builder.info.supervised_keys
    features = builder.info.features
    if not keys or not isinstance(features[keys[0]], tfds.features.Image):
        raise UserError(f"--data={builder.name} is no image classification set: its features are {list(features)}.")
    if not isinstance(features[keys[1]], tfds.features.ClassLabel):
        raise UserError(f"--data={builder.name} is no image classification set: {keys[1]!r} is no class label.")
    return keys


def _prepare(builder):
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # It would announce every attempt in three lines.
    try:
        builder.download_and_prepare()
    except Exception as error:  # Whatever the network, the server or the disk may raise.
        root = Path(builder.data_dir).parents[2 if builder.builder_config else 1]  # name/config/version
        _remove_empty_folders([root / builder.name, root / "downloads"])
        raise UserError(
            f"{builder.name} {builder.version} is not on disk and could not be downloaded ({type(error).__name__}). "
            "Set --data_dir or TFDS_DATA_DIR to the folder that holds it, or prepare it where there is a network: "
            f"tfds build {builder.name}."
        ) from error


def _remove_empty_folders(folders):
    """Takes away what a failed download leaves behind, and nothing that holds a file."""
    for folder in folders:
        for path, _, _ in os.walk(folder, topdown=False):
            if not os.listdir(path):
                os.rmdir(path)


def _reader(builder, image_key, label_key, image_size) -> Callable[[str], tuple[np.ndarray, np.ndarray]]:
    import tensorflow as tf
    import tensorflow_datasets as tfds

    shape = builder.info.features[image_key].shape
    if image_size is None and None in shape[:2]:
        raise UserError(f"the images of {builder.name} differ in size: give --image_size, for example 64.")
    size = shape[:2] if image_size is None else (image_size, image_size)

    def resized(example):
        image = example[image_key]
        if size != shape[:2]:
            image = tf.image.resize(image, size, antialias=True)
            image = tf.cast(tf.round(tf.clip_by_value(image, 0, 255)), tf.uint8)
        return image, example[label_key]

    def read(split):
        try:
            count = builder.info.splits[split].num_examples
        except (KeyError, ValueError) as error:
            known = ", ".join(builder.info.splits)
            raise UserError(f"{builder.name} has no split {split!r}; it has {known}.") from error
        if count == 0:
            raise UserError(f"{split!r} of {builder.name} holds no image.")
        if count * size[0] * size[1] * (shape[2] or 3) > MEMORY_LIMIT:
            raise UserError(f"{split!r} of {builder.name} does not fit into memory: {count} images of {size}.")
        dataset = builder.as_dataset(split=split, shuffle_files=False).map(resized, tf.data.AUTOTUNE).batch(1000)
        images, labels = zip(*tfds.as_numpy(dataset), strict=True)
        return np.concatenate(images), np.concatenate(labels)

    return read
