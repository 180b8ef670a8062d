"""The nets of the benchmark are the same nets: stock Keras layers with our weights give our outputs."""

import re

import keras
import numpy as np
import pytest
from seeds import draw_anew

from benchmarks.stock import stock_preresnet
from keras_preresnet import ResidualNetwork

STATISTICS = ("gamma", "beta", "moving_mean", "moving_variance")
IMAGES = np.random.default_rng(0).normal(size=(4, 32, 32, 3)).astype("float32")


def _unit_weights(layer):
    """Weights of each unit of a layer, by name, units in order."""
    count = getattr(layer, "count", None)
    if count is None:
        return [{w.path.removeprefix(f"{layer.path}/").replace("/", "_"): w.numpy() for w in layer.weights}]
    stacked = {w.name: w.numpy() for w in layer.weights}
    return [{name: value[k] for name, value in stacked.items()} for k in range(count)]


def _in_order_of_creation(model, kind):
    """Keras lists layers by depth; its numbers say in which order they were made."""
    layers = [layer for layer in model.layers if isinstance(layer, kind)]
    return iter(sorted(layers, key=lambda layer: int((re.findall(r"_(\d+)$", layer.name) or [0])[0])))


def _copy(ours, stock):
    convolutions = _in_order_of_creation(stock, keras.layers.Conv2D)
    norms = _in_order_of_creation(stock, keras.layers.BatchNormalization)

    def hand_over(unit, name):
        if f"{name}_kernel" in unit:
            next(convolutions).set_weights([unit[f"{name}_kernel"]])
        elif f"{name}_gamma" in unit:
            next(norms).set_weights([unit[f"{name}_{part}"] for part in STATISTICS])

    for layer in ours.layers:
        if layer.name.startswith("stage"):
            for unit in _unit_weights(layer):
                for name in ("preactivation", "widening_conv", "conv1", "norm1", "conv2", "norm2", "conv3"):
                    hand_over(unit, name)
        elif layer.weights:
            target = {"predictions": stock.layers[-1:]}.get(layer.name)
            target = target or (norms if "kernel" not in layer.weights[0].name else convolutions)
            next(iter(target)).set_weights(layer.get_weights())
    assert next(convolutions, None) is None
    assert next(norms, None) is None


@pytest.mark.parametrize(
    ("depth", "branch", "family"),
    [(14, "basic", "cifar"), (20, "bottleneck", "cifar"), (18, "basic", "imagenet"), (50, "bottleneck", "imagenet")],
)
def test_stock_layers_with_our_weights_give_our_outputs(depth, branch, family):
    draw_anew(0)
    settings = {"family": family, "input_shape": (32, 32, 3), "classes": 10}
    ours = ResidualNetwork(depth, branch=branch, widening="projection", unroll=False, **settings)
    for _ in range(8):
        ours(IMAGES, training=True)  # Statistics that are not those of the start.
    stock = stock_preresnet(depth, branch, **settings)
    _copy(ours, stock)
    expected = stock(IMAGES, training=False).numpy()
    assert np.isfinite(expected).all()
    np.testing.assert_allclose(ours(IMAGES, training=False), expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(ours(IMAGES, training=True), stock(IMAGES, training=True), rtol=1e-3, atol=1e-3)
