"""What stands between an image and the stem: one definition for training, evaluation and the exported artifact."""

import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import tensorflow as tf

from keras_preresnet.register import rows_named


@dataclass(frozen=True)
class Preprocessing:
    """Normalization of 8-bit images by the mean and deviation of each channel, as in [FB].

    Args:
        mean: Of each channel over the training set, on the scale 0 to 255.
        deviation: Standard deviation of each channel, on the same scale.

    Raises:
        ValueError: if the two differ in length or a deviation is not positive.
    """

    mean: Sequence[float]
    deviation: Sequence[float]

    def __post_init__(self):
        for name in ("mean", "deviation"):  # So that what comes from a file equals what went into it.
            object.__setattr__(self, name, tuple(map(float, getattr(self, name))))
        if len(self.mean) != len(self.deviation) or min(self.deviation, default=0) <= 0:
            raise ValueError(
                f"mean={self.mean} and deviation={self.deviation} are refused: "
                "one mean and one positive deviation for each channel are needed."
            )

    def __call__(self, images: tf.Tensor) -> tf.Tensor:
        """Returns float32 images for the net from images of 0 to 255, `(batch, height, width, channels)`."""
        mean, deviation = tf.constant(self.mean, tf.float32), tf.constant(self.deviation, tf.float32)
        return (tf.cast(images, tf.float32) - mean) / deviation

    def to_dict(self) -> dict:
        """Returns what `Preprocessing(**...)` makes the same of."""
        return {key: list(value) for key, value in asdict(self).items()}


# Of the training images, from [FB].
CIFAR10 = Preprocessing((125.3, 123.0, 113.9), (63.0, 62.1, 66.7))
CIFAR100 = Preprocessing((129.3, 124.1, 112.4), (68.2, 65.4, 70.4))
IMAGENET = Preprocessing(
    tuple(255 * mean for mean in (0.485, 0.456, 0.406)), tuple(255 * deviation for deviation in (0.229, 0.224, 0.225))
)


def preprocess_input(images: np.ndarray | tf.Tensor, weights: str | Preprocessing = "cifar10") -> tf.Tensor:
    """Returns what a net takes, float32 of the same shape, from images of 0 to 255 in the net's size.

    Args:
        images: Integers or floats, `(batch, height, width, channels)` or one image without the batch.
        weights: The name of packaged weights, or the `Preprocessing` of a net (`model_preprocessing(model)`).

    Warns:
        UserWarning: if the images are floats of no more than 1: they look divided by 255. Inside a graph, as in
            `tf.data.Dataset.map`, there are no values to look at.

    Raises:
        ValueError: if there are no such weights, or the images have another number of channels.
    """
    preprocessing = weights if isinstance(weights, Preprocessing) else packaged_preprocessing(weights)
    images = tf.convert_to_tensor(images)
    channels = len(preprocessing.mean)
    if images.shape.rank not in (3, 4) or images.shape[-1] != channels:
        raise ValueError(
            f"images of shape {tuple(images.shape)} are refused: ([batch,] height, width, {channels}) is needed."
        )
    if _looks_divided(images):
        warnings.warn(
            "The images are floats of at most 1: they look divided by 255, but 0 to 255 is needed.", stacklevel=2
        )
    return preprocessing(images)


def packaged_preprocessing(weights: str) -> Preprocessing:
    """Returns the preprocessing of packaged weights.

    Raises:
        ValueError: if there are none of that name, naming those there are.
    """
    row = rows_named(weights)[0]
    return Preprocessing(row.mean, row.deviation)


def _looks_divided(images):
    """An image that is black, or white to 1, may be one of 0 to 255; one with steps between may not."""
    if not images.dtype.is_floating or not hasattr(images, "numpy") or tf.size(images) == 0:
        return False
    lowest, highest = tf.reduce_min(images), tf.reduce_max(images)
    return bool(lowest >= 0) and bool(lowest < highest) and bool(highest <= 1)
