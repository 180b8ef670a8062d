"""Test error over every image exactly once, in float32 whatever the model was trained in."""

from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from keras_preresnet.export import float32_copy
from keras_preresnet.preprocessing import Preprocessing


@dataclass(frozen=True)
class Score:
    """Mean loss, wrong answers and number of images of an evaluation."""

    loss: float
    wrong: int
    images: int

    @property
    def error(self) -> float:
        """In percent."""
        return 100 * self.wrong / self.images


class Evaluator:
    """Evaluates `model` as it is at each call.

    Args:
        model: The net in training; a float32 copy of it is evaluated.
        preprocessing: Of the images.
        batch_size: Images at a time; the last batch may be smaller, for no image is left out or counted twice.
    """

    def __init__(self, model: keras.Model, preprocessing: Preprocessing, batch_size: int = 500):
        self.model = model
        self.copy = float32_copy(model)
        self.preprocessing = preprocessing
        self.batch_size = batch_size
        images = tf.TensorSpec(model.input_shape, tf.uint8)
        self._totals = tf.function(self._batch_totals, input_signature=[images, tf.TensorSpec([None], tf.int64)])

    def _batch_totals(self, images, labels):
        logits = self.copy(self.preprocessing(images), training=False)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        wrong = tf.argmax(logits, axis=-1) != labels
        return tf.reduce_sum(tf.cast(losses, tf.float64)), tf.reduce_sum(tf.cast(wrong, tf.int64))

    def __call__(self, images: np.ndarray, labels: np.ndarray) -> Score:
        for source, target in zip(self.model.weights, self.copy.weights, strict=True):
            target.assign(source)
        loss, wrong = 0.0, 0
        for start in range(0, len(images), self.batch_size):
            part = slice(start, start + self.batch_size)
            batch_loss, batch_wrong = self._totals(images[part], labels[part])
            loss, wrong = loss + float(batch_loss), wrong + int(batch_wrong)
        return Score(loss / len(images), wrong, len(images))
