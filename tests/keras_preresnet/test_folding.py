"""A folded net answers as the net it was made of, with fewer operations and no variables."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from library_helpers import (
    BRANCH_NAMES,
    DESIGN_NAMES,
    SHORTCUT_NAMES,
    assert_close,
    graph_of,
    normal,
    randomize,
    thinned,
)

from keras_preresnet import FusedBatchNormalization, ResidualNetwork, ResidualUnit, UnitStack
from keras_preresnet.folding import folded_chain, folded_copy


def _run(functions, x):
    for function in functions:
        x = function(x)
    return x


def _net(**options):
    settings = {"units": (2, 1), "widths": (8, 16), "stem_width": 8, "classes": 3, "input_shape": (9, 9, 3)}
    return randomize(ResidualNetwork(**{**settings, **options}))


@pytest.mark.parametrize(("shortcut", "design"), thinned(SHORTCUT_NAMES, DESIGN_NAMES))
def test_a_folded_unit_gives_what_the_unit_gives(design, shortcut):
    """Of every branch, keeping its width and widening with either widening, on an odd size."""
    x = normal(2, 5, 5, 8)
    for branch in BRANCH_NAMES:
        for filters, strides, widening in ((8, 1, "projection"), (16, 2, "projection"), (16, 2, "zero_padding")):
            unit = ResidualUnit(filters, strides, branch, design, shortcut, widening=widening, stride_place="3x3")
            unit.build(x.shape)
            randomize(unit)
            assert_close(_run(folded_chain([unit]), x), unit(x), 1e-5)


def test_the_units_of_a_stack_are_folded_in_their_order():
    stack = UnitStack(ResidualUnit(8), 3)
    x = normal(2, 5, 5, 8)
    stack.build(x.shape)
    randomize(stack)
    functions = folded_chain([stack])
    assert len(functions) == 3
    assert_close(_run(functions, x), stack(x), 1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"design": "original", "shortcut": "exclusive_gating"},
        {"family": "imagenet", "branch": "bottleneck", "widths": (16, 32), "input_shape": (None, None, 3)},
    ],
)
def test_a_folded_net_has_the_logits_and_no_weights(options):
    net = _net(**options)
    folded = folded_copy(net)
    x = normal(2, 35, 35, 3) if options.get("family") else normal(2, 9, 9, 3)
    assert_close(folded(x), net(x, training=False), 1e-5)
    assert [layer.name for layer in folded.layers] == [layer.name for layer in net.layers]
    assert folded.weights == []


def test_every_convolution_has_a_bias_to_be_fused_with_and_nothing_is_normalized_or_sliced():
    ops = graph_of(folded_copy(_net(widening="zero_padding")), 9, 9, 3).get_operations()
    kinds = [op.type for op in ops]
    assert not {"FusedBatchNormV3", "StridedSlice", "ReadVariableOp"} & set(kinds)
    convolutions = [op for op in ops if op.type in ("Conv2D", "DepthwiseConv2dNative")]
    assert len(convolutions) == 1 + 3 * 2 + 1 + 3  # Stem, branches, a widening, and BN ahead of 2 units and the head.
    for convolution in convolutions:
        (reader,) = convolution.outputs[0].consumers()
        assert reader.type == "BiasAdd"
        assert np.all(tf.get_static_value(reader.inputs[1]) != 0)  # TensorFlow takes zeros away.


def test_a_batch_norm_that_shares_its_convolution_or_follows_none_is_folded_alone():
    images = keras.Input((6, 6, 3))
    shared = keras.layers.Conv2D(4, 3, padding="same", dilation_rate=2, bias_initializer="ones", name="shared")(images)
    left = FusedBatchNormalization(relu=False, name="left")(shared)
    rectified = keras.layers.Conv2D(4, 1, 2, activation="relu", name="rectified")(shared)
    right = FusedBatchNormalization(name="right")(rectified)
    inner = keras.Model(images, [left, right])
    outer = keras.Input((6, 6, 3))
    a, b = inner(FusedBatchNormalization(name="first")(outer))
    model = randomize(keras.Model(outer, [b, keras.layers.Add()([a, keras.layers.UpSampling2D(2)(b)])]))
    x = normal(2, 6, 6, 3)
    assert_close(folded_copy(model)(x), model(x, training=False), 1e-5)


def test_it_computes_in_bfloat16_as_the_net_does():
    net = _net(dtype="mixed_bfloat16")
    folded = folded_copy(net)
    x = normal(2, 9, 9, 3)
    assert folded.get_layer("stage1_units").output.dtype == "bfloat16"
    assert folded(x).dtype == "float32"
    assert_close(folded(x), net(x, training=False), 0.03)


def test_float16_is_refused():
    with pytest.raises(ValueError, match="computes in float16 is refused: float32 or bfloat16 is needed"):
        folded_copy(_net(dtype="mixed_float16"))
