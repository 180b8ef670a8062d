"""Momentum SGD as the authors' Torch code has it."""

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="keras_preresnet")
class MomentumSGD(keras.optimizers.Optimizer):
    """v = momentum * v + (gradient + decay * w); w -= rate * v, or rate * (gradient + decay * w + momentum * v).

    The second form is Nesterov's. It differs from `keras.optimizers.SGD` in two ways: the decay is added to the
    gradient (Keras's is decoupled, and with momentum about ten times weaker), and the velocity does not contain the
    learning rate, so that a drop of the rate acts at once.

    Args:
        learning_rate: A number or a `LearningRateSchedule`.
        momentum: In [0, 1].
        nesterov: Whether to use Nesterov's form.
        decay: Times the parameter, added to the gradient of every parameter.
    """

    def __init__(self, learning_rate=0.1, momentum=0.9, nesterov=True, decay=1e-4, name="momentum_sgd", **kwargs):
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self.momentum = momentum
        self.nesterov = nesterov
        self.decay = decay

    def build(self, variables):
        if not self.built:
            super().build(variables)
            self.velocities = self.add_optimizer_variables(variables, "velocity")

    def update_step(self, gradient, variable, learning_rate):
        velocity = self.velocities[self._get_variable_index(variable)].value
        tf.raw_ops.ResourceApplyMomentum(
            var=variable.handle,
            accum=velocity.handle,
            lr=tf.cast(learning_rate, variable.dtype),
            grad=tf.cast(gradient, variable.dtype) + self.decay * variable,
            momentum=tf.cast(self.momentum, variable.dtype),
            use_nesterov=self.nesterov,
        )

    def get_config(self):
        settings = {"momentum": self.momentum, "nesterov": self.nesterov, "decay": self.decay}
        return {**super().get_config(), **settings}
