import keras
import numpy as np
import pytest
import tensorflow as tf

from training.errors import UserError
from training.optimizer import MomentumSGD, MovingAverage
from training.recipes import Recipe

GRADIENTS = [1.0, -0.5, 2.0, 0.25]
PLAIN = {"warmup_steps": 0, "learning_rate": 0.1, "learning_rate_drops": (), "weight_decay": 0.0}


def _optimizer(variables, scales_loss=False, **settings):
    return MomentumSGD(Recipe(**{**PLAIN, **settings}), variables, scales_loss)


def _follow(start=2.0, gradients=GRADIENTS, **settings):
    """The values of one weight after each gradient."""
    weight = keras.Variable([start])
    optimizer = _optimizer([weight], **settings)
    values = []
    for gradient in gradients:
        optimizer.apply([tf.constant([gradient])])
        values.append(float(weight.value[0]))
    assert int(optimizer.step) == len(gradients)
    return values


@pytest.mark.parametrize("nesterov", [False, True])
def test_equals_torch_with_decay_and_a_drop_of_the_rate(nesterov):
    """torch.optim.SGD: d = g + decay * w; v = momentum * v + d; w -= rate * (d + momentum * v if nesterov else v)."""
    rates, weight, velocity, expected = [0.1, 0.1, 0.01, 0.01], 2.0, 0.0, []
    for gradient, rate in zip(GRADIENTS, rates, strict=True):
        gradient += 0.05 * weight
        velocity = 0.9 * velocity + gradient
        weight -= rate * (gradient + 0.9 * velocity if nesterov else velocity)
        expected.append(weight)
    values = _follow(nesterov=nesterov, weight_decay=0.05, learning_rate_drops=(2,))
    np.testing.assert_allclose(values, expected, rtol=1e-6)


@pytest.mark.parametrize("nesterov", [False, True])
def test_without_decay_and_drops_it_is_keras_sgd(nesterov):
    weight, stock = keras.Variable([2.0]), []
    optimizer = keras.optimizers.SGD(0.1, 0.9, nesterov)
    for gradient in GRADIENTS:
        optimizer.apply([np.array([gradient], "float32")], [weight])
        stock.append(float(weight.value[0]))
    np.testing.assert_allclose(_follow(nesterov=nesterov), stock, rtol=1e-6)


def test_the_norm_of_the_whole_gradient_is_clipped():
    """(3, 4) has norm 5: clipped to 1 it is (0.6, 0.8). (0.3, 0.4) is left alone."""
    weights = [keras.Variable([0.0]), keras.Variable([0.0])]
    optimizer = _optimizer(weights, momentum=0.0, nesterov=False, clip_norm=1.0)
    optimizer.apply([tf.constant([3.0]), tf.constant([4.0])])
    np.testing.assert_allclose(np.concatenate([w.numpy() for w in weights]), [-0.06, -0.08], rtol=1e-6)
    optimizer.apply([tf.constant([0.3]), tf.constant([0.4])])
    np.testing.assert_allclose(np.concatenate([w.numpy() for w in weights]), [-0.09, -0.12], rtol=1e-6)


def test_decay_leaves_out_what_a_pattern_fits():
    layer = keras.layers.Dense(2, name="predictions")
    layer.build((None, 2))
    for weight in layer.weights:
        weight.assign(tf.ones_like(weight))
    settings = {"weight_decay": 0.5, "momentum": 0.0, "nesterov": False}
    optimizer = _optimizer(layer.trainable_variables, exclude_from_weight_decay=(r"bias$",), **settings)
    optimizer.apply([tf.zeros([2, 2]), tf.zeros([2])])
    assert layer.kernel.numpy().tolist() == [[pytest.approx(0.95)] * 2] * 2
    assert layer.bias.numpy().tolist() == [1.0, 1.0]


def test_a_pattern_that_fits_nothing_is_refused():
    with pytest.raises(UserError, match="--exclude_from_weight_decay=gama fits none of the net's variables"):
        _optimizer([keras.Variable([0.0])], exclude_from_weight_decay=("gama",))


def test_the_loss_scale_halves_and_the_step_is_left_out_where_a_gradient_is_not_finite():
    weight = keras.Variable([2.0])
    optimizer = _optimizer([weight], scales_loss=True)
    scale = float(optimizer.loss_scale)
    assert scale == 2**15
    for bad in (np.inf, np.nan):
        optimizer.apply(optimizer.unscaled([tf.constant([bad], tf.float32)]))
    assert (weight.numpy()[0], float(optimizer.loss_scale)) == (2.0, scale / 4)
    assert int(optimizer.step) == 2
    optimizer.apply(optimizer.unscaled([tf.constant([scale / 4])]))  # A gradient of 1, scaled.
    assert weight.numpy()[0] == pytest.approx(2.0 - 0.1 * 1.9)


def test_the_loss_scale_doubles_after_2000_finite_steps():
    optimizer = _optimizer([keras.Variable([2.0])], scales_loss=True)
    optimizer.finite_steps.assign(1998)
    scales = []
    for _ in range(3):
        optimizer.apply([tf.constant([0.0])])
        scales.append(float(optimizer.loss_scale))
    assert scales == [2**15, 2**16, 2**16]
    assert int(optimizer.finite_steps) == 1


def test_the_loss_scale_never_falls_below_1():
    optimizer = _optimizer([keras.Variable([2.0])], scales_loss=True)
    for _ in range(20):
        optimizer.apply([tf.constant([np.inf], tf.float32)])
    assert float(optimizer.loss_scale) == 1.0


def test_a_moving_average_by_hand():
    """Momentum (1 + step) / (10 + step) until that is 0.3: 2/11, 3/12, then 0.3."""
    weight = keras.Variable([1.0])
    average = MovingAverage([weight], 0.3)
    expected = 1.0
    for step, (value, momentum) in enumerate([(2.0, 2 / 11), (4.0, 3 / 12), (8.0, 0.3), (0.0, 0.3)], start=1):
        weight.assign([value])
        average.update(tf.constant(step))
        expected = momentum * expected + (1 - momentum) * value
        assert average.averages[0].numpy()[0] == pytest.approx(expected, rel=1e-6)


def test_everything_has_a_name_to_be_saved_by():
    optimizer = _optimizer([keras.Variable([2.0]), keras.Variable([1.0])])
    assert set(optimizer.variables_to_save()) == {"step", "loss_scale", "finite_steps", "velocity/0", "velocity/1"}
