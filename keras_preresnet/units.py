"""The residual unit (Fig. 1, 2 and 4): one layer for every branch, activation design, shortcut and widening.

y_l = h(x_l) + F(x_l, W_l)    (1)        x_{l+1} = f(y_l)    (2)
"""

from typing import NamedTuple

import keras
import tensorflow as tf

from keras_preresnet.activations import DESIGNS, FusedBatchNormalization, activation_layer
from keras_preresnet.convolution import Convolution
from keras_preresnet.initializers import kernel_initializer
from keras_preresnet.shortcuts import SHORTCUTS, WIDENINGS, require_shortcut
from keras_preresnet.validation import require_choice, require_images, require_positive_integer

# The convolutions of each branch: (divisor of the unit's width, kernel size).
BRANCHES = {
    "one_layer": ((1, 3),),
    "basic": ((1, 3), (1, 3)),
    "bottleneck": ((4, 1), (4, 3), (1, 1)),
}
STRIDE_PLACES = ("first", "3x3")


class UnitParts(NamedTuple):
    """What a unit adds, and what it makes of it."""

    h: tf.Tensor  # h(x_l)
    residual: tf.Tensor  # F(x_l, W_l), times its multiplier
    factor: tf.Tensor | float | None  # The λ of equation (7), see `keras_preresnet.shortcuts`.
    output: tf.Tensor  # x_{l+1}
    activated: list[tf.Tensor]  # What each ReLU of the unit gives.


@keras.saving.register_keras_serializable(package="keras_preresnet")
class ResidualUnit(keras.layers.Layer):
    """A residual unit: activation, then h(x) beside the branch F(x), addition, activation.

    Full pre-activation, basic: BN, ReLU, 3x3, BN, ReLU, 3x3, add. Original, basic: 3x3, BN, ReLU, 3x3, BN, add, ReLU.
    The other designs are the rows of `keras_preresnet.activations.DESIGNS`; the bottleneck is 1x1, 3x3, 1x1.

    Input: `(batch, height, width, channels)`; output: `(batch, ceil(height / strides), ceil(width / strides), filters)`
    in the compute dtype of the layer's policy. Convolutions pad k // 2 on every side and have no bias.

    A unit *widens* if its stride or its number of channels changes. In a pre-activation design the shortcut of a
    widening unit then reads the *activated* input, not x ([FB] `preresnet.lua`, `both_preact`; the appendix of the
    paper). This is often reported as a bug of implementations: it is the paper.

    Args:
        filters: Width of the output; for the bottleneck a multiple of 4, its inner width being filters / 4.
        strides: Stride of the unit, at least 1.
        branch: "one_layer" (3x3), "basic" (3x3, 3x3) or "bottleneck" (1x1, 3x3, 1x1).
        design: A key of `DESIGNS`: "original", "bn_after_addition", "relu_before_addition",
            "relu_only_preactivation" or "full_preactivation".
        shortcut: "identity", "constant_scaling", "exclusive_gating", "shortcut_only_gating", "convolution" or
            "dropout" (`keras_preresnet.shortcuts`).
        shortcut_options: Dict of what the shortcut takes: `scale` and `residual_scale` of constant scaling,
            `gate_bias` of the gatings, `rate` and `seed` of dropout.
        widening: "projection" or "zero_padding"; only used where the unit widens and the shortcut is no convolution.
        preactivate: Whether the unit applies the pre-activation of its design. False for the first unit of a net,
            whose input the stem has activated. Without meaning for the post-activation designs, which have none.
        stride_place: The convolution of a bottleneck that strides: "first" ([LUA]) or "3x3" ([FB]).

    Raises:
        ValueError: for an unknown name or option, or a width that the branch or the widening cannot have.
    """

    def __init__(
        self,
        filters: int,
        strides: int = 1,
        branch: str = "basic",
        design: str = "full_preactivation",
        shortcut: str = "identity",
        shortcut_options: dict | None = None,
        widening: str = "projection",
        preactivate: bool = True,
        stride_place: str = "first",
        **kwargs,
    ):
        super().__init__(**kwargs)
        require_positive_integer("filters", filters)
        require_positive_integer("strides", strides)
        require_choice("branch", branch, BRANCHES)
        require_choice("design", design, DESIGNS)
        require_choice("widening", widening, WIDENINGS)
        require_choice("stride_place", stride_place, STRIDE_PLACES)
        require_shortcut(shortcut, shortcut_options)
        divisor = max(divisor for divisor, _ in BRANCHES[branch])
        if filters % divisor:
            raise ValueError(f"filters={filters} is refused: a {branch} unit needs a multiple of {divisor}.")
        self.filters = int(filters)
        self.strides = int(strides)
        self.branch = branch
        self.design = design
        self.shortcut = shortcut
        self.shortcut_options = dict(shortcut_options or {})
        self.widening = widening
        self.preactivate = bool(preactivate)
        self.stride_place = stride_place

    def build(self, input_shape):
        """Builds the parts in the order of Fig. 4: pre-activation, shortcut, branch, what follows the addition."""
        require_images(self.name, input_shape)
        row = DESIGNS[self.design]
        self.widens = self.strides != 1 or input_shape[-1] != self.filters
        before = row.before_first_conv if self.preactivate else None
        self.preactivation = activation_layer(before, "preactivation", self.dtype_policy)
        self.preactivation.build(input_shape)
        self._build_shortcut(input_shape, normalizes=not row.preactivates)
        self._build_branch(input_shape)
        self.postactivation = activation_layer(row.after_addition, "postactivation", self.dtype_policy)
        self.postactivation.build(self.compute_output_shape(input_shape))
        parts = ("preactivation", "shortcut_layer", "widening_layer", *self._branch_names, "postactivation")
        for part in parts:  # A unit that was made frozen: Keras has told the layers of that time, which were none.
            getattr(self, part).trainable = self.trainable

    def _build_shortcut(self, input_shape, normalizes):
        part = (self.filters, self.strides, normalizes)
        shortcut = SHORTCUTS[self.shortcut]
        self.shortcut_layer = shortcut(*part, **self.shortcut_options, name="shortcut", dtype=self.dtype_policy)
        if self.widens and not shortcut.replaces_widening:
            self.widening_layer = WIDENINGS[self.widening](*part, name="widening", dtype=self.dtype_policy)
        else:
            self.widening_layer = keras.layers.Identity(name="widening", dtype=self.dtype_policy)
        self.widening_layer.build(input_shape)
        self.shortcut_layer.build(input_shape)

    def _build_branch(self, input_shape):
        layers = list(self._branch_layers())
        self._branch_names = tuple(layer.name for layer in layers)
        for layer in layers:
            layer.build(input_shape)
            input_shape = layer.compute_output_shape(input_shape)
            setattr(self, layer.name, layer)  # A direct attribute: tf.train.Checkpoint sees into no list.

    def _branch_layers(self):
        """Yields the layers of F in order; stride 2 is padded by hand, for Keras's "same" pads one side only."""
        branch = BRANCHES[self.branch]
        striding = 2 if self.branch == "bottleneck" and self.stride_place == "3x3" else 1
        for k, (divisor, kernel_size) in enumerate(branch, start=1):
            strides = self.strides if k == striding else 1
            if strides > 1 and kernel_size > 1:
                yield keras.layers.ZeroPadding2D(kernel_size // 2, name=f"pad{k}", dtype=self.dtype_policy)
            yield Convolution(
                self.filters // divisor,
                kernel_size,
                strides,
                padding="same" if strides == 1 else "valid",
                use_bias=False,
                kernel_initializer=kernel_initializer(),
                name=f"conv{k}",
                dtype=self.dtype_policy,
            )
            kind = "BN-ReLU" if k < len(branch) else DESIGNS[self.design].after_last_conv
            if kind is not None:
                yield activation_layer(kind, f"norm{k}", self.dtype_policy)

    def call(self, x, training=None):
        return self.parts(x).output

    def parts(self, x: tf.Tensor) -> UnitParts:
        """Returns the parts of equations (1) and (2). To be called from within the call of a layer.

        Whether batch norm takes its statistics from the batch is what the calling layer was told.
        """
        if isinstance(self.preactivation, FusedBatchNormalization):
            activated, x = self.preactivation(x, hand_on=True)
        else:
            activated = self.preactivation(x)
        source = activated if self.widens else x
        h, multiplier, factor = self.shortcut_layer(source, self.widening_layer(source))
        outputs = {"preactivation": activated}
        residual = activated
        for name in self._branch_names:
            residual = outputs[name] = getattr(self, name)(residual)
        residual = residual if multiplier is None else residual * multiplier
        outputs["postactivation"] = output = self.postactivation(h + residual)
        rectified = [value for name, value in outputs.items() if _rectifies(getattr(self, name))]
        return UnitParts(h, residual, factor, output, rectified)

    def compute_output_shape(self, input_shape):
        batch, *size, _ = input_shape
        height, width = (None if side is None else -(-side // self.strides) for side in size)
        return (batch, height, width, self.filters)

    def get_config(self):
        """Returns the settings, with which a file brings the unit back."""
        return {
            **super().get_config(),
            "filters": self.filters,
            "strides": self.strides,
            "branch": self.branch,
            "design": self.design,
            "shortcut": self.shortcut,
            "shortcut_options": self.shortcut_options,
            "widening": self.widening,
            "preactivate": self.preactivate,
            "stride_place": self.stride_place,
        }


def _rectifies(layer):
    return isinstance(layer, keras.layers.ReLU) or getattr(layer, "relu", False)
