import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import log_loss, precision_score, recall_score, top_k_accuracy_score

from training.measures import (
    calibration_bins,
    confusion_table,
    expected_calibration_error,
    measure_answers,
    per_class_table,
    summarize,
)


def _random_answers(images=200, classes=7):
    draw = np.random.default_rng(0)
    return draw.normal(0, 2, (images, classes)).astype(np.float32), draw.integers(0, classes, images)


def _softmax(logits):
    powers = np.exp(logits.astype(np.float64))
    return powers / powers.sum(axis=1, keepdims=True)


def test_a_row_by_hand():
    """Probabilities 1/8, 5/8, 2/8: the truth, class 2, comes second."""
    answers = measure_answers(np.log([[1.0, 5.0, 2.0]]), np.array([2]))
    (row,) = answers.to_dict("records")
    assert (row["label"], row["predicted"], row["rank"]) == (2, 1, 1)
    assert row["confidence"] == pytest.approx(5 / 8)
    assert row["loss"] == pytest.approx(np.log(4))


def test_error_top5_error_and_loss_are_those_of_scikit_learn():
    logits, labels = _random_answers()
    summary = summarize(measure_answers(logits, labels), 7)
    classes = np.arange(7)
    assert summary["images"] == 200
    assert summary["wrong"] == int((logits.argmax(1) != labels).sum())
    assert summary["error"] == pytest.approx(100 * (1 - top_k_accuracy_score(labels, logits, k=1, labels=classes)))
    assert summary["top5_error"] == pytest.approx(100 * (1 - top_k_accuracy_score(labels, logits, k=5, labels=classes)))
    assert summary["loss"] == pytest.approx(log_loss(labels, _softmax(logits), labels=classes))


def test_logarithms_of_probabilities_serve_as_logits():
    logits, labels = _random_answers()
    pd.testing.assert_frame_equal(
        measure_answers(logits, labels), measure_answers(np.log(_softmax(logits)), labels), rtol=1e-6
    )


def test_huge_logits_do_not_overflow():
    answers = measure_answers(np.array([[1e4, -1e4, 0]], np.float32), np.array([1]))
    assert answers["confidence"][0] == 1
    assert answers["loss"][0] == pytest.approx(2e4)


def test_of_equal_logits_the_lower_class_comes_first():
    """A net that answers alike to everything is right about one class in ten, and about five among its first five."""
    answers = measure_answers(np.zeros((10, 10)), np.arange(10))
    assert answers["rank"].tolist() == list(range(10))
    summary = summarize(answers, 10)
    assert (summary["error"], summary["top5_error"]) == (pytest.approx(90), pytest.approx(50))


def test_a_tie_at_the_fifth_place():
    """4 classes before, classes 4 and 5 equal: the truth is among the first five as class 4, not as class 5."""
    logits = np.array([[9.0, 8, 7, 6, 1, 1, 0]] * 2)
    assert measure_answers(logits, np.array([4, 5]))["rank"].tolist() == [4, 5]
    assert summarize(measure_answers(logits, np.array([4, 5])), 7)["top5_error"] == pytest.approx(50)


@pytest.mark.parametrize(("classes", "has_one"), [(5, False), (6, True)])
def test_there_is_a_top5_error_of_more_than_five_classes(classes, has_one):
    logits, labels = _random_answers(classes=classes)
    assert ("top5_error" in summarize(measure_answers(logits, labels), classes)) is has_one


def test_calibration_by_hand():
    """Bins (0, 0.5] and (0.5, 1]; gaps |0.4 - 1/2| and |0.8 - 1/3|, of 2 and 3 images in 5."""
    bins = calibration_bins(np.array([0.3, 0.5, 0.6, 0.8, 1.0]), np.array([True, False, False, True, False]), bins=2)
    assert bins["images"].tolist() == [2, 3]
    np.testing.assert_allclose(bins["confidence"], [0.4, 0.8])
    np.testing.assert_allclose(bins["accuracy"], [1 / 2, 1 / 3])
    assert expected_calibration_error(bins) == pytest.approx(2 / 5 * 0.1 + 3 / 5 * (0.8 - 1 / 3))


def test_there_are_15_bins_closed_above():
    edges = np.arange(1, 16) / 15
    bins = calibration_bins(edges, np.ones(15, bool))
    assert bins["images"].tolist() == [1] * 15
    np.testing.assert_allclose(bins["high"], edges)
    assert calibration_bins(np.array([0.0]), np.array([True]))["images"][0] == 1


@pytest.mark.parametrize(("right", "error"), [(True, 0), (False, 1)])
def test_sure_and_right_is_perfect_and_sure_and_wrong_the_worst(right, error):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # 14 empty bins are nothing to warn of.
        bins = calibration_bins(np.ones(4), np.full(4, right))
        assert expected_calibration_error(bins) == error
    assert bins["accuracy"].isna().sum() == 14


def test_as_often_right_as_sure_is_perfect():
    bins = calibration_bins(np.full(10, 0.7), np.arange(10) < 7)
    assert expected_calibration_error(bins) == pytest.approx(0, abs=1e-12)


NAMES = ("cat", "dog", "emu", "fox")
#            truth: 3 cats, 4 dogs, 1 emu, no fox
LABELS = np.array([0, 0, 0, 1, 1, 1, 1, 2])
PREDICTED = np.array([0, 1, 3, 1, 0, 0, 3, 2])


def _answers():
    return measure_answers(np.eye(4)[PREDICTED], LABELS)


def test_confusions_by_hand():
    table = confusion_table(_answers(), NAMES)
    assert table.to_numpy().tolist() == [[1, 1, 0, 1], [2, 1, 0, 1], [0, 0, 1, 0], [0, 0, 0, 0]]
    assert table.loc["dog", "cat"] == 2


def test_classes_by_hand_one_of_them_missing_from_the_test_set():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = per_class_table(_answers(), NAMES)
    assert table["class"].tolist() == list(NAMES)
    assert table["images"].tolist() == [3, 4, 1, 0]
    np.testing.assert_allclose(table["error"], [200 / 3, 75, 0, np.nan])
    np.testing.assert_allclose(table["precision"], [100 / 3, 50, 100, 0])
    np.testing.assert_allclose(table["recall"], [100 / 3, 25, 100, np.nan])
    assert table["confused_with"].tolist() == ["dog", "cat", "", ""]
    assert table["times"].tolist() == [1, 2, 0, 0]


def test_a_class_that_is_never_predicted_has_no_precision():
    table = per_class_table(measure_answers(np.eye(3)[[0, 0]], np.array([0, 1])), ("a", "b", "c"))
    np.testing.assert_allclose(table["precision"], [50, np.nan, np.nan])
    np.testing.assert_allclose(table["recall"], [100, 0, np.nan])


def test_classes_are_those_of_scikit_learn():
    logits, labels = _random_answers()
    table = per_class_table(measure_answers(logits, labels), tuple("abcdefg"))
    predicted = logits.argmax(1)
    np.testing.assert_allclose(table["precision"], 100 * precision_score(labels, predicted, average=None))
    np.testing.assert_allclose(table["recall"], 100 * recall_score(labels, predicted, average=None))
    np.testing.assert_allclose(table["error"] + table["recall"], 100)
