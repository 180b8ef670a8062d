"""What a classifier's answers are worth: error, confusions, calibration. Arrays in, numbers and tables out."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

CALIBRATION_BINS = 15  # As in Guo et al. 2017.
TOP = 5


def measure_answers(logits: np.ndarray, labels: np.ndarray) -> pd.DataFrame:
    """Returns a row for each image: what the net says, how sure it is, and where the truth comes in its order.

    Args:
        logits: `(images, classes)`, finite; the logarithms of probabilities serve as well.
        labels: Integers `(images,)`, the true classes.

    Returns:
        Columns `label`, `predicted`, `confidence` (the probability of the predicted class, in [0, 1]), `loss` (cross
        entropy, natural logarithm) and `rank` (classes that come before the true one; 0: the net is right). Of equal
        logits the lower class comes first, as in `argmax`, so that a net which answers alike to everything is not
        counted as right (`tf.math.in_top_k` would count it so).
    """
    logits, labels = np.asarray(logits, np.float64), np.asarray(labels)
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    truth = np.take_along_axis(logits, labels[:, None], axis=1)
    comes_first = np.arange(logits.shape[1]) < labels[:, None]
    return pd.DataFrame(
        {
            "label": labels,
            "predicted": logits.argmax(axis=1),
            "confidence": np.exp(log_probabilities.max(axis=1)),
            "loss": -np.take_along_axis(log_probabilities, labels[:, None], axis=1)[:, 0],
            "rank": ((logits > truth) | ((logits == truth) & comes_first)).sum(axis=1),
        }
    )


def summarize(answers: pd.DataFrame, classes: int) -> dict:
    """Returns the measures of the whole set from the rows of `measure_answers`.

    `images` and `wrong` are counts; `error`, `top5_error` (only of more than five classes) and
    `expected_calibration_error` are in percent; `loss` is the mean cross entropy.
    """
    wrong = answers["rank"] > 0
    count = int(wrong.sum())
    summary = {"images": len(answers), "wrong": count, "error": 100 * count / len(answers)}  # As in training.
    if classes > TOP:
        summary["top5_error"] = 100 * float((answers["rank"] >= TOP).mean())
    bins = calibration_bins(answers["confidence"], ~wrong)
    return {
        **summary,
        "loss": float(answers["loss"].mean()),
        "expected_calibration_error": 100 * expected_calibration_error(bins),
    }


def calibration_bins(confidence: np.ndarray, right: np.ndarray, bins: int = CALIBRATION_BINS) -> pd.DataFrame:
    """Sorts answers by confidence into bins of equal width: (0, 1/bins], (1/bins, 2/bins], ... (Guo et al. 2017).

    Args:
        confidence: Probability of the predicted class, `(images,)`, in [0, 1].
        right: Whether the prediction is right, `(images,)`.
        bins: How many bins.

    Returns:
        A row for each bin: `low` and `high`, its limits; `images`, how many fell into it; the mean `confidence` and the
        `accuracy` of those, in [0, 1], NaN where there are none.
    """
    edges = np.linspace(0, 1, bins + 1)
    place = np.searchsorted(edges[1:-1], confidence, side="left")  # A confidence on a limit belongs below it.
    images = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):  # 0 / 0 is the NaN of an empty bin.
        means = [np.bincount(place, values, minlength=bins) / images for values in (confidence, right)]
    return pd.DataFrame(
        {"low": edges[:-1], "high": edges[1:], "images": images, "confidence": means[0], "accuracy": means[1]}
    )


def expected_calibration_error(bins: pd.DataFrame) -> float:
    """Returns the mean gap between confidence and accuracy, each bin by its share of the images; in [0, 1].

    Equation (3) of Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, of `calibration_bins`.
    """
    share = bins["images"] / bins["images"].sum()
    return float((share * (bins["accuracy"] - bins["confidence"]).abs()).sum())  # NaN, an empty bin, counts as 0.


def confusion_table(answers: pd.DataFrame, class_names: Sequence[str]) -> pd.DataFrame:
    """Returns the number of images of each true class (rows) by predicted class (columns)."""
    classes = np.arange(len(class_names))
    counts = confusion_matrix(answers["label"], answers["predicted"], labels=classes)
    return pd.DataFrame(counts, index=pd.Index(class_names, name="truth"), columns=class_names)


def per_class_table(answers: pd.DataFrame, class_names: Sequence[str]) -> pd.DataFrame:
    """Returns a row for each class.

    Columns: `class`; `images` of it; `error`, `precision` and `recall` in percent, NaN where they are none (no image of
    the class, or the class never predicted); `confused_with`, the class for which its images are most often taken, ""
    if for none; `times`, how often.
    """
    classes = np.arange(len(class_names))
    precision, recall, _, images = precision_recall_fscore_support(
        answers["label"], answers["predicted"], labels=classes, zero_division=np.nan
    )
    confusions = confusion_table(answers, class_names).to_numpy(copy=True)
    np.fill_diagonal(confusions, 0)
    times, others = confusions.max(axis=1), confusions.argmax(axis=1)
    return pd.DataFrame(
        {
            "class": list(class_names),
            "images": images,
            "error": 100 * (1 - recall),
            "precision": 100 * precision,
            "recall": 100 * recall,
            "confused_with": [class_names[other] if count else "" for other, count in zip(others, times, strict=True)],
            "times": times,
        }
    )
