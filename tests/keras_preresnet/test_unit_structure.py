"""The layer order of every unit, read from TensorFlow's graph and held against figure and appendix."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from library_helpers import (
    BRANCH_NAMES,
    DESIGN_NAMES,
    addition,
    assert_close,
    graph_of,
    normal,
    numpy,
    order,
    path,
    path_words,
    randomize,
)

from keras_preresnet import ResidualUnit

ORDERS = {
    ("original", "one_layer"): "3x3, BN, add, ReLU",
    ("original", "basic"): "3x3, BN, ReLU, 3x3, BN, add, ReLU",
    ("original", "bottleneck"): "1x1, BN, ReLU, 3x3, BN, ReLU, 1x1, BN, add, ReLU",
    ("bn_after_addition", "one_layer"): "3x3, add, BN, ReLU",
    ("bn_after_addition", "basic"): "3x3, BN, ReLU, 3x3, add, BN, ReLU",
    ("bn_after_addition", "bottleneck"): "1x1, BN, ReLU, 3x3, BN, ReLU, 1x1, add, BN, ReLU",
    ("relu_before_addition", "one_layer"): "3x3, BN, ReLU, add",
    ("relu_before_addition", "basic"): "3x3, BN, ReLU, 3x3, BN, ReLU, add",
    ("relu_before_addition", "bottleneck"): "1x1, BN, ReLU, 3x3, BN, ReLU, 1x1, BN, ReLU, add",
    ("relu_only_preactivation", "one_layer"): "ReLU, 3x3, BN, add",
    ("relu_only_preactivation", "basic"): "ReLU, 3x3, BN, ReLU, 3x3, BN, add",
    ("relu_only_preactivation", "bottleneck"): "ReLU, 1x1, BN, ReLU, 3x3, BN, ReLU, 1x1, BN, add",
    ("full_preactivation", "one_layer"): "BN, ReLU, 3x3, add",
    ("full_preactivation", "basic"): "BN, ReLU, 3x3, BN, ReLU, 3x3, add",
    ("full_preactivation", "bottleneck"): "BN, ReLU, 1x1, BN, ReLU, 3x3, BN, ReLU, 1x1, add",
}
WITHOUT_PREACTIVATION = {
    ("relu_only_preactivation", "one_layer"): "3x3, BN, add",
    ("relu_only_preactivation", "basic"): "3x3, BN, ReLU, 3x3, BN, add",
    ("relu_only_preactivation", "bottleneck"): "1x1, BN, ReLU, 3x3, BN, ReLU, 1x1, BN, add",
    ("full_preactivation", "one_layer"): "3x3, add",
    ("full_preactivation", "basic"): "3x3, BN, ReLU, 3x3, add",
    ("full_preactivation", "bottleneck"): "1x1, BN, ReLU, 3x3, BN, ReLU, 1x1, add",
}
# What leads to h(x) in a unit of stride 2.
WIDENED_SHORTCUT = {
    ("original", "projection"): "1x1/2, BN",
    ("original", "zero_padding"): "subsample, pad",
    ("bn_after_addition", "projection"): "1x1/2, BN",
    ("bn_after_addition", "zero_padding"): "subsample, pad",
    ("relu_before_addition", "projection"): "1x1/2, BN",
    ("relu_before_addition", "zero_padding"): "subsample, pad",
    ("relu_only_preactivation", "projection"): "ReLU, 1x1/2",
    ("relu_only_preactivation", "zero_padding"): "ReLU, subsample, pad",
    ("full_preactivation", "projection"): "BN, ReLU, 1x1/2",
    ("full_preactivation", "zero_padding"): "BN, ReLU, subsample, pad",
}
PREACTIVATION = {"relu_only_preactivation": ["Relu"], "full_preactivation": ["FusedBatchNormV3", "Relu"]}
training_or_not = pytest.mark.parametrize("training", [True, False])


def unit_graph(training=False, channels=8, **arguments):
    """The graph of a new unit."""
    unit = ResidualUnit(**{"filters": 8, **arguments})
    unit.build((None, 8, 8, channels))
    return graph_of(lambda x: unit(x, training=training), 8, 8, channels)


def test_every_unit_is_spelt_out():
    assert set(ORDERS) == {(design, branch) for design in DESIGN_NAMES for branch in BRANCH_NAMES}


@training_or_not
@pytest.mark.parametrize(("design", "branch"), ORDERS)
def test_order_of_the_layers(design, branch, training):
    assert order(unit_graph(training, design=design, branch=branch)) == ORDERS[design, branch]


@training_or_not
@pytest.mark.parametrize(("design", "branch"), ORDERS)
def test_order_without_the_preactivation(design, branch, training):
    graph = unit_graph(training, design=design, branch=branch, preactivate=False)
    assert order(graph) == WITHOUT_PREACTIVATION.get((design, branch), ORDERS[design, branch])


@pytest.mark.parametrize("branch", BRANCH_NAMES)
@pytest.mark.parametrize(("design", "widening"), WIDENED_SHORTCUT)
def test_the_shortcut_of_a_widening_unit_shares_the_activation(design, widening, branch):
    """The appendix, and `both_preact` of preresnet.lua: one BN-ReLU, read by branch and shortcut."""
    graph = unit_graph(design=design, widening=widening, branch=branch, strides=2, channels=4)
    shortcut, residual = addition(graph)
    assert path_words(shortcut) == WIDENED_SHORTCUT[design, widening]
    activation = PREACTIVATION.get(design, [])
    shared = path(shortcut)[: len(activation)]
    assert [op.type for op in shared] == activation
    assert path(residual)[: len(activation)] == shared


@pytest.mark.parametrize(("strides", "channels"), [(1, 4), (2, 8), (1, 16)])
@pytest.mark.parametrize("design", DESIGN_NAMES)
def test_a_new_width_or_size_alone_is_widening_too(design, strides, channels):
    shortcut, _ = addition(unit_graph(design=design, strides=strides, channels=channels))
    expected = WIDENED_SHORTCUT[design, "projection"].replace("/2", "/2" if strides == 2 else "")
    assert path_words(shortcut) == expected


@pytest.mark.parametrize("widening", ["projection", "zero_padding"])
@pytest.mark.parametrize("design", ["relu_only_preactivation", "full_preactivation"])
def test_a_widening_first_unit_reads_what_the_stem_activated(design, widening):
    graph = unit_graph(design=design, widening=widening, preactivate=False, branch="bottleneck", channels=4)
    shortcut, residual = addition(graph)
    assert path_words(shortcut) == {"projection": "1x1", "zero_padding": "pad"}[widening]
    assert path_words(residual).startswith("1x1, BN, ReLU, 3x3, BN, ReLU, 1x1")


KEPT_WIDTH_SHORTCUT = {"identity": "x", "constant_scaling": "times", "convolution": "1x1", "dropout": "times"}


@pytest.mark.parametrize("shortcut", KEPT_WIDTH_SHORTCUT)
@pytest.mark.parametrize("design", DESIGN_NAMES)
def test_the_shortcut_of_a_unit_that_keeps_its_width_reads_x(design, shortcut):
    side, _ = addition(unit_graph(design=design, shortcut=shortcut))
    normalizes = shortcut == "convolution" and design not in PREACTIVATION
    assert path_words(side) == KEPT_WIDTH_SHORTCUT[shortcut] + (", BN" if normalizes else "")


@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("shortcut", ["exclusive_gating", "shortcut_only_gating"])
@pytest.mark.parametrize("design", DESIGN_NAMES)
def test_the_gate_reads_what_the_shortcut_reads(design, shortcut, strides):
    graph = unit_graph(design=design, shortcut=shortcut, strides=strides, widening="zero_padding")
    (gate,) = (op for op in graph.get_operations() if op.type == "Sigmoid")
    activation = {"relu_only_preactivation": "ReLU, ", "full_preactivation": "BN, ReLU, "}.get(design, "")
    assert path_words(gate) == ("1x1, sigmoid" if strides == 1 else activation + "1x1/2, sigmoid")


@pytest.mark.parametrize("design", DESIGN_NAMES)
@pytest.mark.parametrize(
    ("stride_place", "inner"),
    [("first", "1x1/2, BN, ReLU, 3x3, BN, ReLU, 1x1"), ("3x3", "1x1, BN, ReLU, pad, 3x3/2, BN, ReLU, 1x1")],
)
def test_where_a_bottleneck_strides(design, stride_place, inner):
    graph = unit_graph(design=design, branch="bottleneck", stride_place=stride_place, strides=2)
    _, residual = addition(graph)
    first = {"relu_only_preactivation": "ReLU, ", "full_preactivation": "BN, ReLU, "}.get(design, "")
    last = {"bn_after_addition": "", "full_preactivation": "", "relu_before_addition": ", BN, ReLU"}.get(design, ", BN")
    assert path_words(residual) == first + inner + last


@pytest.mark.parametrize("branch", ["one_layer", "basic"])
@pytest.mark.parametrize("stride_place", ["first", "3x3"])
def test_the_first_3x3_strides_elsewhere(branch, stride_place):
    graph = unit_graph(branch=branch, stride_place=stride_place, strides=2)
    rest = ", BN, ReLU, 3x3" if branch == "basic" else ""
    assert path_words(addition(graph)[1]) == "BN, ReLU, pad, 3x3/2" + rest


def residual_of_ones(size, **arguments):
    """F of an image of ones through kernels of ones, nothing else in the way."""
    unit = ResidualUnit(1, 2, branch="one_layer", design="bn_after_addition", **arguments)
    unit.build((None, size, size, 1))
    unit.conv1.kernel.assign(tf.ones([3, 3, 1, 1]))
    return numpy(unit.parts(tf.ones([1, size, size, 1])).residual)[0, ..., 0]


def test_stride_2_pads_every_side_alike():
    """Windows start at -1, 1, ...: the first sees 2 of 3 rows; Keras's "same" lets the last one do so."""
    assert np.array_equal(residual_of_ones(4), [[4, 6], [6, 9]])
    assert np.array_equal(residual_of_ones(5), [[4, 6, 4], [6, 9, 6], [4, 6, 4]])
    stock = keras.layers.Conv2D(1, 3, 2, padding="same", use_bias=False, kernel_initializer="ones")
    assert np.array_equal(numpy(stock(tf.ones([1, 4, 4, 1])))[0, ..., 0], [[9, 6], [6, 4]])


def explicit_convolution(x, kernel, strides):
    """Torch's Conv2d with padding k // 2, pixel by pixel."""
    size, (batch, height, width, _) = kernel.shape[0], x.shape
    x = np.pad(x, [(0, 0), (size // 2, size // 2), (size // 2, size // 2), (0, 0)])
    out = np.zeros([batch, -(-height // strides), -(-width // strides), kernel.shape[-1]])
    for i, j in np.ndindex(*out.shape[1:3]):
        window = x[:, i * strides : i * strides + size, j * strides : j * strides + size]
        out[:, i, j] = np.tensordot(window, kernel, axes=3)
    return out


@pytest.mark.parametrize(("height", "width"), [(6, 7), (7, 6)])
@pytest.mark.parametrize("strides", [1, 2, 3])
def test_both_sides_of_a_unit_equal_explicit_convolutions(height, width, strides):
    unit = ResidualUnit(8, strides, branch="bottleneck", stride_place="3x3", design="bn_after_addition")
    unit.build((None, height, width, 4))
    randomize(unit)
    x = numpy(normal(2, height, width, 4))
    y = explicit_convolution(x, numpy(unit.conv1.kernel), 1)
    y = explicit_convolution(relu_norm(unit.norm1, y), numpy(unit.conv2.kernel), strides)
    y = explicit_convolution(relu_norm(unit.norm2, y), numpy(unit.conv3.kernel), 1)
    h = norm(unit.widening_layer.norm, explicit_convolution(x, numpy(unit.widening_layer.conv.kernel), strides))
    assert_close(list(unit.parts(tf.constant(x, "float32"))[:2]), [h, y])


def norm(layer, x):
    gamma, beta, mean, variance = map(numpy, layer.weights)
    return (x - mean) / np.sqrt(variance + 1e-5) * gamma + beta


def relu_norm(layer, x):
    return np.maximum(norm(layer, x), 0)
