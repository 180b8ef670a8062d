"""The five activation designs (Fig. 4, Table 2) and the fused BN-ReLU they are made of.

Between two convolutions every design has BN-ReLU. They differ in three places, the columns of `DESIGNS`.
"""

from typing import NamedTuple

import keras
import tensorflow as tf

from keras_preresnet.batch_norm import normalize, normalize_over_replicas
from keras_preresnet.validation import require_images

MOMENTUM = 0.9  # Keras's meaning: the share of the old statistics that stays.
EPSILON = 1e-5


class ActivationDesign(NamedTuple):
    """A row of Fig. 4: what stands where a residual unit does not have to have BN-ReLU."""

    before_first_conv: str | None
    after_last_conv: str | None
    after_addition: str | None

    @property
    def preactivates(self) -> bool:
        """Whether the unit activates its input: then the net activates once more, ahead of the head."""
        return self.before_first_conv is not None


DESIGNS = {
    "original": ActivationDesign(None, "BN", "ReLU"),  # Fig. 4(a)
    "bn_after_addition": ActivationDesign(None, None, "BN-ReLU"),  # Fig. 4(b)
    "relu_before_addition": ActivationDesign(None, "BN-ReLU", None),  # Fig. 4(c)
    "relu_only_preactivation": ActivationDesign("ReLU", "BN", None),  # Fig. 4(d)
    "full_preactivation": ActivationDesign("BN-ReLU", None, None),  # Fig. 4(e)
}


def activation_layer(kind: str | None, name: str, dtype: object = None) -> keras.layers.Layer:
    """Returns the layer for a cell of `DESIGNS`: None, "ReLU", "BN" or "BN-ReLU"."""
    if kind is None:
        return keras.layers.Identity(name=name, dtype=dtype)
    if kind == "ReLU":
        return keras.layers.ReLU(name=name, dtype=dtype)
    return FusedBatchNormalization(relu=kind == "BN-ReLU", name=name, dtype=dtype)


def _is_one_of_several_replicas():
    context = tf.distribute.get_replica_context()  # None within a strategy's scope, where a call has the whole batch.
    return context is not None and context.num_replicas_in_sync > 1


@keras.saving.register_keras_serializable(package="keras_preresnet")
class FusedBatchNormalization(keras.layers.Layer):
    """Batch normalization, and ReLU after it, on TensorFlow's fused kernel.

    Input and output: `(batch, height, width, channels)` in bfloat16, float16, float32 or float64. Parameters and
    statistics are float32 whatever the input (float64 for float64, which the kernel refuses: there the same is
    computed by plain operations). At inference, or when `trainable` is False, it equals
    `keras.layers.BatchNormalization` and ReLU with the same four weights. An empty batch leaves the statistics alone.

    Deviation from Keras: the moving variance is that of the *unbiased* batch variance, as in the authors' Torch code.

    Args:
        relu: Whether ReLU follows the normalization.
        momentum: Share of the old moving statistics that stays at each training step, in [0, 1].
        epsilon: Added to the variance, above 0.
        synchronized: Whether the batch statistics are those of all replicas of a `tf.distribute` strategy together.
            The fused kernel cannot do that: plain operations and two reductions a call then do. They work in
            `Model.fit` and in `strategy.run(f)`, with or without a `tf.function` around that or as f, but TensorFlow
            refuses them in a loop or another `tf.function` that f calls, and under XLA. Within `strategy.scope()`
            alone a call sees the whole batch, and is one of the fused kernel.

    Raises:
        ValueError: if the input is not of rank 4, its number of channels is unknown, or a setting is out of range.
    """

    def __init__(
        self,
        relu: bool = True,
        momentum: float = MOMENTUM,
        epsilon: float = EPSILON,
        synchronized: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if not 0 <= momentum <= 1 or not epsilon > 0:
            raise ValueError(f"{momentum=} and {epsilon=} are refused: momentum in [0, 1] and epsilon > 0 are needed.")
        self.relu = relu
        self.momentum = momentum
        self.epsilon = epsilon
        self.synchronized = synchronized

    def build(self, input_shape):
        """Adds the four weights of batch normalization, under Keras's names for them."""
        require_images(self.name, input_shape)

        def weight(name, initializer, trainable):
            """One number a channel, in at least float32."""
            dtype = "float64" if self.variable_dtype == "float64" else "float32"
            return self.add_weight(
                name=name,
                shape=(input_shape[-1],),
                initializer=initializer,
                trainable=trainable,
                dtype=dtype,
                autocast=False,
            )

        self.gamma = weight("gamma", "ones", True)
        self.beta = weight("beta", "zeros", True)
        self.moving_mean = weight("moving_mean", "zeros", False)
        self.moving_variance = weight("moving_variance", "ones", False)

    def call(self, inputs, training=None, hand_on=False):
        """Normalizes by the batch in training, unless the layer is frozen, and else by the moving statistics.

        With `hand_on` the inputs come back beside the outputs: a unit reads them a second time, from there, and the
        gradient of that is added in the same pass over memory.
        """
        uses_batch = bool(training) and self.trainable
        weights = [tf.convert_to_tensor(w) for w in (self.gamma, self.beta, self.moving_mean, self.moving_variance)]
        if uses_batch and self.synchronized and _is_one_of_several_replicas():
            result = normalize_over_replicas(inputs, *weights[:2], self.epsilon, self.relu)
        else:
            result = normalize(inputs, weights, self.epsilon, uses_batch, self.relu)
        if uses_batch:
            self._update(self.moving_mean, result.mean, inputs)
            self._update(self.moving_variance, result.variance, inputs)
        return (result.outputs, result.inputs) if hand_on else result.outputs

    def _update(self, moving, batch_statistic, inputs):
        old = tf.convert_to_tensor(moving)
        new = old * self.momentum + batch_statistic * (1.0 - self.momentum)
        if not inputs.shape.is_fully_defined():  # Statistics of nothing are NaN, and would stay so for ever.
            new = tf.where(tf.size(inputs) > 0, new, old)
        elif inputs.shape.num_elements() == 0:
            return
        moving.assign(new)

    def compute_output_shape(self, input_shape):
        return tuple(input_shape)

    def get_config(self):
        settings = {"momentum": self.momentum, "epsilon": self.epsilon, "synchronized": self.synchronized}
        return {**super().get_config(), "relu": self.relu, **settings}
