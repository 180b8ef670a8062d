"""Labelled images: where they come from, and whether they are held in memory or decoded anew in each step."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import tensorflow as tf

from keras_preresnet.preprocessing import Preprocessing
from training import encoded
from training.arrays import FoundArrays, digits, load_npz
from training.bad_images import BadImages
from training.encoded import EncodedImages
from training.errors import UserError
from training.folders import find_folder
from training.in_memory import hold_in_memory
from training.sources import FoundImages, expanded
from training.tfds_data import find_tfds

IN_MEMORY = ("translation", "none")
AUGMENTATIONS = (*IN_MEMORY, *encoded.AUGMENTATIONS)
TEST_FRACTION = 0.1  # What is held out unless something else is asked for.
DEFAULT_SIZES = {"imagenet2012": 224}  # Of encoded images.


class Images(Protocol):
    """The images of one half of a set: `ArrayImages` or `EncodedImages`, which say what the methods do."""

    image_shape: tuple[int, int, int]

    def __len__(self) -> int: ...
    def dataset(self, rows: tf.data.Dataset, training: bool) -> tf.data.Dataset: ...
    def parts(self) -> Iterator[np.ndarray]: ...
    def add_to(self, digest) -> None: ...


@dataclass(frozen=True)
class ImageData:
    """A labelled image set; of encoded images those that cannot be decoded are counted, and have no weight."""

    name: str
    version: str
    train: Images
    test: Images
    class_names: tuple[str, ...]
    bad_images: BadImages
    known_preprocessing: Preprocessing | None = None

    @cached_property
    def preprocessing(self) -> Preprocessing:
        """The authors' constants for CIFAR and ImageNet; else mean and deviation of the training images by channel.

        For encoded images that takes a pass over them, as they are evaluated, which finds the bad ones.

        Raises:
            UserError: if more images than allowed could not be decoded, or all.
        """
        if self.known_preprocessing:
            return self.known_preprocessing
        counts = _histogram(self.train)  # (channels, 256)
        self.bad_images.check()
        if not counts.any():
            raise UserError(f"of the {len(self.train)} training images of {self.name} none could be decoded.")
        values = np.arange(256)
        shares = counts / counts.sum(axis=1, keepdims=True)
        mean = shares @ values
        deviation = np.sqrt(np.maximum(shares @ values**2 - mean**2, 0))
        return Preprocessing(tuple(mean.tolist()), tuple(np.maximum(deviation, 1.0).tolist()))

    def description(self) -> dict:
        """Returns the name, version, size and checksum of the set: what a run says about its data.

        `bad_images` are those found before the training: on loading, and for the preprocessing.
        """
        return {**self._description}

    @cached_property
    def _description(self):
        preprocessing = self.preprocessing  # First, for it may find bad images.
        assert len(preprocessing.mean) == self.train.image_shape[-1]
        digest = hashlib.sha256()
        for images in (self.train, self.test):
            images.add_to(digest)
        return {
            "name": self.name,
            "version": self.version,
            "sha256": digest.hexdigest(),
            "train_images": len(self.train),
            "test_images": len(self.test),
            "image_shape": list(self.train.image_shape),
            "classes": len(self.class_names),
            "bad_images": sorted(self.bad_images.names),
        }


def _histogram(images):
    """Counts of each value in each channel; numpy.std would make eight times the memory of the images."""
    channels = images.image_shape[-1]
    counts = np.zeros((channels, 256), np.int64)
    for part in images.parts():
        pixels = part.reshape(-1, channels)
        counts += [np.bincount(pixels[:, channel], minlength=256) for channel in range(channels)]
    return counts


def load_data(
    name: str,
    data_dir: str | None = None,
    train_split: str | None = None,
    test_split: str | None = None,
    image_size: int | None = None,
    augmentation: str = "translation",
    test_fraction: float = TEST_FRACTION,
    max_bad_images: int = 0,
    flip: bool = True,
    seed: int = 0,
) -> ImageData:
    """Loads labelled images from one of four places.

    Args:
        name: "digits"; a NumPy file, "set.npz"; a folder of images, with a "/" in its name, "./set"; or a TFDS set,
            with a version if wanted, "cifar10:3.0.2".
        data_dir: Folder of TFDS; default the environment's TFDS_DATA_DIR, else TFDS's own.
        train_split: Folder or TFDS split to train on, for example "train[:45000]"; default "train".
        test_split: The same to test on; default "test", else "validation", or a folder "val".
        image_size: Side of the images in training; needed unless all have one size and are held in memory.
        augmentation: "translation" or "none": every image is decoded once and held in memory, the shorter side resized
            to `image_size`, the centre cut out. "scale" or "inception": decoded anew in each step.
        test_fraction: What is held out where there is no test set of its own, of each class in equal share; of a TFDS
            set, which has splits, nothing.
        max_bad_images: How many images may be undecodable.
        flip: Whether "scale" and "inception" mirror.
        seed: Decides which images are held out.

    Raises:
        UserError: for a set that is unknown, absent or damaged, or does not fit the other arguments.
    """
    _check(augmentation, image_size, max_bad_images)
    if is_arrays(name):
        _require_one_form(name, augmentation, (train_split, test_split, image_size, max_bad_images))
    if name == "digits" and test_fraction != TEST_FRACTION:
        raise UserError(f"--test_fraction={test_fraction:g} is refused: digits has a test set, its last 360 images.")
    bad_images = BadImages(max_bad_images)
    found = find_data(name, data_dir, train_split, test_split, test_fraction, seed)
    if is_arrays(name):
        return _image_data(found, (found.train, found.test), bad_images)
    if augmentation in IN_MEMORY:
        halves = hold_in_memory(found, image_size, bad_images)
        bad_images.check()
    else:
        halves = _encoded(found, image_size, augmentation, flip, bad_images)
    return _image_data(found, halves, bad_images)


def find_data(
    name: str,
    data_dir: str | None = None,
    train_split: str | None = None,
    test_split: str | None = None,
    test_fraction: float = TEST_FRACTION,
    seed: int = 0,
) -> FoundArrays | FoundImages:
    """Finds labelled images without decoding any; arguments and errors are those of `load_data`."""
    if is_arrays(name):
        return digits() if name == "digits" else load_npz(name, test_fraction, seed)
    if is_folder(name):
        return find_folder(name, train_split, test_split, test_fraction, seed)
    return find_tfds(name, data_dir, train_split, test_split)


def _check(augmentation, image_size, max_bad_images):
    if augmentation not in AUGMENTATIONS:
        raise UserError(f"--augmentation={augmentation} is unknown; allowed: {', '.join(AUGMENTATIONS)}.")
    if image_size is not None and image_size < 1:
        raise UserError(f"--image_size={image_size} is refused: it must be at least 1.")
    if max_bad_images < 0:
        raise UserError(f"--max_bad_images={max_bad_images} is refused: it must be at least 0.")


def _require_one_form(name, augmentation, choices):
    if any(choices) or augmentation not in IN_MEMORY:
        raise UserError(
            f"{Path(name).name} has one form: --train_split, --test_split, --image_size and --max_bad_images are for "
            f"folders and TFDS sets, as are augmentations other than {' and '.join(IN_MEMORY)}."
        )


def is_arrays(name: str) -> bool:
    """Whether it is that of a set with one form, which is neither a folder nor of TFDS."""
    return name == "digits" or name.endswith(".npz")


def is_folder(name: str) -> bool:
    """Whether it is that of a folder: a TFDS set may have a "/" in its name too, before its configuration."""
    if expanded(name).is_dir():
        return "/" in name or name.startswith((".", "~"))
    if name.startswith((".", "/", "~")):
        raise UserError(f"--data={name} is refused: there is no such folder.")
    return False


def _encoded(found, image_size, augmentation, flip, bad_images):
    size = image_size or DEFAULT_SIZES.get(found.name)
    if size is None:
        raise UserError(f"--augmentation={augmentation} needs --image_size with {found.name}, for example 224.")
    return [EncodedImages(source, size, augmentation, flip, bad_images) for source in (found.train, found.test)]


def _image_data(found: FoundArrays | FoundImages, halves, bad_images):
    return ImageData(found.name, found.version, *halves, found.class_names, bad_images, found.known_preprocessing)
