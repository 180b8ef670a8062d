"""Small data for the trainer's tests."""

from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from image_files import encode

from training.arrays import ArrayImages
from training.augmentation import DRAWS
from training.bad_images import BadImages
from training.data import ImageData


def numbered_data(count: int, side: int = 8, channels: int = 1, test_count: int = 7, classes: int | None = None):
    """Random images; the label of the k-th training image is k (modulo `classes`), so that a test can tell them."""
    draw = np.random.default_rng(0)
    classes = classes or count

    def images(number):
        pixels = draw.integers(0, 256, (number, side, side, channels), dtype=np.uint8)
        return ArrayImages(pixels, np.arange(number) % classes)

    names = tuple(str(k) for k in range(classes))
    return ImageData("numbered", "1", images(count), images(test_count), names, BadImages())


def rows_of(*batches, seed: int = 0) -> tf.data.Dataset:
    """Rows for `Images.dataset`; the draws of an index are always the same."""
    table = np.random.default_rng(seed).random((1000, DRAWS), np.float32)
    indexes = [np.array(batch, np.int64) for batch in batches]

    def rows():
        yield from ((index, table[index]) for index in indexes)

    signature = tf.TensorSpec([None], tf.int64), tf.TensorSpec([None, DRAWS], tf.float32)
    return tf.data.Dataset.from_generator(rows, output_signature=signature)


def write_images(root: Path, counts: dict[str, int], size: tuple[int, int] = (12, 16)) -> Path:
    """Writes PNGs of one colour each, `counts[folder]` into each folder: image k of all is of grey 10 k + 5."""
    number = 0
    for folder, count in counts.items():
        (root / folder).mkdir(parents=True)
        for k in range(count):
            pixels = np.full((*size, 3), 10 * number + 5, np.uint8)
            (root / folder / f"{k:03}.png").write_bytes(encode(pixels, "PNG"))
            number += 1
    return root


class TinySquares(tfds.core.GeneratorBasedBuilder):
    """A TFDS set that is made in a moment: squares of one grey, dark or light; no test split."""

    pkg_dir_path = Path(__file__).parent  # TFDS would look for it in a package.
    VERSION = tfds.core.Version("1.0.0")
    SIDES = (4,)
    SHAPE = (4, 4, 3)
    SPLITS = {"train": 10, "validation": 3}  # noqa: RUF012
    UNLABELLED = ()
    DTYPE = np.uint8

    def _info(self):
        features = {
            "image": tfds.features.Image(shape=self.SHAPE, dtype=self.DTYPE),
            "label": tfds.features.ClassLabel(names=["dark", "light"]),
        }
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(features), supervised_keys=("image", "label")
        )

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(count, split) for split, count in self.SPLITS.items()}

    def _generate_examples(self, count, split):
        for index in range(count):
            side = self.SIDES[index % len(self.SIDES)]
            grey = (10 * index if index % 2 == 0 else 255 - 10 * index) % 256
            pixels = np.full((side, side, self.SHAPE[2]), grey, self.DTYPE)
            yield index, {"image": pixels, "label": -1 if split in self.UNLABELLED else index % 2}


class UnevenSquares(TinySquares):
    """The same with sides of 3, 4 and 6 pixels."""

    SIDES = (3, 4, 6)
    SHAPE = (None, None, 3)


class GreySquares(TinySquares):
    """Of one channel, and with a test split that has no labels."""

    SHAPE = (4, 4, 1)
    SPLITS = {"train": 10, "test": 4, "validation": 3}  # noqa: RUF012
    UNLABELLED = ("test",)


class DeepSquares(TinySquares):
    """Of 16 bits."""

    DTYPE = np.uint16


class ManySquares(TinySquares):
    """Enough for several files."""

    SPLITS = {"train": 100, "test": 20}  # noqa: RUF012


class NestedSquares(TinySquares):
    """Image and label lie in features of their own."""

    def _info(self):
        inner = {"image": tfds.features.Image(shape=self.SHAPE)}
        features = {"seen": inner, "truth": {"label": tfds.features.ClassLabel(names=["dark", "light"])}}
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(features), supervised_keys=("seen/image", "truth/label")
        )

    def _generate_examples(self, count, split):
        for index, example in super()._generate_examples(count, split):
            yield index, {"seen": {"image": example["image"]}, "truth": {"label": example["label"]}}
