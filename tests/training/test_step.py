import keras
import numpy as np
import pytest
import tensorflow as tf
from seeds import draw_anew

from keras_preresnet import ResidualNetwork
from training.recipes import Recipe
from training.step import EXPLODED, TrainingStep

IMAGES = np.random.default_rng(0).normal(size=(8, 8, 8, 1)).astype("float32")
LABELS = np.array([0, 1, 2, 0, 1, 2, 0, 1])
RECIPE = {"batch_size": 8, "warmup_steps": 0, "learning_rate": 0.1, "learning_rate_drops": (), "weight_decay": 1e-3}


def _net(dtype=None):
    draw_anew(1)
    return ResidualNetwork(units=(2,), widths=(8,), stem_width=8, classes=3, input_shape=(8, 8, 1), dtype=dtype)


def _step(precision="float32", jit_compile=False, **settings):
    return TrainingStep(_net(precision), Recipe(**{**RECIPE, **settings}), precision, jit_compile)


def _train(step, count=1, images=IMAGES, labels=LABELS, weights=None):
    """Trains on one batch again and again; returns the losses."""
    weights = np.ones(len(labels), "float32") if weights is None else np.array(weights, "float32")
    batches = iter(tf.data.Dataset.from_tensors((images, labels, weights)).repeat())
    return [float(step(batches, tf.constant(1), tf.constant(0.0))[0]) for _ in range(count)]


def _gradients(model, images, labels, **options):
    """Of Keras's own loss."""
    with tf.GradientTape() as tape:
        loss = keras.losses.CategoricalCrossentropy(from_logits=True, **options)(
            keras.ops.one_hot(labels, 3), model(images, training=True)
        )
    return loss, tape.gradient(loss, [v.value for v in model.trainable_variables])


def _require_first_step(step, start, gradients, rate=0.1):
    """Nesterov's first step: w -= rate * 1.9 * (gradient + decay * w)."""
    for ours, weight, gradient in zip(step.model.trainable_variables, start, gradients, strict=True):
        expected = weight - rate * 1.9 * (gradient + 1e-3 * weight)
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_step_is_that_of_torch_sgd_on_keras_gradients(smoothing):
    step, reference = _step(label_smoothing=smoothing), _net()
    loss, gradients = _gradients(reference, IMAGES, LABELS, label_smoothing=smoothing)
    assert _train(step)[0] == pytest.approx(float(loss), rel=1e-5)
    _require_first_step(step, reference.trainable_variables, gradients)
    for ours, theirs in zip(step.model.non_trainable_variables, reference.non_trainable_variables, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_accumulated_parts_make_the_step_of_their_mean_gradient():
    """Batch norm sees each part; everything else is the step of the whole batch."""
    step, reference = _step(accumulation_steps=2), _net()
    first, second = (_gradients(reference, IMAGES[half], LABELS[half]) for half in (slice(4), slice(4, 8)))
    assert _train(step)[0] == pytest.approx((float(first[0]) + float(second[0])) / 2, rel=1e-5)
    means = [(one + other) / 2 for one, other in zip(first[1], second[1], strict=True)]
    _require_first_step(step, reference.trainable_variables, means)
    for ours, theirs in zip(step.model.non_trainable_variables, reference.non_trainable_variables, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("parts", [2, 4])
def test_parts_of_a_net_that_does_not_normalize_by_batch_make_the_step_of_the_big_batch(parts):
    """With batch norm on its moving statistics the parts add up to the plain step."""
    steps = [_step(), _step(accumulation_steps=parts)]
    for step in steps:
        step.model = _Inference(step.model)
    np.testing.assert_allclose(_train(steps[1], 3), _train(steps[0], 3), rtol=1e-5)
    for ours, reference in zip(steps[1].model.weights, steps[0].model.weights, strict=True):
        np.testing.assert_allclose(ours, reference, rtol=1e-5, atol=1e-6)


class _Inference:
    """A model whose batch norm runs on its moving statistics in training too."""

    def __init__(self, model):
        self._model = model

    def __getattr__(self, name):
        return getattr(self._model, name)

    def stateless_call(self, trainable, state, images, training):
        return self._model.stateless_call(trainable, state, images, training=False)


def test_an_image_of_weight_0_counts_in_nothing_but_batch_norm():
    step = _step()
    loss, correct = _train(step, weights=[1] * 6 + [0, 0])[0], step.since_log.sums.numpy()
    assert correct[2] == 6
    assert loss == pytest.approx(correct[0] / 6, rel=1e-5)
    other_labels = LABELS.copy()
    other_labels[6:] = 2 - other_labels[6:]
    other = _step()
    assert _train(other, labels=other_labels, weights=[1] * 6 + [0, 0])[0] == pytest.approx(loss, rel=1e-6)
    for ours, theirs in zip(step.model.variables, other.model.variables, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_totals_are_means_over_images_since_the_reset():
    step = _step()
    losses = _train(step, 2)
    loss, accuracy = step.since_evaluation.means()
    assert loss == pytest.approx(sum(losses) / 2, rel=1e-5)
    assert accuracy * 16 == pytest.approx(round(accuracy * 16))
    step.since_evaluation.reset()
    last = _train(step)[0]
    assert step.since_evaluation.means()[0] == pytest.approx(last, rel=1e-5)
    assert step.since_log.means()[0] == pytest.approx((sum(losses) + last) / 3, rel=1e-5)


def test_gradient_norms_are_those_of_each_stage():
    step, reference = _step(), _net()
    _, gradients = _gradients(reference, IMAGES, LABELS)
    _train(step)
    expected = {"stem": 0.0, "stage1": 0.0, "head": 0.0}
    for variable, gradient in zip(reference.trainable_variables, gradients, strict=True):
        part = next((name for name in ("stem", "stage1") if variable.path.startswith(name)), "head")
        expected[part] += float(tf.reduce_sum(tf.square(gradient)))
    assert step.norm_groups == list(expected)
    np.testing.assert_allclose(step.gradient_norms, np.sqrt(list(expected.values())), rtol=1e-4)


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_the_loss_falls_in_every_precision(precision):
    step = _step(precision)
    losses = _train(step, 30)
    assert np.isfinite(losses).all()
    assert losses[-1] < 0.3 * losses[0]
    assert {str(v.dtype) for v in step.model.trainable_variables} == {"float32"}


def test_float16_scales_the_loss_and_the_others_do_not():
    scales = {p: float(_step(p).optimizer.loss_scale) for p in ("float32", "mixed_bfloat16", "mixed_float16")}
    assert scales == {"float32": 1, "mixed_bfloat16": 1, "mixed_float16": 2**15}


def test_xla_makes_the_same_steps():
    plain, compiled = _step(), _step(jit_compile=True)
    np.testing.assert_allclose(_train(plain, 3), _train(compiled, 3), rtol=1e-4)
    for ours, theirs in zip(plain.model.variables, compiled.model.variables, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("scale", [np.nan, np.inf, 1e30])
def test_the_first_step_whose_loss_is_no_number_or_has_exploded_is_remembered(scale):
    step = _step(weight_decay=0.0)
    _train(step, 2)
    assert int(step.first_bad_step) == 0
    step.model.get_layer("predictions").kernel.assign_add(tf.fill([8, 3], np.float32(scale)) * [1.0, -1.0, 2.0])
    _train(step, 2)
    assert int(step.first_bad_step) == 3


def test_a_loss_just_below_the_limit_is_let_pass():
    """Right class 2 at a logit of 0, others at about 900: a loss of 900."""
    step = _step(weight_decay=0.0, learning_rate=1e-9)
    step.model.get_layer("predictions").bias.assign([0.9 * EXPLODED, 0.0, 0.0])
    _train(step, labels=np.full(8, 2))
    assert int(step.first_bad_step) == 0
    step.model.get_layer("predictions").bias.assign([1.1 * EXPLODED, 0.0, 0.0])
    _train(step, labels=np.full(8, 2))
    assert int(step.first_bad_step) == 2


def test_the_weights_to_evaluate_are_the_average_where_there_is_one():
    plain, averaged = _step(), _step(ema_momentum=0.9)
    _train(plain, 3)
    _train(averaged, 3)
    for weight, own in zip(plain.weights_to_evaluate(), plain.model.weights, strict=True):
        np.testing.assert_array_equal(weight, own)
    pairs = zip(averaged.weights_to_evaluate(), averaged.model.weights, strict=True)
    assert sum(bool(np.any(np.array(average) != np.array(own))) for average, own in pairs) > 10
    assert any(name.startswith("ema/average") for name in averaged.variables_to_save())


def test_everything_that_a_run_goes_on_from_is_named():
    step = _step("mixed_float16", ema_momentum=0.9)
    saved = {id(variable) for variable in step.variables_to_save().values()}
    held = [v.value for v in step.model.variables] + [step.since_log.sums, step.since_evaluation.sums]
    held += [*step.optimizer.velocities, step.optimizer.step, step.optimizer.loss_scale, step.optimizer.finite_steps]
    held += [*step.average.averages, step.gradient_norms]
    assert {id(variable) for variable in held} <= saved
