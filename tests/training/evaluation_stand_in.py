"""Splits in memory with the interface of `training.data`."""

from types import SimpleNamespace

import numpy as np
import tensorflow as tf

from keras_preresnet.preprocessing import Preprocessing
from training.errors import UserError


class ArraySplit:
    """Images and labels as arrays; those whose index is in `bad` cannot be decoded."""

    def __init__(self, images, labels, bad=()):
        self.images, self.labels, self.bad = images, labels, bad

    def __len__(self):
        return len(self.images)

    @property
    def image_shape(self):
        return self.images.shape[1:]

    def dataset(self, rows, training=False):
        assert not training
        good = np.array([index not in self.bad for index in range(len(self))], np.float32)

        def read(index, draws):
            weights = tf.gather(good, tf.maximum(index, 0)) * tf.cast(index >= 0, tf.float32)
            return tf.gather(self.images, tf.maximum(index, 0)), tf.gather(self.labels, tf.maximum(index, 0)), weights

        return rows.map(read)


class EncodedSplit(ArraySplit):
    """One whose images are cut from larger ones."""

    def with_evaluation_size(self, side, short_side):
        assert side == short_side
        return EncodedSplit(self.images[:, :side, :side], self.labels, self.bad)


class BadImages:
    """More than `limit` are refused, as in `training.bad_images`."""

    def __init__(self, count=0, limit=0):
        self.count, self.limit = count, limit

    def check(self):
        if self.count > self.limit:
            raise UserError(f"{self.count} images could not be decoded; give --max_bad_images={self.count}.")


def stand_in_data(split, class_names, name="numbered", limit=0):
    """Data to test on, without a training split."""
    channels = split.image_shape[-1]
    return SimpleNamespace(
        name=name,
        class_names=class_names,
        preprocessing=Preprocessing((100.0,) * channels, (60.0,) * channels),
        test=split,
        bad_images=BadImages(len(split.bad), limit),
    )
