"""Learning rates by variable: as two plain optimizers would do it."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from library_helpers import assert_close, assert_one_line
from transfer_helpers import IMAGES, LABELS, cross_entropy, tiny

from keras_preresnet import freeze, with_learning_rate_multipliers

OPTIMIZERS = {
    "SGD": keras.optimizers.SGD(0.1),
    "momentum": keras.optimizers.SGD(0.1, momentum=0.9),
    "Nesterov": keras.optimizers.SGD(0.1, momentum=0.9, nesterov=True),
    "weight decay": keras.optimizers.SGD(0.1, momentum=0.9, weight_decay=0.3),
    "RMSprop": keras.optimizers.RMSprop(0.1),
    "Adam": keras.optimizers.Adam(0.1),
    "AdamW": keras.optimizers.AdamW(0.1, weight_decay=0.3),
    "Nadam": keras.optimizers.Nadam(0.1),
    "Adamax": keras.optimizers.Adamax(0.1),
    "Adagrad": keras.optimizers.Adagrad(0.1),
    "Adadelta": keras.optimizers.Adadelta(0.1),
    "Lion": keras.optimizers.Lion(0.1),
    "Lamb": keras.optimizers.Lamb(0.1),
    "Ftrl": keras.optimizers.Ftrl(0.1),
    "schedule": keras.optimizers.SGD(keras.optimizers.schedules.ExponentialDecay(0.1, 1, 0.5)),
    "moving average": keras.optimizers.Adam(0.1, use_ema=True, ema_overwrite_frequency=2),
    "accumulation": keras.optimizers.SGD(0.1, weight_decay=0.3, gradient_accumulation_steps=2),
}


def variables():
    return [keras.Variable([1.0, -2.0, 3.0], name=name) for name in ("body", "head")]


def steps(optimizer, trained, count=4):
    """Gradients of their own for each step and each variable."""
    optimizer.build(trained)
    apply = tf.function(lambda gradients: optimizer.apply(gradients))
    for step in range(count):
        apply([tf.constant([0.5, -1.0, 0.1 * step]) * (1 + step) for _ in trained])
    return [variable.numpy() for variable in trained]


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_it_does_what_two_plain_optimizers_do(optimizer):
    fast, slow = (type(optimizer).from_config(optimizer.get_config()) for _ in range(2))
    rate = slow.get_config()["learning_rate"]
    if isinstance(rate, float):
        slow.learning_rate = 0.25 * rate
    else:
        slow.learning_rate = keras.optimizers.schedules.ExponentialDecay(0.025, 1, 0.5)
    expected = steps(slow, variables()[:1]) + steps(fast, variables()[1:])
    made = steps(with_learning_rate_multipliers(optimizer, {"^body$": 0.25}), variables())
    assert_close(made, expected, 1e-6)
    assert np.any(made[0] != made[1])


def test_one_step_of_gradient_descent_by_hand():
    made = steps(with_learning_rate_multipliers(keras.optimizers.SGD(0.1), {"body": 0.5}), variables(), count=1)
    assert_close(made, [[1 - 0.025, -2 + 0.05, 3], [1 - 0.05, -2 + 0.1, 3]], 1e-6)


def test_the_first_expression_that_is_found_counts():
    optimizer = with_learning_rate_multipliers(keras.optimizers.SGD(0.1), {"od": 2.0, "body": 7.0, "d": 0.0625})
    made = steps(optimizer, variables(), count=1)
    assert_close(made, [[1 - 0.1, -2 + 0.2, 3], [1 - 0.05 / 16, -2 + 0.1 / 16, 3]], 1e-6)


def test_the_norm_of_all_gradients_is_clipped_together():
    optimizer = with_learning_rate_multipliers(keras.optimizers.SGD(1.0, global_clipnorm=1.0), {"body": 0.5})
    made = steps(optimizer, variables(), count=1)
    norm = np.sqrt(2 * (0.5**2 + 1.0**2))
    assert_close(made[0], np.array([1.0, -2.0, 3.0]) - 0.5 * np.array([0.5, -1.0, 0.0]) / norm, 1e-6)


@pytest.mark.parametrize("dtype", ["float32", "mixed_float16"])
def test_a_compiled_net_is_saved_with_it_and_goes_on_the_same(tmp_path, dtype):
    model = tiny(dtype=dtype, unroll=True)
    optimizer = with_learning_rate_multipliers(keras.optimizers.SGD(0.01, momentum=0.9), {"stem|stage|head": 0.1})
    model.compile(optimizer, cross_entropy())
    model.fit(IMAGES, LABELS, verbose=0)
    model.save(tmp_path / "net.keras")
    again = keras.saving.load_model(tmp_path / "net.keras")
    for net in (model, again):
        net.fit(IMAGES, LABELS, verbose=0, shuffle=False)
    assert_close(again.get_weights(), model.get_weights(), 0)
    inner = getattr(again.optimizer, "inner_optimizer", again.optimizer)
    assert inner.get_config()["learning_rate_multipliers"] == {"stem|stage|head": 0.1}


def test_callbacks_set_the_rate_of_all():
    model = tiny(unroll=True)
    model.compile(with_learning_rate_multipliers(keras.optimizers.SGD(0.5), {"stem|stage|head": 0.1}), cross_entropy())
    model.fit(IMAGES, LABELS, verbose=0, callbacks=[keras.callbacks.LearningRateScheduler(lambda epoch: 1e-30)])
    assert float(model.optimizer.learning_rate) == pytest.approx(1e-30)


def test_an_expression_that_is_found_nowhere_warns():
    model = tiny()
    freeze(model)
    with pytest.warns(UserWarning, match="'stage' is found in none of the 2 variables"):
        with_learning_rate_multipliers(keras.optimizers.SGD(), {"stage": 0.1}).build(model.trainable_variables)


def _built():
    optimizer = keras.optimizers.SGD()
    optimizer.build(variables())
    return optimizer


@pytest.mark.parametrize("make", [_built, lambda: keras.optimizers.Adafactor(), lambda: "sgd"])
def test_another_optimizer_is_refused(make):
    with pytest.raises(ValueError, match="not yet built") as error:
        with_learning_rate_multipliers(make(), {"body": 0.1})
    assert_one_line(error, "SGD", "AdamW")


@pytest.mark.parametrize("factor", [0, -1.0, float("nan")])
def test_a_multiplier_that_is_not_positive_is_refused(factor):
    with pytest.raises(ValueError, match="above 0 is needed") as error:
        with_learning_rate_multipliers(keras.optimizers.SGD(), {"body": factor})
    assert_one_line(error, "'body'")
