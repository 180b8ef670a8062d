"""What stands between an image and the stem: one definition for training, evaluation and the exported artifact."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import tensorflow as tf


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
