"""Test error over every image exactly once, in float32 whatever the model was trained in."""

from collections.abc import Sequence
from dataclasses import dataclass

import keras
import tensorflow as tf

from keras_preresnet.export import float32_copy
from training.batches import evaluation_batches, evaluation_steps
from training.data import ImageData
from training.errors import UserError


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
    """Evaluates the net of a training on the test images, over all replicas of the strategy.

    Args:
        model: The net in training, made in the scope of `strategy`; a float32 copy of it is evaluated.
        data: Its test images.
        strategy: Default: one device.
        batch_size: Images at a time over all replicas. The last batch is filled up with images that do not count, so
            that none is left out or counted twice.
    """

    def __init__(
        self,
        model: keras.Model,
        data: ImageData,
        strategy: tf.distribute.Strategy | None = None,
        batch_size: int = 500,
    ):
        self.strategy = strategy or tf.distribute.get_strategy()
        with self.strategy.scope():
            self.copy = float32_copy(model)
        replicas = self.strategy.num_replicas_in_sync
        batch_size = -(-min(batch_size, len(data.test)) // replicas) * replicas
        self.steps = evaluation_steps(data.test, batch_size)
        self.batches = self.strategy.distribute_datasets_from_function(
            lambda context: evaluation_batches(data.test, data.preprocessing, batch_size, context)
        )
        self._totals = tf.function(self._all_totals, autograph=False)

    def __call__(self, weights: Sequence[tf.Variable]) -> Score:
        """Returns the score of the net with these weights, in the order of `model.weights`.

        Raises:
            UserError: if no test image could be decoded.
        """
        for source, target in zip(weights, self.copy.weights, strict=True):
            target.assign(source)
        loss, wrong, images = self._totals(iter(self.batches)).numpy()
        if not images:
            raise UserError("no test image could be decoded.")
        return Score(loss / images, int(wrong), int(images))

    def _all_totals(self, batches):
        def body(i, totals):
            more = self.strategy.run(self._batch_totals, args=next(batches))
            return i + 1, totals + self.strategy.experimental_local_results(more)[0]

        start = tf.constant(0), tf.zeros([3], tf.float64)
        return tf.while_loop(lambda i, _: i < self.steps, body, start)[1]

    def _batch_totals(self, images, labels, weights):
        logits = self.copy(images, training=False)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        wrong = tf.cast(tf.argmax(logits, axis=-1) != labels, tf.float32)
        totals = tf.stack([tf.reduce_sum(weights * losses), tf.reduce_sum(weights * wrong), tf.reduce_sum(weights)])
        totals = tf.cast(totals, tf.float64)
        if self.strategy.num_replicas_in_sync == 1:
            return totals
        return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, totals)
