"""Networks: images -> stem -> stages -> head.

    stem    CIFAR: 3x3, BN, ReLU.  ImageNet: 7x7/2, BN, ReLU, max-pool 3x3/2.
    stage   a first unit, which may widen, then a stack of alike units; every stage but the first strides by 2
    head    the activation that a next unit would have applied, global average pooling, classifier

Layer names: `stem_conv`, `stem_norm`, `stem_pool` (ImageNet); `stage1_unit1`, `stage1_units` (units 2 and on, where
there are any), `stage2_unit1`, ...; `head_activation` (pre-activation designs), `avg_pool` or `max_pool`,
`predictions`.
"""

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path

import keras

from keras_preresnet.activations import DESIGNS, activation_layer
from keras_preresnet.anatomy import CLASSIFIER
from keras_preresnet.depths import units_per_stage
from keras_preresnet.initializers import classifier_initializer, kernel_initializer
from keras_preresnet.metadata import ImageInput
from keras_preresnet.shortcuts import require_shortcut
from keras_preresnet.stacks import UnitStack
from keras_preresnet.units import BRANCHES, ResidualUnit
from keras_preresnet.validation import require_choice, require_positive_integer
from keras_preresnet.weights import load_weights


@dataclass(frozen=True)
class Family:
    """What the nets for one kind of images share."""

    input_shape: tuple[int, int, int]
    classes: int
    stem_width: int
    widths: tuple[int, ...]  # Of the 3x3 convolutions; the output of a bottleneck is four times as wide.
    stride_place: str  # In a bottleneck: [LUA] for CIFAR, [FB] for ImageNet.
    zero_pads: bool  # Whether nets without bottlenecks widen by zero padding.


FAMILIES = {
    "cifar": Family((32, 32, 3), 10, 16, (16, 32, 64), "first", zero_pads=True),
    "imagenet": Family((224, 224, 3), 1000, 64, (64, 128, 256, 512), "3x3", zero_pads=False),
}
POOLING = {None: None, "avg": keras.layers.GlobalAveragePooling2D, "max": keras.layers.GlobalMaxPooling2D}


def ResidualNetwork(  # noqa: N802 - a factory named like those of keras.applications
    depth: int | None = None,
    *,
    family: str = "cifar",
    units: Sequence[int] | None = None,
    branch: str | None = None,
    design: str = "full_preactivation",
    shortcut: str = "identity",
    shortcut_options: dict | None = None,
    widening: str | None = None,
    widths: Sequence[int] | None = None,
    stem_width: int | None = None,
    stride_place: str | None = None,
    unroll: bool | None = None,
    remat: bool = False,
    dtype: str | keras.DTypePolicy | None = None,
    include_top: bool = True,
    weights: str | Path | None = None,
    input_shape: Sequence[int | None] | None = None,
    pooling: str | None = None,
    classes: int | None = None,
    classifier_activation: str | None = None,
    name: str | None = None,
) -> keras.Model:
    """Builds a residual network of any depth, unit and width.

    Input: `(batch, height, width, channels)`, channels last, preprocessed as in training. Output: logits
    `(batch, classes)` in float32 whatever the policy (float64 under a float64 policy); with `include_top=False` the
    activated last feature, `(batch, h, w, width)` in the policy's compute dtype, or with `pooling` `(batch, width)` in
    float32.

    Args:
        depth: Layers, as the paper counts them. Either `depth` or `units` is given.
        family: "cifar" (3x3 stem, three stages of equally many units) or "imagenet" (7x7/2 stem with pooling).
        units: Units in each stage, instead of a depth, for example `(3, 4, 6, 3)`.
        branch: "one_layer", "basic" or "bottleneck". Default: "basic"; for ImageNet depths of 50 and more "bottleneck".
        design: The activation design, see `ResidualUnit`.
        shortcut: The shortcut of every unit, see `ResidualUnit`.
        shortcut_options: What the shortcut takes, for example `{"gate_bias": -6}`.
        widening: "zero_padding" or "projection". Default: zero padding for CIFAR nets without bottlenecks (option A),
            else projection (option B).
        widths: Width of the units' output in each stage. Default: 16, 32, 64 or 64, 128, 256, 512, times 4 for
            bottlenecks; further stages double.
        stem_width: Width of the first convolution. Default: 16 (CIFAR), 64 (ImageNet).
        stride_place: The convolution of a bottleneck that strides, "first" (default for CIFAR, [LUA]) or "3x3"
            (default for ImageNet, [FB]).
        unroll: Whether alike units are laid out one by one or run as a loop, see `UnitStack`; the weights are the same.
        remat: Whether units are computed again in the backward pass, to save memory, see `UnitStack`.
        dtype: Policy of all layers, for example "mixed_bfloat16". Default: Keras's global policy.
        include_top: Whether to add global average pooling and the classifier.
        weights: None for random weights, the name of packaged weights of this net, for example "cifar10" (see
            `weights_info`), or the path of a `.weights.h5` or `.keras` file saved from the same net. Packaged ones go
            into nets with other `classes` and channels too, see `keras_preresnet.weights.load_weights`.
        input_shape: `(height, width, channels)`; height and width may be None.
        pooling: For `include_top=False`: None, "avg" or "max".
        classes: Number of classes. Default: 10 (CIFAR), 1000 (ImageNet).
        classifier_activation: None for logits, or for example "softmax".
        name: Name of the model.

    Raises:
        ValueError: for an unknown name, a depth that does not exist (naming the nearest), or a shape that is refused.
    """
    require_choice("family", family, FAMILIES)
    require_choice("design", design, DESIGNS)
    require_choice("pooling", pooling, POOLING)
    row = FAMILIES[family]
    branch, units = units_per_stage(family, depth, units, branch)
    widths = _stage_widths(row, branch, widths, len(units))
    default_widening = "zero_padding" if row.zero_pads and branch != "bottleneck" else "projection"
    require_shortcut(shortcut, shortcut_options)
    unit = {
        "branch": branch,
        "design": design,
        "shortcut": shortcut,
        "shortcut_options": shortcut_options,
        "widening": default_widening if widening is None else widening,
        "stride_place": row.stride_place if stride_place is None else stride_place,
        "dtype": dtype,
    }
    images = ImageInput(shape=_input_shape(input_shape, row), name="images").output
    x = _stem(images, family, row.stem_width if stem_width is None else stem_width, dtype)
    for stage, (count, width) in enumerate(zip(units, widths, strict=True), start=1):
        x = _stage(x, stage, count, {**unit, "filters": width}, unroll, remat)
    classes = row.classes if classes is None else classes
    x = _head(x, design, include_top, pooling, classes, classifier_activation, dtype)
    model = keras.Model(images, x, name=name or "residual_network")
    if weights is not None:
        load_weights(model, weights)
    return model


def _input_shape(shape, family):
    if keras.config.image_data_format() != "channels_last":
        raise ValueError(
            "keras_preresnet works on channels_last images; Keras is set to "
            f"{keras.config.image_data_format()!r}: call keras.config.set_image_data_format('channels_last')."
        )
    if shape is None:
        return family.input_shape
    sides = tuple(shape) if isinstance(shape, Iterable) else ()
    known = [side for side in sides if side is not None]
    whole = all(isinstance(side, Integral) and side >= 1 for side in known)
    if len(sides) != 3 or sides[2] is None or not whole:
        raise ValueError(f"input_shape={shape} is refused: (height, width, channels) is needed, the sides may be None.")
    if sides[0] in (1, 3) and sides[1] not in (None, 1, 3):
        warnings.warn(
            f"input_shape={shape} means a height of {sides[0]}, a width of {sides[1]} and {sides[2]} channels: "
            "(height, width, channels) is the order.",
            stacklevel=4,
        )
    return sides


def _stage_widths(family, branch, widths, stages):
    if widths is None:
        factor = max(divisor for divisor, _ in BRANCHES[branch])
        return [family.widths[0] * factor * 2**stage for stage in range(stages)]
    if not isinstance(widths, Iterable) or len(list(widths)) != stages:
        raise ValueError(f"widths={widths} is refused: one width for each of the {stages} stages is needed.")
    return list(widths)


def _stem(x, family, width, dtype):
    """Convolution, BN, ReLU for every design: in a pre-activation net this is the first unit's activation."""
    require_positive_integer("stem_width", width)
    kernel_size, strides = (3, 1) if family == "cifar" else (7, 2)
    if strides > 1:  # Keras's "same" would pad a strided convolution on one side only.
        x = keras.layers.ZeroPadding2D(kernel_size // 2, name="stem_pad", dtype=dtype)(x)
    x = keras.layers.Conv2D(
        width,
        kernel_size,
        strides,
        padding="same" if strides == 1 else "valid",
        use_bias=False,
        kernel_initializer=kernel_initializer(),
        name="stem_conv",
        dtype=dtype,
    )(x)  # (batch, h, w, width); ImageNet: (batch, h/2, w/2, width)
    x = activation_layer("BN-ReLU", "stem_norm", dtype)(x)
    if family == "imagenet":  # After a ReLU, zeros are harmless to the maximum.
        x = keras.layers.ZeroPadding2D(1, name="stem_pool_pad", dtype=dtype)(x)
        x = keras.layers.MaxPooling2D(3, 2, name="stem_pool", dtype=dtype)(x)  # (batch, h/4, w/4, width)
    return x


def _stage(x, stage, count, unit, unroll, remat):
    """The net's first unit reads what the stem has activated, and skips its own pre-activation."""
    strides = 1 if stage == 1 else 2
    unit, alike = _seeded(unit, 2 * stage), _seeded(unit, 2 * stage + 1)
    x = ResidualUnit(**unit, strides=strides, preactivate=stage > 1, name=f"stage{stage}_unit1")(x)
    if count > 1:
        stack = UnitStack(ResidualUnit(**alike, name="unit"), count - 1, unroll, remat, name=f"stage{stage}_units")
        x = stack(x)
    return x


def _seeded(unit, index):
    """A seed that was given would be the same in every stage, and drop alike there: each layer has one of its own."""
    options = unit["shortcut_options"] or {}
    if options.get("seed") is None:
        return unit
    return {**unit, "shortcut_options": {**options, "seed": int(options["seed"]) + index}}


def _head(x, design, include_top, pooling, classes, classifier_activation, dtype):
    if DESIGNS[design].preactivates:  # The last unit's addition is followed by one more activation (appendix).
        x = activation_layer(DESIGNS[design].before_first_conv, "head_activation", dtype)(x)
    wide = wide_dtype(dtype)
    pooling = "avg" if include_top else pooling
    if pooling is not None:
        x = POOLING[pooling](name=f"{pooling}_pool", dtype=wide)(x)  # (batch, width)
    if include_top:
        require_positive_integer("classes", classes)
        x = classifier_layer(classes, classifier_activation, wide)(x)
    return x


def wide_dtype(dtype: str | keras.DTypePolicy | None) -> str:
    """Returns what the head of a net of this policy computes in: half precision would lose digits there."""
    return "float64" if keras.dtype_policies.get(dtype).compute_dtype == "float64" else "float32"


def classifier_layer(classes: int, activation: str | None, dtype: str) -> keras.layers.Dense:
    """Returns the last layer of a net, initialized as [LUA] does."""
    return keras.layers.Dense(
        int(classes),
        activation=activation,
        kernel_initializer=classifier_initializer(),
        name=CLASSIFIER,
        dtype=dtype,
    )
