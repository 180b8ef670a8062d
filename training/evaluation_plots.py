"""Figures of an evaluation: confusion matrix and reliability diagram; readable in grey."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import colormaps, rc_context
from matplotlib.colors import ListedColormap, PowerNorm
from matplotlib.figure import Figure

from training.measures import expected_calibration_error
from training.plots import save_figure

CLASSES_WITH_NUMBERS = 25  # Of more classes the cells are too small for a number, and the worst pairs are listed.
PAIRS = 25
plain_text = rc_context({"text.parse_math": False})  # A class may have dollar signs in its name.


@plain_text
def draw_confusion_matrix(confusions: pd.DataFrame, path: Path, title: str) -> None:
    """Draws the counts of `training.measures.confusion_table` to a PNG, each cell as dark as its share of its row.

    Up to 25 classes have their counts written in the cells; of more, the most frequent confusions are listed beside.
    """
    counts = confusions.to_numpy()
    few = len(counts) <= CLASSES_WITH_NUMBERS
    shares = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    if few:
        side = 3.5 + 0.42 * len(counts)
        figure = Figure(figsize=(side, 0.92 * side), layout="constrained")
        axes = figure.subplots()
    else:
        figure = Figure(figsize=(17, 10.5), layout="constrained")
        axes, beside = figure.subplots(1, 2, width_ratios=(10, 4))
        _list_worst_pairs(beside, counts, shares, list(confusions.columns))
    # White is for none; the square root shows a few percent beside a diagonal near 100.
    colours = ListedColormap(colormaps["Blues"](np.linspace(0.1 if few else 0.4, 1, 256)))
    shown = np.ma.masked_equal(shares, 0)
    picture = axes.imshow(shown, cmap=colours, norm=PowerNorm(0.5, 0, 100), interpolation="nearest")
    scale = figure.colorbar(picture, ax=axes, shrink=0.7, ticks=(0, 1, 5, 10, 25, 50, 100))
    scale.set_label("share of the true class (%)")
    axes.set(xlabel="predicted class", ylabel="true class")
    if few:
        names = [_shortened(name) for name in confusions.columns]
        slanted = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if max(map(len, names)) > 3 else {}
        axes.set_xticks(range(len(names)), names, **slanted)
        axes.set_yticks(range(len(names)), names)
        _write_counts(axes, counts, shares)
    figure.suptitle(title)
    save_figure(figure, path)


def _write_counts(axes, counts, shares):
    for row, column in np.argwhere(counts):
        colour = "white" if shares[row, column] > 35 else "black"
        axes.text(column, row, counts[row, column], ha="center", va="center", color=colour, fontsize=8)


def _list_worst_pairs(axes, counts, shares, names):
    """Bars of the most frequent confusions, the largest share of the true class first."""
    wrong = np.where(np.eye(len(counts), dtype=bool), 0, counts)
    worst = np.lexsort((-shares.ravel(), -wrong.ravel()))[:PAIRS]
    worst = worst[wrong.ravel()[worst] > 0]
    labels = [f"{_shortened(names[k // len(names)])} → {_shortened(names[k % len(names)])}" for k in worst]
    bars = axes.barh(range(len(worst)), wrong.ravel()[worst], color="tab:blue")
    axes.bar_label(bars, padding=3, fontsize=8)
    axes.set_yticks(range(len(worst)), labels, fontsize=8)
    axes.margins(x=0.1)
    axes.set(xlabel="images", title="truth → prediction", ylim=(PAIRS - 0.5, -0.5))
    axes.spines[["top", "right"]].set_visible(False)


def _shortened(name):
    return name if len(name) <= 20 else f"{name[:19]}…"


@plain_text
def draw_reliability_diagram(bins: pd.DataFrame, path: Path, title: str) -> None:
    """Draws the rows of `training.measures.calibration_bins` to a PNG, as Guo et al. 2017, Fig. 1.

    Above, the accuracy in each bin of confidence and its gap to the mean confidence; below, the share of images in it.
    """
    figure = Figure(figsize=(6, 7), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    place = {"x": bins["low"], "width": 1 / len(bins), "align": "edge"}
    accuracy, gap = bins["accuracy"], bins["confidence"] - bins["accuracy"]
    upper.bar(**place, height=accuracy, color="tab:blue", alpha=0.6, edgecolor="white", label="accuracy")
    hatched = {"fill": False, "hatch": "///", "edgecolor": "0.15", "label": "gap to confidence"}
    upper.bar(**place, height=gap, bottom=accuracy, **hatched)
    upper.plot([0, 1], [0, 1], color="black", linestyle="--", linewidth=1, label="perfect calibration")
    upper.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1))
    upper.legend(loc="upper left")
    lower.bar(**place, height=100 * bins["images"] / bins["images"].sum(), color="0.55", edgecolor="white")
    lower.set(xlabel="confidence", ylabel="images (%)")
    for axes in (upper, lower):
        axes.set_axisbelow(True)
        axes.grid(alpha=0.3)
    error = 100 * expected_calibration_error(bins)
    figure.suptitle(f"{title}\nexpected calibration error {error:.2f} %")
    save_figure(figure, path)
