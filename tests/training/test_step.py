import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_preresnet import ResidualNetwork
from training.recipes import Recipe
from training.step import TrainingStep, make_optimizer

IMAGES = np.random.default_rng(0).normal(size=(8, 8, 8, 1)).astype("float32")
LABELS = np.array([0, 1, 2, 0, 1, 2, 0, 1])
RECIPE = Recipe(warmup_steps=0, learning_rate=0.1, weight_decay=1e-3)


def _net(dtype=None):
    keras.utils.set_random_seed(1)
    return ResidualNetwork(units=(2,), widths=(8,), stem_width=8, classes=3, input_shape=(8, 8, 1), dtype=dtype)


def _step(precision="float32", **options):
    return TrainingStep(_net(precision), make_optimizer(RECIPE, precision), **options)


def test_a_step_is_that_of_torch_sgd_on_keras_gradients():
    """First step, Nesterov: w -= rate * 1.9 * (gradient + decay * w), the gradient being that of Keras's own loss."""
    step, reference = _step(), _net()
    with tf.GradientTape() as tape:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(LABELS, reference(IMAGES, training=True))
    gradients = tape.gradient(loss, [v.value for v in reference.trainable_variables])
    assert float(step(IMAGES, LABELS)) == pytest.approx(float(loss), rel=1e-5)
    for ours, start, gradient in zip(
        step.model.trainable_variables, reference.trainable_variables, gradients, strict=True
    ):
        expected = start - 0.1 * 1.9 * (gradient + 1e-3 * start)
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)


def test_metrics_are_means_over_images_since_the_reset():
    step = _step()
    losses = [float(step(IMAGES[:5], LABELS[:5])), float(step(IMAGES[5:], LABELS[5:]))]
    loss, accuracy = step.metrics()
    assert loss == pytest.approx((5 * losses[0] + 3 * losses[1]) / 8, rel=1e-5)
    assert accuracy * 8 == pytest.approx(round(accuracy * 8))
    step.reset_metrics()
    last = float(step(IMAGES, LABELS))
    assert step.metrics()[0] == pytest.approx(last, rel=1e-5)


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_the_loss_falls_in_every_precision(precision):
    step = _step(precision)
    losses = [float(step(IMAGES, LABELS)) for _ in range(30)]
    assert np.isfinite(losses).all()
    assert losses[-1] < 0.3 * losses[0]
    assert {str(v.dtype) for v in step.model.trainable_variables} == {"float32"}


def test_float16_scales_the_loss_and_the_others_do_not():
    assert isinstance(_step("mixed_float16").optimizer, keras.optimizers.LossScaleOptimizer)
    assert not isinstance(_step("mixed_bfloat16").optimizer, keras.optimizers.LossScaleOptimizer)


def test_xla_makes_the_same_steps():
    plain, compiled = _step(), _step(jit_compile=True)
    for _ in range(3):
        assert float(plain(IMAGES, LABELS)) == pytest.approx(float(compiled(IMAGES, LABELS)), rel=1e-4)
    for ours, theirs in zip(plain.model.variables, compiled.model.variables, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5)


def test_the_learning_rate_is_that_of_the_next_step():
    recipe = Recipe(warmup_steps=1, warmup_learning_rate=0.01, learning_rate=0.1)
    step = TrainingStep(_net(), make_optimizer(recipe, "float32"))
    assert step.learning_rate == pytest.approx(0.01)
    step(IMAGES, LABELS)
    assert step.learning_rate == pytest.approx(0.1)
