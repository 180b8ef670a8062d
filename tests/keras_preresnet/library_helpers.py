"""What the tests of the library share: numbers to compare, weights to compare them with, graphs to read."""

from itertools import product

import keras
import numpy as np
import pytest
import tensorflow as tf

DESIGN_NAMES = (
    "original",
    "bn_after_addition",
    "relu_before_addition",
    "relu_only_preactivation",
    "full_preactivation",
)
SHORTCUT_NAMES = (
    "identity",
    "constant_scaling",
    "exclusive_gating",
    "shortcut_only_gating",
    "convolution",
    "dropout",
)
BRANCH_NAMES = ("one_layer", "basic", "bottleneck")
WORDS = {
    "FusedBatchNormV3": "BN",
    "Relu": "ReLU",
    "AddV2": "add",
    "Pad": "pad",
    "Sigmoid": "sigmoid",
    "MaxPool": "max-pool",
    "Mean": "mean",
    "MatMul": "dense",
    "Mul": "times",
}


def thinned(*axes):
    """Parameters: the product of the axes, slow but for the rows in which the last axis turns with the others.

    Of n axes every n - 1 values meet in a quick row, so long as the last axis is the shortest.
    """
    rows = []
    for indexes in product(*(range(len(axis)) for axis in axes)):
        quick = sum(indexes[:-1]) % len(axes[-1]) == indexes[-1]
        row = (axis[index] for axis, index in zip(axes, indexes, strict=True))
        rows.append(pytest.param(*row, marks=() if quick else pytest.mark.slow))
    return rows


def normal(*shape, dtype="float32", seed=0):
    """Draws from the normal distribution, the same ones every time."""
    return tf.cast(np.random.default_rng(seed).standard_normal(shape), dtype)


def numpy(value):
    """Any tensor, variable or array in float64."""
    return np.asarray(keras.ops.convert_to_numpy(value)).astype("float64")


def assert_close(actual, expected, tolerance=1e-5, smallest=0.0):
    """All finite, and the largest error no more than `tolerance` of the largest expected value.

    Where that is under `smallest`, the error is measured by `smallest`: a gradient that should be zero is rounding.
    """
    if isinstance(actual, list | tuple):
        assert len(actual) == len(expected)
        for pair in zip(actual, expected, strict=True):
            assert_close(*pair, tolerance, smallest)
        return
    actual, expected = numpy(actual), numpy(expected)
    assert actual.shape == expected.shape
    assert np.isfinite(expected).all()
    assert np.isfinite(actual).all()
    scale = np.abs(expected).max(initial=smallest) or 1.0
    error = np.abs(actual - expected).max(initial=0) / scale
    assert error <= tolerance, f"error {error:.2g} of {scale:.3g}"


def assert_one_line(error, *words):
    """The message of a caught exception is one line that holds all the words."""
    message = str(error.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message


def randomize(layer, seed=0):
    """Gives every weight a value of its own: no gamma of 1, no mean of 0, positive variances, kernels as drawn."""
    rng = np.random.default_rng(seed)
    for variable in layer.weights:
        name = variable.name
        if name.endswith(("gamma", "variance")):
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
        elif name.endswith(("beta", "mean")):
            variable.assign(rng.normal(0.0, 0.3, variable.shape))
    return layer


def statistics(layer):
    """Moving means and variances by path."""
    return {v.path: numpy(v) for v in layer.weights if "moving" in v.path}


def graph_of(function, *shape, dtype="float32"):
    """The TensorFlow graph of a function of one tensor."""
    spec = tf.TensorSpec([None, *shape], dtype)
    return tf.function(function).get_concrete_function(spec).graph


def word(op):
    """What an operation does, in the paper's words; None for plumbing."""
    if op.type == "Conv2D":
        size, strides = op.inputs[1].shape[0], op.get_attr("strides")[1]
        return f"{size}x{size}" + (f"/{strides}" if strides > 1 else "")
    if op.type == "AvgPool" and op.get_attr("ksize") == [1, 1, 1, 1]:
        return "subsample"
    is_statistic = op.outputs and op.outputs[0].shape.rank == 1
    return None if is_statistic else WORDS.get(op.type)


def order(graph):
    """The operations of a graph in the order in which they run: "BN, ReLU, 3x3, ..."."""
    return ", ".join(filter(None, map(word, graph.get_operations())))


def path(op):
    """The operations between the graph's input and `op`, itself included, along first inputs."""
    ops = []
    while op.type != "Placeholder":
        ops.append(op)
        op = op.inputs[0].op
    return [op for op in reversed(ops) if word(op)]


def path_words(op):
    """`path` spelt out; "x" for the input itself."""
    return ", ".join(map(word, path(op))) or "x"


def addition(graph):
    """The two sides h(x) and F(x) of a unit's one addition, as operations."""
    (add,) = (op for op in graph.get_operations() if word(op) == "add")
    return [side.op for side in add.inputs]
