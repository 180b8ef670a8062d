"""Small nets, and what goes through them."""

import numpy as np
import tensorflow as tf
from library_helpers import normal, randomize

from keras_preresnet import ResidualNetwork
from keras_preresnet.signals import Signals

LABELS = np.array([0, 3, 3, 1])
OPTIONS = {"exclusive_gating": {"gate_bias": -1}, "shortcut_only_gating": {"gate_bias": -1}}


def small_net(shortcut="identity", design="full_preactivation", options=None, **settings):
    """Two stages, of three and of two units, on images of 8x8."""
    small = {"units": (3, 2), "widths": (4, 8), "stem_width": 4, "input_shape": (8, 8, 3), "classes": 4}
    settings = {**small, **settings}
    options = OPTIONS.get(shortcut) if options is None else options
    return randomize(ResidualNetwork(design=design, shortcut=shortcut, shortcut_options=options, **settings))


def scaled(scale, **settings):
    """The same with h(x) = scale x."""
    return small_net("constant_scaling", options={"scale": scale}, **settings)


def signals_of(model, **settings):
    """Four images on their way through a net."""
    _, *shape = model.input_shape
    return Signals(model, normal(len(LABELS), *shape), LABELS, **settings)


def recorded(signals):
    """x_l, F_l and λ_l of every unit, and what the last one gives, as NumPy arrays of float64."""
    xs, residuals, factors = [], [], []
    for _, x, parts in signals.forward():
        xs.append(np.float64(x))
        residuals.append(np.float64(parts.residual))
        factors.append(None if parts.factor is None else np.float64(parts.factor))
    return [*xs, np.float64(signals.inputs[-1])], residuals, factors


def zero_last_convolutions(model):
    """Makes every F zero in units that end in a convolution."""
    for weight in model.weights:
        if weight.path.split("/")[0].startswith("stage") and "conv2" in weight.path:
            weight.assign(tf.zeros_like(weight))
    return model
