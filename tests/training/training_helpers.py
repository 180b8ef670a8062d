"""Small data for the trainer's tests."""

from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from training.data import ImageData


def numbered_data(count: int, side: int = 8, channels: int = 1, test_count: int = 7, classes: int | None = None):
    """Random images; the label of the k-th training image is k (modulo `classes`), so that a test can tell them."""
    draw = np.random.default_rng(0)
    classes = classes or count

    def images(number):
        return draw.integers(0, 256, (number, side, side, channels), dtype=np.uint8)

    names = tuple(str(k) for k in range(classes))
    labels = np.arange(count) % classes, np.arange(test_count) % classes
    return ImageData("numbered", "1", images(count), labels[0], images(test_count), labels[1], names)


class TinySquares(tfds.core.GeneratorBasedBuilder):
    """A TFDS set that is made in a moment: squares of one grey, dark or light; no test split."""

    pkg_dir_path = Path(__file__).parent  # TFDS would look for it in a package.
    VERSION = tfds.core.Version("1.0.0")
    SIDES = (4,)
    SHAPE = (4, 4, 3)

    def _info(self):
        features = {
            "image": tfds.features.Image(shape=self.SHAPE),
            "label": tfds.features.ClassLabel(names=["dark", "light"]),
        }
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(features), supervised_keys=("image", "label")
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(10), "validation": self._generate_examples(3)}

    def _generate_examples(self, count):
        for index in range(count):
            side = self.SIDES[index % len(self.SIDES)]
            grey = 10 * index if index % 2 == 0 else 255 - 10 * index
            yield index, {"image": np.full((side, side, 3), grey, np.uint8), "label": index % 2}


class UnevenSquares(TinySquares):
    """The same with sides of 3, 4 and 6 pixels."""

    SIDES = (3, 4, 6)
    SHAPE = (None, None, 3)
