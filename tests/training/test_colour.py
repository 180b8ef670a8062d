from itertools import permutations
from statistics import NormalDist

import numpy as np
import pytest
import tensorflow as tf

from training.colour import colour_jitter, lighting

IMAGE = np.random.default_rng(0).integers(0, 256, (4, 5, 3)).astype("float32")
BRIGHTNESS, CONTRAST, SATURATION = 0, 1, 2


def _grey(image):
    return 0.299 * image[..., 0] + 0.587 * image[..., 1] + 0.114 * image[..., 2]


def _one_change(image, kind, alpha):
    other = {
        BRIGHTNESS: np.zeros_like(image),
        CONTRAST: np.full_like(image, _grey(image).mean()),
        SATURATION: np.stack([_grey(image)] * 3, axis=-1),
    }
    return image * alpha + other[kind] * (1 - alpha)


@pytest.mark.parametrize("number", range(6))
def test_jitter_is_that_of_numpy_in_each_of_the_six_orders(number):
    strengths = np.array([0.1, 0.9, 0.35], "float32")
    expected = IMAGE
    for kind in list(permutations(range(3)))[number]:
        expected = _one_change(expected, kind, 1 + 0.4 * (2 * strengths[kind] - 1))
    jittered = colour_jitter(tf.constant(IMAGE), tf.constant((number + 0.5) / 6), tf.constant(strengths))
    np.testing.assert_allclose(jittered, expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(("strength", "alpha"), [(0.0, 0.6), (0.5, 1.0), (1 - 2**-24, 1.4)])
def test_brightness_goes_from_six_to_fourteen_tenths(strength, alpha):
    jittered = colour_jitter(tf.constant(IMAGE), tf.constant(0.0), tf.constant([strength, 0.5, 0.5]))
    np.testing.assert_allclose(jittered, alpha * IMAGE, rtol=1e-5, atol=1e-3)


def test_grey_keeps_its_grey_but_for_brightness_and_contrast():
    grey = np.full((3, 3, 3), 100, "float32")
    for order in (0.0, 0.99):
        jittered = colour_jitter(tf.constant(grey), tf.constant(order), tf.constant([0.5, 0.0, 0.9]))
        np.testing.assert_allclose(jittered, grey, rtol=1e-5)


def test_lighting_adds_one_colour_as_numpy_has_it():
    values = np.array([0.2175, 0.0188, 0.0045])
    vectors = np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])
    draws = [0.1, 0.7, 0.95]
    alpha = 0.1 * np.array([NormalDist().inv_cdf(draw) for draw in draws])
    expected = IMAGE + 255 * (vectors * alpha * values).sum(axis=1)
    np.testing.assert_allclose(lighting(tf.constant(IMAGE), tf.constant(draws)), expected, rtol=1e-5, atol=1e-3)


def test_the_eigenvectors_are_columns_of_length_one():
    one_deviation = 0.5 + 0.3413 * np.eye(3, dtype="float32")
    unit = [lighting(tf.zeros([1, 1, 3]), tf.constant(draw)).numpy() for draw in one_deviation]
    rest = lighting(tf.zeros([1, 1, 3]), tf.constant([0.5, 0.5, 0.5])).numpy()
    lengths = [np.linalg.norm(one - rest) for one in unit]
    np.testing.assert_allclose(lengths, 255 * 0.1 * np.array([0.2175, 0.0188, 0.0045]), rtol=1e-3)


def test_the_extreme_draws_are_finite():
    for draw in (0.0, 1 - 2**-24):
        assert np.isfinite(lighting(tf.constant(IMAGE), tf.constant([draw] * 3))).all()
