"""Whole nets: the rules for the first unit, the stem and the head, and the same nets written in stock Keras."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from library_helpers import (
    DESIGN_NAMES,
    assert_close,
    graph_of,
    normal,
    numpy,
    order,
    path_words,
    randomize,
    thinned,
    word,
)
from undrawn import undrawn

from keras_preresnet import ResidualNetwork

STEM = {"cifar": "3x3, BN, ReLU, ", "imagenet": "pad, 7x7/2, BN, ReLU, pad, max-pool, "}
# Two basic units of one width; the second one is the last one of the net.
FIRST_UNIT = {
    "original": "3x3, BN, ReLU, 3x3, BN, add, ReLU, ",
    "bn_after_addition": "3x3, BN, ReLU, 3x3, add, BN, ReLU, ",
    "relu_before_addition": "3x3, BN, ReLU, 3x3, BN, ReLU, add, ",
    "relu_only_preactivation": "3x3, BN, ReLU, 3x3, BN, add, ",
    "full_preactivation": "3x3, BN, ReLU, 3x3, add, ",
}
SECOND_UNIT = {
    "original": "3x3, BN, ReLU, 3x3, BN, add, ReLU, ",
    "bn_after_addition": "3x3, BN, ReLU, 3x3, add, BN, ReLU, ",
    "relu_before_addition": "3x3, BN, ReLU, 3x3, BN, ReLU, add, ",
    "relu_only_preactivation": "ReLU, 3x3, BN, ReLU, 3x3, BN, add, ",
    "full_preactivation": "BN, ReLU, 3x3, BN, ReLU, 3x3, add, ",
}
HEAD = {
    "original": "mean, dense",
    "bn_after_addition": "mean, dense",
    "relu_before_addition": "mean, dense",
    "relu_only_preactivation": "ReLU, mean, dense",
    "full_preactivation": "BN, ReLU, mean, dense",
}


def net(units=(2,), **options):
    return ResidualNetwork(units=units, **{"widths": (4,) * len(units), "stem_width": 4, "unroll": True, **options})


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("family", STEM)
@pytest.mark.parametrize("design", DESIGN_NAMES)
def test_order_of_a_whole_net(design, family, training):
    model = net(design=design, family=family, input_shape=(16, 16, 3))
    words = order(graph_of(lambda x: model(x, training=training), 16, 16, 3))
    assert words == STEM[family] + FIRST_UNIT[design] + SECOND_UNIT[design] + HEAD[design]


@pytest.mark.parametrize("pooling", [None, "avg"])
@pytest.mark.parametrize("design", DESIGN_NAMES)
def test_the_last_unit_is_activated_without_a_top_too(design, pooling):
    model = net(design=design, include_top=False, pooling=pooling, input_shape=(8, 8, 3))
    words = order(graph_of(lambda x: model(x, training=False), 8, 8, 3))
    head = HEAD[design].removesuffix("dense").removesuffix("mean, ") + ("mean" if pooling else "")
    assert words == (STEM["cifar"] + FIRST_UNIT[design] + SECOND_UNIT[design] + head).removesuffix(", ")


def additions(model):
    """Words of the two sides of every addition of the net, from the images on, in the order of the units."""
    graph = graph_of(lambda x: model(x, training=False), *model.input_shape[1:])
    return [[path_words(side.op) for side in op.inputs] for op in graph.get_operations() if word(op) == "add"]


def test_the_first_bottleneck_widens_what_the_stem_activated():
    """CIFAR: 16 -> 64 at stride 1; the BN-ReLU that branch and projection share is the stem's."""
    (shortcut, residual), *_ = additions(ResidualNetwork(11, branch="bottleneck"))
    assert shortcut == "3x3, BN, ReLU, 1x1"
    assert residual == "3x3, BN, ReLU, 1x1, BN, ReLU, 3x3, BN, ReLU, 1x1"


def test_the_first_basic_unit_adds_what_the_stem_activated():
    (shortcut, residual), *_ = additions(ResidualNetwork(8))
    assert shortcut == "3x3, BN, ReLU"
    assert residual == "3x3, BN, ReLU, 3x3, BN, ReLU, 3x3"


@pytest.mark.parametrize(("depth", "projects"), [(18, False), (34, False), (50, True)])
def test_the_first_imagenet_unit_projects_only_bottlenecks(depth, projects):
    branch = "bottleneck" if projects else "basic"
    with undrawn():
        assert ResidualNetwork(depth, family="imagenet").get_layer("stage1_unit1").branch == branch
    (shortcut, _), *_ = additions(ResidualNetwork(units=(1, 1), family="imagenet", branch=branch))
    assert shortcut == "pad, 7x7/2, BN, ReLU, pad, max-pool" + (", 1x1" if projects else "")


@pytest.mark.parametrize(
    ("options", "third"),
    [
        ({}, "BN, ReLU, subsample, pad"),
        ({"widening": "projection"}, "BN, ReLU, 1x1/2"),
        ({"design": "original"}, "subsample, pad"),
        ({"design": "original", "widening": "projection"}, "1x1/2, BN"),
        ({"design": "relu_only_preactivation", "widening": "projection"}, "ReLU, 1x1/2"),
    ],
)
def test_the_first_unit_of_a_later_stage_widens_what_it_activates(options, third):
    sides = additions(net(units=(2, 1), widths=(4, 8), input_shape=(8, 8, 3), **options))
    before = {"original": "add, ReLU"}.get(options.get("design"), "add")
    # The path along first inputs leads through the shortcuts, which the units of the first stage leave as they are.
    assert sides[2][0].endswith(f"{before}, {third}")


def test_the_stem_of_the_imagenet_nets_pads_every_side_alike():
    """Ones through ones: 7x7/2 padded by 3 sees 4 x 4 pixels in the corner, 7 x 7 inside."""
    model = ResidualNetwork(units=(1,), family="imagenet", stem_width=1, widths=(1,), input_shape=(16, 16, 1))
    model.get_layer("stem_conv").kernel.assign(tf.ones([7, 7, 1, 1]))
    stem = keras.Model(model.input, [model.get_layer(name).output for name in ("stem_conv", "stem_pool")])
    conv, pooled = (numpy(y)[0, ..., 0] for y in stem(tf.ones([1, 16, 16, 1])))
    side = np.array([4, 6, 7, 7, 7, 7, 7, 5])
    assert np.array_equal(conv, np.outer(side, side))
    most = np.array([6, 7, 7, 7])  # Windows of 3 that start at -1, 1, 3, 5.
    assert_close(pooled, np.outer(most, most) / np.sqrt(1 + 1e-5))


class Stock:
    """The nets once more, from the paper and stock Keras layers alone; they take the weights of ours by name."""

    def __init__(self, model):
        self.weights = {}
        for layer in model.layers:
            for v in layer.weights:
                self.remember(layer, v)

    def remember(self, layer, variable):
        name = variable.path.removeprefix(layer.name + "/").replace("/", "_")
        if not layer.name.endswith("_units"):
            self.weights[f"{layer.name}_{name}"] = numpy(variable)
            return
        for i, row in enumerate(numpy(variable), start=2):
            self.weights[f"{layer.name.removesuffix('s')}{i}_{name}"] = row

    def conv(self, name, x, strides=1):
        kernel = self.weights.pop(f"{name}_kernel")
        size, _, _, width = kernel.shape
        if size > 1:
            x = keras.layers.ZeroPadding2D(size // 2)(x)
        layer = keras.layers.Conv2D(width, size, strides, use_bias=False)
        y = layer(x)
        layer.set_weights([kernel])
        return y

    def norm(self, name, x, relu=True):
        layer = keras.layers.BatchNormalization(epsilon=1e-5)
        y = layer(x)
        layer.set_weights(
            [self.weights.pop(f"{name}_{w}") for w in ("gamma", "beta", "moving_mean", "moving_variance")]
        )
        return keras.layers.ReLU()(y) if relu else y

    def widen(self, name, x, width, strides, widening):
        if strides == 1 and x.shape[-1] == width:
            return x
        if widening == "projection":
            return self.conv(f"{name}_widening_conv", x, strides)
        x = keras.layers.AveragePooling2D(1, strides)(x)
        return keras.ops.pad(x, [[0, 0], [0, 0], [0, 0], [0, width - x.shape[-1]]])

    def preactivation_unit(self, name, x, width, strides, widening, layers, first):
        activated = x if first else self.norm(f"{name}_preactivation", x)
        widens = strides > 1 or x.shape[-1] != width
        shortcut = self.widen(name, activated if widens else x, width, strides, widening)
        y = self.conv(f"{name}_conv1", activated, strides)
        for k in range(2, layers + 1):
            y = self.conv(f"{name}_conv{k}", self.norm(f"{name}_norm{k - 1}", y))
        return shortcut + y

    def original_unit(self, name, x, width, strides, widening, layers, first):
        shortcut = self.widen(name, x, width, strides, widening)
        if shortcut is not x and widening == "projection":
            shortcut = self.norm(f"{name}_widening_norm", shortcut, relu=False)
        y = self.conv(f"{name}_conv1", x, strides)
        for k in range(2, layers + 1):
            y = self.conv(f"{name}_conv{k}", self.norm(f"{name}_norm{k - 1}", y))
        return keras.layers.ReLU()(shortcut + self.norm(f"{name}_norm{layers}", y, relu=False))

    def net(self, unit, n, widths, widening, layers):
        images = keras.Input((16, 16, 3))
        x = self.norm("stem_norm", self.conv("stem_conv", images))
        for stage, width in enumerate(widths, start=1):
            for i in range(1, n + 1):
                name, strides = f"stage{stage}_unit{i}", 2 if stage > 1 and i == 1 else 1
                x = unit(name, x, width, strides, widening, layers, first=stage == i == 1)
        if unit == self.preactivation_unit:
            x = self.norm("head_activation", x)
        x = keras.layers.GlobalAveragePooling2D()(x)
        dense = keras.layers.Dense(10)
        y = dense(x)
        dense.set_weights([self.weights.pop("predictions_kernel"), self.weights.pop("predictions_bias")])
        assert self.weights == {}
        return keras.Model(images, y)


@pytest.mark.parametrize(
    ("branch_and_n", "widening", "design"),
    thinned(
        (("basic", 3), ("bottleneck", 2), ("one_layer", 6)),
        ("projection", "zero_padding"),
        ("full_preactivation", "original"),
    ),
)
def test_equals_the_same_net_in_stock_keras(branch_and_n, widening, design):
    depth, (branch, n) = 20, branch_and_n
    """At inference, after two steps have set the statistics; every weight of ours is used once."""
    model = ResidualNetwork(depth, branch=branch, design=design, widening=widening, input_shape=(16, 16, 3))
    randomize(model)
    for seed in (1, 2):
        model(normal(8, 16, 16, 3, seed=seed), training=True)
    stock = Stock(model)
    unit = stock.preactivation_unit if design == "full_preactivation" else stock.original_unit
    widths = (64, 128, 256) if branch == "bottleneck" else (16, 32, 64)
    layers = {"one_layer": 1, "basic": 2, "bottleneck": 3}[branch]
    expected = stock.net(unit, n, widths, widening, layers)
    x = normal(4, 16, 16, 3, seed=3)
    assert_close(model(x), expected(x, training=False), 1e-4)
