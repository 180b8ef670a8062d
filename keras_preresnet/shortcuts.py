"""The six shortcuts (Fig. 2, Table 1) and the two widenings.

A widening brings x to the width and size of the unit's output. A shortcut is a row of Table 1: it returns h(x), the
multiplier of the residual function F (None for 1), and the λ of equation (7), for which h(x) is λ times the widened x:
one number, or one for each channel and position; None where h is no multiple. All read x itself where the unit keeps
its width, and the activated input where a pre-activation unit widens.

How gates and scaling meet a widening unit is in neither text nor code of the authors. This project's choice: x is
widened first, and the gate has the width and stride of the output.
"""

import math
from collections.abc import Mapping
from numbers import Integral, Real

import keras
import tensorflow as tf

from keras_preresnet.activations import activation_layer
from keras_preresnet.convolution import Convolution, subsample
from keras_preresnet.initializers import kernel_initializer
from keras_preresnet.validation import require_choice


class _ShortcutPart(keras.layers.Layer):
    """What the parts of a shortcut are told by their unit.

    Args:
        filters: Width of the unit's output.
        strides: Stride of the unit.
        normalizes: Whether a convolution here is followed by BN: in post-activation designs it is ([FB] `resnet.lua`),
            in pre-activation ones it is not ([FB] `preresnet.lua`).
    """

    options: tuple[str, ...] = ()  # What `shortcut_options` may set.
    gated = False  # Whether λ is 1 - g(x).
    replaces_widening = False  # Whether h reaches the output's width and size without the unit's widening.

    def __init__(self, filters: int, strides: int, normalizes: bool, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.strides = strides
        self.normalizes = normalizes


class ZeroPadding(_ShortcutPart):
    """Option A: subsample by the stride, append channels of zeros. No weights."""

    def build(self, input_shape):
        """Refuses an input that is wider than the output."""
        if input_shape[-1] > self.filters:
            raise ValueError(
                f"widening='zero_padding' cannot narrow {input_shape[-1]} channels to {self.filters}; "
                "use widening='projection'."
            )

    def call(self, x):
        x = subsample(x, self.strides)
        return tf.pad(x, [[0, 0], [0, 0], [0, 0], [0, self.filters - x.shape[-1]]])


class Projection(_ShortcutPart):
    """Option B: 1x1 convolution with the stride; BN after it in post-activation designs.

    The paper is silent on that BN for BN-after-addition and ReLU-before-addition: here both follow `original`. That
    ReLU-only pre-activation has none, as full pre-activation in [FB], is this project's choice too.
    """

    def build(self, input_shape):
        """Builds the convolution, and its BN in post-activation designs."""
        self.conv = Convolution(
            self.filters,
            1,
            self.strides,
            use_bias=False,
            kernel_initializer=kernel_initializer(),
            name="conv",
            dtype=self.dtype_policy,
        )
        self.norm = activation_layer("BN" if self.normalizes else None, "norm", self.dtype_policy)
        self.conv.build(input_shape)
        self.norm.build(self.conv.compute_output_shape(input_shape))

    def call(self, x):
        return self.norm(self.conv(x))


class IdentityShortcut(_ShortcutPart):
    """h(x) = x, F times 1."""

    def call(self, x, widened):
        return widened, None, 1.0


class ConstantScaling(_ShortcutPart):
    """h(x) = scale * x, F times `residual_scale` (Table 1: scale 0 and 0.5 with 1, and 0.5 with 1 - 0.5).

    Args:
        scale: The λ of equation (7).
        residual_scale: Multiplier of F.
    """

    options = ("scale", "residual_scale")

    def __init__(self, *args, scale: float = 0.5, residual_scale: float = 1.0, **kwargs):
        super().__init__(*args, **kwargs)
        self.scale = float(scale)
        self.residual_scale = float(residual_scale)

    def call(self, x, widened):
        return widened * self.scale, self.residual_scale, self.scale


class _Gating(_ShortcutPart):
    """g(x) = sigmoid(W_g x + b_g): 1x1 convolution, one gate for each channel and position, no BN.

    Args:
        gate_bias: Initial value of b_g. The paper tried 0, -1, ... -10; -6 was best.
    """

    options = ("gate_bias",)
    gated = True

    def __init__(self, *args, gate_bias: float = -6.0, **kwargs):
        super().__init__(*args, **kwargs)
        self.gate_bias = float(gate_bias)

    def build(self, input_shape):
        """Builds the convolution of g, the only one here that has a bias."""
        self.gate = Convolution(
            self.filters,
            1,
            self.strides,
            activation="sigmoid",
            kernel_initializer=kernel_initializer(),
            bias_initializer=keras.initializers.Constant(self.gate_bias),
            name="gate",
            dtype=self.dtype_policy,
        )
        self.gate.build(input_shape)


class ExclusiveGating(_Gating):
    """h(x) = (1 - g(x)) * x, F times g(x)."""

    def call(self, x, widened):
        gate = self.gate(x)
        factor = 1 - gate
        return factor * widened, gate, factor


class ShortcutOnlyGating(_Gating):
    """h(x) = (1 - g(x)) * x, F times 1."""

    def call(self, x, widened):
        factor = 1 - self.gate(x)
        return factor * widened, None, factor


class ConvolutionShortcut(Projection):
    """h(x) = W_s x, with BN in post-activation designs; option C: on all units, the widening ones included."""

    replaces_widening = True

    def call(self, x, widened):
        return super().call(x), None, None


class DropoutShortcut(_ShortcutPart):
    """h(x) drops x with probability `rate` in training and is (1 - rate) * x at inference.

    As the paper, and unlike Keras's Dropout, it does not rescale what it keeps: its expectation is (1 - rate) * x.

    Args:
        rate: In [0, 1).
        seed: Of the random state; None draws one.
    """

    options = ("rate", "seed")

    def __init__(self, *args, rate: float = 0.5, seed: int | None = None, **kwargs):
        super().__init__(*args, **kwargs)
        self.rate = float(rate)
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, x, widened, training=None):
        """Draws a new mask in training; λ is that mask, and at inference its expectation."""
        if not training:
            return widened * (1.0 - self.rate), None, 1.0 - self.rate
        draws = keras.random.uniform(tf.shape(widened), dtype="float32", seed=self.seed_generator)
        kept = draws >= self.rate
        return tf.where(kept, widened, tf.zeros_like(widened)), None, kept


WIDENINGS = {"zero_padding": ZeroPadding, "projection": Projection}

SHORTCUTS = {
    "identity": IdentityShortcut,
    "constant_scaling": ConstantScaling,
    "exclusive_gating": ExclusiveGating,
    "shortcut_only_gating": ShortcutOnlyGating,
    "convolution": ConvolutionShortcut,
    "dropout": DropoutShortcut,
}


def require_shortcut(shortcut: str, options: dict | None) -> None:
    """Raises ValueError for an unknown shortcut, or options that it does not take."""
    require_choice("shortcut", shortcut, SHORTCUTS)
    allowed = ", ".join(SHORTCUTS[shortcut].options) or "none"
    if not isinstance(options or {}, Mapping):
        raise ValueError(f"shortcut_options={options!r} is refused: a dict is needed; {shortcut!r} takes {allowed}.")
    for name, value in (options or {}).items():
        if name not in SHORTCUTS[shortcut].options:
            raise ValueError(f"shortcut_options of {shortcut!r} got {name!r}; allowed: {allowed}.")
        if name == "seed" and not (value is None or isinstance(value, Integral)):
            raise ValueError(f"seed={value!r} is refused: a whole number or None is needed.")
        if name != "seed" and not (isinstance(value, Real) and math.isfinite(value)):
            raise ValueError(f"{name}={value!r} is refused: a finite number is needed.")
        if name == "rate" and not 0 <= value < 1:
            raise ValueError(f"rate={value!r} is refused: a dropout rate in [0, 1) is needed.")
