"""Momentum SGD as the authors' Torch code has it, with loss scaling and a moving average of the weights.

Everything here runs in a replica function, on gradients that are already summed over the replicas: each replica then
makes the same update of its own copy of each variable, and nothing need be sent a second time.
"""

import re
from collections.abc import Sequence

import keras
import tensorflow as tf

from training.errors import UserError
from training.recipes import Recipe
from training.schedules import learning_rate

FIRST_LOSS_SCALE = 2.0**15
STEPS_TO_DOUBLE = 2000  # Steps with finite gradients after which the loss scale doubles.


def replica_variable(value: object, dtype: tf.DType) -> tf.Variable:
    """Returns a variable of which every replica keeps a copy, all alike."""
    aggregation = tf.VariableAggregation.ONLY_FIRST_REPLICA
    return tf.Variable(value, dtype=dtype, trainable=False, aggregation=aggregation)


def assign(variable: tf.Variable, value: tf.Tensor) -> None:
    """Assigns to this replica's copy; `variable.assign` would ask the other replicas for theirs."""
    tf.raw_ops.AssignVariableOp(resource=variable.handle, value=tf.cast(value, variable.dtype))


class MomentumSGD:
    """v = momentum * v + (gradient + decay * w); w -= rate * v, or rate * (gradient + decay * w + momentum * v).

    The second form is Nesterov's. It differs from `keras.optimizers.SGD` in two ways: the decay is added to the
    gradient (Keras's is decoupled, and with momentum about ten times weaker), and the velocity does not contain the
    learning rate, so that a drop of the rate acts at once.

    Args:
        recipe: Rate, momentum, decay, clipping.
        variables: The parameters.
        scales_loss: Whether the loss is multiplied by a power of two, for small gradients would be zero in float16:
            halved when a gradient is not finite, and the step then left out; doubled after 2,000 finite ones.

    Raises:
        UserError: if a pattern of `exclude_from_weight_decay` fits no variable.
    """

    def __init__(self, recipe: Recipe, variables: Sequence[keras.Variable], scales_loss: bool = False):
        self.recipe = recipe
        self.variables = [variable.value for variable in variables]
        self.decays = _decays(recipe, variables)
        self.head = [index for index, variable in enumerate(variables) if is_of_the_classifier(variable)]
        self.rates = [1.0 if index in self.head else recipe.body_rate for index in range(len(variables))]
        self.velocities = [replica_variable(tf.zeros(v.shape, v.dtype), v.dtype) for v in variables]
        self.step = replica_variable(0, tf.int64)  # Steps done.
        self.scales_loss = scales_loss
        self.loss_scale = replica_variable(FIRST_LOSS_SCALE if scales_loss else 1.0, tf.float32)
        self.finite_steps = replica_variable(0, tf.int32)

    def variables_to_save(self) -> dict[str, tf.Variable]:
        """Returns the state of the optimizer, by name."""
        named = {"step": self.step, "loss_scale": self.loss_scale, "finite_steps": self.finite_steps}
        return {**named, **{f"velocity/{index}": velocity for index, velocity in enumerate(self.velocities)}}

    def unscaled(self, gradients: list[tf.Tensor]) -> list[tf.Tensor]:
        """Returns the gradients of the loss, from those of the loss times `loss_scale`."""
        if not self.scales_loss:
            return gradients
        scale = tf.convert_to_tensor(self.loss_scale)
        return [tf.cast(gradient, tf.float32) / scale for gradient in gradients]

    def apply(self, gradients: list[tf.Tensor], head_only: bool = False) -> None:
        """Makes the step, in a replica function: of all variables, or of the classifier's alone."""
        members = self.head if head_only else range(len(self.variables))
        if self.recipe.clip_norm:
            gradients, _ = tf.clip_by_global_norm(gradients, self.recipe.clip_norm)
        rate = learning_rate(self.recipe, tf.convert_to_tensor(self.step))
        if self.scales_loss:
            finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(gradient)) for gradient in gradients])
            tf.cond(finite, lambda: self._update(members, gradients, rate), lambda: False)
            self._rescale(finite)
        else:
            self._update(members, gradients, rate)
        tf.raw_ops.AssignAddVariableOp(resource=self.step.handle, value=tf.constant(1, tf.int64))

    def _update(self, members, gradients, rate):
        for index, gradient in zip(members, gradients, strict=True):
            variable = self.variables[index]
            gradient = tf.cast(gradient, variable.dtype)
            if self.decays[index]:
                gradient += self.decays[index] * tf.convert_to_tensor(variable)
            tf.raw_ops.ResourceApplyMomentum(
                var=variable.handle,
                accum=self.velocities[index].handle,
                lr=tf.cast(rate * self.rates[index], variable.dtype),
                grad=gradient,
                momentum=tf.cast(self.recipe.momentum, variable.dtype),
                use_nesterov=self.recipe.nesterov,
            )
        return True

    def _rescale(self, finite):
        scale = tf.convert_to_tensor(self.loss_scale)
        count = tf.where(finite, tf.convert_to_tensor(self.finite_steps) + 1, 0)
        grows = count >= STEPS_TO_DOUBLE
        assign(self.loss_scale, tf.where(finite, tf.where(grows, scale * 2, scale), tf.maximum(scale / 2, 1.0)))
        assign(self.finite_steps, tf.where(grows, 0, count))


def is_of_the_classifier(variable: keras.Variable) -> bool:
    """Whether a variable is the classifier's: everything else is the body."""
    return variable.path.startswith("predictions/")


def _decays(recipe, variables):
    """The decay of each variable."""
    patterns = [re.compile(pattern) for pattern in recipe.exclude_from_weight_decay]
    paths = [variable.path for variable in variables]
    for pattern in patterns:
        if not any(pattern.search(path) for path in paths):
            raise UserError(
                f"--exclude_from_weight_decay={pattern.pattern} fits none of the net's variables, like {paths[0]}."
            )
    return [0.0 if any(p.search(path) for p in patterns) else recipe.weight_decay for path in paths]


class MovingAverage:
    """A moving average of weights *and* statistics: average = momentum * average + (1 - momentum) * value.

    In the first steps the momentum is smaller, (1 + step) / (10 + step), to forget the initial weights soon.

    Args:
        variables: What is averaged.
        momentum: In [0, 1).
    """

    def __init__(self, variables: Sequence[keras.Variable], momentum: float):
        self.sources = [variable.value for variable in variables]
        self.momentum = momentum
        self.averages = [replica_variable(tf.convert_to_tensor(source), source.dtype) for source in self.sources]

    def variables_to_save(self) -> dict[str, tf.Variable]:
        """Returns the averages, by name."""
        return {f"average/{index}": average for index, average in enumerate(self.averages)}

    def update(self, step: tf.Tensor) -> None:
        """Takes the values after `step` steps in, in a replica function."""
        step = tf.cast(step, tf.float32)
        momentum = tf.minimum(self.momentum, (1 + step) / (10 + step))
        for source, average in zip(self.sources, self.averages, strict=True):
            value, old = source.read_value(), tf.convert_to_tensor(average)
            assign(average, value + tf.cast(momentum, old.dtype) * (old - value))
