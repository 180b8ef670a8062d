import keras
import numpy as np
import pytest
import tensorflow as tf
from training_helpers import numbered_data

from keras_preresnet import ResidualNetwork
from training.evaluation import Evaluator, Score

DATA = numbered_data(3, test_count=11)


def _net(dtype="float32"):
    return ResidualNetwork(units=(2,), widths=(8,), stem_width=8, classes=3, input_shape=(8, 8, 1), dtype=dtype)


def _weights(model):
    return [weight.value for weight in model.weights]


@pytest.mark.parametrize("batch_size", [1, 7, 11, 50])
def test_every_image_counts_once_whatever_the_batch(batch_size):
    model = _net()
    score = Evaluator(model, DATA, batch_size=batch_size)(_weights(model))
    logits = model(DATA.preprocessing(DATA.test.images), training=False).numpy()
    losses = keras.losses.sparse_categorical_crossentropy(DATA.test.labels, logits, from_logits=True)
    assert score.images == 11
    assert score.wrong == int((logits.argmax(1) != DATA.test.labels).sum())
    assert score.loss == pytest.approx(float(tf.reduce_mean(losses)), rel=1e-5)


def test_the_error_is_in_percent():
    assert Score(0.5, 637, 10_000).error == pytest.approx(6.37)


def test_a_half_precision_net_is_evaluated_in_float32_and_with_the_weights_that_are_given():
    half, wide = _net("mixed_bfloat16"), _net()
    ours = Evaluator(half, DATA)(_weights(wide))
    reference = Evaluator(wide, DATA)(_weights(wide))
    assert ours.wrong == reference.wrong
    assert ours.loss == pytest.approx(reference.loss, rel=1e-6)


def test_statistics_are_those_of_training_not_of_the_test_batch():
    model = _net()
    evaluator = Evaluator(model, DATA, batch_size=4)
    before = [np.array(w) for w in model.weights]
    first = evaluator(_weights(model))
    assert evaluator(_weights(model)) == first
    for old, new in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(old, new)
