"""Figures of a run."""

from pathlib import Path

import pandas as pd

from training.files import written_at_once


def save_figure(figure, path: Path, dpi: int = 120) -> None:
    """Writes a figure at once, as SVG if the file is named so, else as PNG.

    The same figure gives the same file: without a date, and with the same names inside.
    """
    from matplotlib import rc_context

    is_svg = path.suffix == ".svg"
    with written_at_once(path) as partial, rc_context({"svg.hashsalt": "keras_preresnet"}):
        figure.savefig(partial, format="svg" if is_svg else "png", dpi=dpi, metadata={"Date": None} if is_svg else None)


def draw_learning_curve(rows: pd.DataFrame, path: Path, title: str) -> None:
    """Draws loss and error over the steps, training beside test, to a PNG; readable in grey."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    marker = "o" if len(rows) < 30 else None
    for axes, training, test, label in (
        (left, rows["train_loss"], rows["test_loss"], "loss"),
        (right, rows["train_error"], rows["test_error"], "error (%)"),
    ):
        axes.plot(rows["step"], training, color="0.55", linestyle="--", marker=marker, label="training (augmented)")
        axes.plot(rows["step"], test, color="tab:blue", marker=marker, label="test")
        axes.set(xlabel="step", ylabel=label)
        axes.grid(alpha=0.3)
        axes.legend()
    right.set_ylim(bottom=0)
    figure.suptitle(f"{title}: test error {rows['test_error'].iloc[-1]:.2f} % after {rows['step'].iloc[-1]} steps")
    save_figure(figure, path)
    plt.close(figure)
