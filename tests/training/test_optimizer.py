import keras
import numpy as np
import pytest

from training.optimizer import MomentumSGD

GRADIENTS = [1.0, -0.5, 2.0, 0.25]


def _follow(optimizer, start=2.0, rates=None):
    weight = keras.Variable([start])
    values = []
    for index, gradient in enumerate(GRADIENTS):
        if rates:
            optimizer.learning_rate = rates[index]
        optimizer.apply([np.array([gradient], "float32")], [weight])
        values.append(float(weight.value[0]))
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
    values = _follow(MomentumSGD(0.1, 0.9, nesterov, decay=0.05), rates=rates)
    np.testing.assert_allclose(values, expected, rtol=1e-6)


@pytest.mark.parametrize("nesterov", [False, True])
def test_without_decay_and_drops_it_is_keras_sgd(nesterov):
    ours = _follow(MomentumSGD(0.1, 0.9, nesterov, decay=0.0))
    stock = _follow(keras.optimizers.SGD(0.1, 0.9, nesterov))
    np.testing.assert_allclose(ours, stock, rtol=1e-6)


def test_settings_round_trip():
    config = MomentumSGD(0.2, 0.8, False, decay=0.3).get_config()
    copy = MomentumSGD.from_config(config)
    assert (float(copy.learning_rate), copy.momentum, copy.nesterov, copy.decay) == (
        pytest.approx(0.2),
        0.8,
        False,
        0.3,
    )
