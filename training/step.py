"""One training step: forward pass, gradients, update, and the running sums that the metrics are made of."""

import keras
import tensorflow as tf

from training.optimizer import MomentumSGD
from training.recipes import Recipe
from training.schedules import RecipeSchedule


def make_optimizer(recipe: Recipe, precision: str) -> keras.optimizers.Optimizer:
    """Returns the recipe's momentum SGD; under float16 it scales the loss, for small gradients would be zero there."""
    optimizer = MomentumSGD(RecipeSchedule(recipe), recipe.momentum, recipe.nesterov, recipe.weight_decay)
    return keras.optimizers.LossScaleOptimizer(optimizer) if precision == "mixed_float16" else optimizer


class TrainingStep:
    """Trains `model` by one batch a call.

    Args:
        model: Its outputs are logits.
        optimizer: Built here on the model's trainable variables.
        jit_compile: Whether XLA compiles the forward pass and the gradients.
    """

    def __init__(self, model: keras.Model, optimizer: keras.optimizers.Optimizer, jit_compile: bool = False):
        self.model = model
        self.optimizer = optimizer
        optimizer.build(model.trainable_variables)
        self.loss_sum = tf.Variable(0.0, dtype=tf.float64)
        self.correct = tf.Variable(0, dtype=tf.int64)
        self.images = tf.Variable(0, dtype=tf.int64)
        self._gradients = tf.function(self._loss_and_gradients, jit_compile=jit_compile, autograph=False)

    def variables_to_save(self) -> dict[str, tf.Variable]:
        """Returns everything that a run goes on from, by name.

        A list of the model's own variables: `tf.train.Checkpoint(model=...)` would miss what lies in lists.
        """
        named = {"loss_sum": self.loss_sum, "correct": self.correct, "images": self.images}
        for owner, variables in (("model", self.model.variables), ("optimizer", self.optimizer.variables)):
            for index, variable in enumerate(variables):  # Keras numbers seed generators as it pleases.
                named[f"{owner}/{index}/{variable.name}"] = variable.value
        return named

    def has_finite_weights(self) -> bool:
        """Whether every weight and statistic of the model is a finite number."""
        return all(bool(tf.reduce_all(tf.math.is_finite(weight.value))) for weight in self.model.weights)

    @property
    def learning_rate(self) -> float:
        """The rate of the next step."""
        optimizer = getattr(self.optimizer, "inner_optimizer", self.optimizer)
        return float(optimizer.learning_rate)

    @tf.function(autograph=False)
    def __call__(self, images, labels):
        loss, correct, gradients = self._gradients(images, labels)
        self.optimizer.apply(gradients, self.model.trainable_variables)
        count = tf.shape(labels, tf.int64)[0]
        self.loss_sum.assign_add(tf.cast(loss, tf.float64) * tf.cast(count, tf.float64))
        self.correct.assign_add(correct)
        self.images.assign_add(count)
        return loss

    def _loss_and_gradients(self, images, labels):
        with tf.GradientTape() as tape:
            logits = self.model(images, training=True)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
            scaled = self.optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled, [v.value for v in self.model.trainable_variables])
        correct = tf.reduce_sum(tf.cast(tf.argmax(logits, axis=-1) == labels, tf.int64))
        return loss, correct, gradients

    def metrics(self) -> tuple[float, float]:
        """Returns the mean loss and the accuracy since `reset_metrics`."""
        images = max(int(self.images), 1)
        return float(self.loss_sum) / images, int(self.correct) / images

    def reset_metrics(self) -> None:
        """Starts the means anew."""
        for total in (self.loss_sum, self.correct, self.images):
            total.assign(tf.zeros_like(total))
