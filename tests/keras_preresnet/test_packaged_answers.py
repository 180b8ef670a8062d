"""Every packaged net still answers as it did when it was packaged; how that was stored: packaged_answers.py."""

import json

import numpy as np
import pytest
from packaged_answers import FILE, first_test_images, logits_of, made_images

from keras_preresnet import create_model
from keras_preresnet.register import REGISTER

ROWS = pytest.mark.parametrize("entry", REGISTER.values(), ids=lambda entry: f"{entry.model}_{entry.weights}")

DEEPER_SLOWLY = [
    pytest.param(entry, marks=() if entry.model == "PreResNet20" else pytest.mark.slow) for entry in REGISTER.values()
]


def _stored(entry):
    return json.loads(FILE.read_text())[f"{entry.model}_{entry.weights}"]


def _model(entry):
    return create_model(entry.model, classes=len(entry.class_names), weights=entry.weights)


@ROWS
def test_its_answers_to_made_images_are_the_stored_ones(entry):
    model = _model(entry)
    images = made_images(*model.input_shape[1:])
    assert images[:, 1, 9, 2].tolist() == [152, 179, 0, 91]  # By hand: the images are the same everywhere.
    stored = np.array(_stored(entry)["logits"])
    assert np.ptp(stored, axis=0).min() > 0.1  # Each image is answered in another way.
    np.testing.assert_allclose(logits_of(model, images), stored, rtol=1e-3, atol=2e-3)


@pytest.mark.parametrize("entry", DEEPER_SLOWLY, ids=lambda entry: f"{entry.model}_{entry.weights}")
def test_its_error_on_the_first_test_images_is_the_stored_one(entry):
    found = first_test_images(entry)
    if found is None:
        pytest.skip(f"{entry.weights} is not on this disk")
    images, labels = found
    wrong = int((logits_of(_model(entry), images).argmax(1) != labels).sum())
    assert abs(wrong - _stored(entry)["wrong_of_first_1000"]) <= 2
    assert abs(wrong / 10 - entry.test_error) < 4  # In percent; of 1,000 images alone.


def test_nothing_is_stored_of_nets_that_are_not_packaged():
    assert json.loads(FILE.read_text()).keys() == {f"{row.model}_{row.weights}" for row in REGISTER.values()}
