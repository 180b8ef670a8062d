"""Temperature scaling on answers whose best temperature can be written down."""

import numpy as np
import pytest

from training.errors import UserError
from training.measures import measure_answers
from training.temperature import fit_temperature, scale_temperature


def _pairs(*rights, logit=2.0):
    """Two classes, the first of them always answered with this logit to 0; `rights`: whether that is so."""
    labels = 1 - np.array(rights, int)
    return np.tile([logit, 0.0], (len(labels), 1)), labels


@pytest.mark.parametrize(("right", "logit"), [(8, 2.0), (8, 0.5), (6, 3.0), (9, 4.0)])
def test_the_temperature_makes_the_confidence_the_accuracy(right, logit):
    """softmax(logit / T) = right / 10 at T = logit / log(right / (10 - right)), where the cross entropy is least."""
    logits, labels = _pairs(*[True] * right, *[False] * (10 - right), logit=logit)
    assert fit_temperature(logits, labels) == pytest.approx(logit / np.log(right / (10 - right)), rel=1e-4)


@pytest.mark.parametrize(("rights", "limit"), [([True] * 4, 0.05), ([True, False] * 4, 20.0), ([False] * 4, 20.0)])
def test_where_there_is_no_best_temperature_it_is_the_limit(rights, limit):
    """Always right: ever surer; no better than chance: ever less sure."""
    logits, labels = _pairs(*rights)
    assert fit_temperature(logits, labels) == pytest.approx(limit, rel=0.1)
    scaling = scale_temperature(logits, measure_answers(logits, labels))
    assert scaling.words.endswith(" (there is no best one from 0.05 to 20)")


def test_each_half_has_the_temperature_of_the_other():
    """Of every second image 8 in 10 are right, of the others 6 in 10: the confidence of the ones is 0.6, and 0.8."""
    rights = np.zeros(20, bool)
    rights[::2][:8] = rights[1::2][:6] = True
    logits, labels = _pairs(*rights)
    answers = measure_answers(logits, labels).rename_axis("index")
    scaling = scale_temperature(logits, answers)
    np.testing.assert_allclose(scaling.answers["confidence"][::2], 0.6, rtol=1e-4)
    np.testing.assert_allclose(scaling.answers["confidence"][1::2], 0.8, rtol=1e-4)
    assert scaling.temperature == pytest.approx(2 / np.log(14 / 6), rel=1e-4)  # Of all, 14 in 20 are right.
    assert scaling.words == "2.360"
    assert scaling.answers.index.equals(answers.index)
    for column in ("label", "predicted", "rank"):
        assert scaling.answers[column].equals(answers[column])


def test_what_was_scaled_before_is_found_again():
    """Labels drawn from softmax(logits): the best temperature of 3 times these logits is 3."""
    draw = np.random.default_rng(0)
    logits = draw.normal(0, 2, (20_000, 5))
    labels = (logits + draw.gumbel(size=logits.shape)).argmax(1)
    assert fit_temperature(3 * logits, labels) == pytest.approx(3, rel=0.05)
    assert fit_temperature(3 * logits, labels) == pytest.approx(3 * fit_temperature(logits, labels), rel=1e-4)


def test_one_image_has_no_other_half():
    logits, labels = _pairs(True)
    with pytest.raises(UserError, match="needs two test images at least"):
        scale_temperature(logits, measure_answers(logits, labels))
