"""The figure of a study of signal propagation."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from training.plots import save_figure

PANELS = (  # What is drawn, its column, and the column of what the last unit gives.
    ("signal", "x_norm", "output_norm", r"$\Vert x_l \Vert$"),
    ("gradient", "gradient_norm", "output_gradient_norm", r"$\Vert \partial E / \partial x_l \Vert$"),
    ("direct term of the gradient", "direct_norm", None, r"$\Vert (\prod \lambda)\, \partial E / \partial x_L \Vert$"),
)
# Nets differ in line and marker as well as in colour, so that they can be told apart in grey.
LOOKS = (
    {"color": "tab:blue", "linestyle": "-", "marker": "o"},
    {"color": "tab:orange", "linestyle": "--", "marker": "s"},
    {"color": "tab:green", "linestyle": "-.", "marker": "^"},
    {"color": "tab:red", "linestyle": ":", "marker": "D"},
    {"color": "tab:purple", "linestyle": "-", "marker": "v"},
    {"color": "tab:brown", "linestyle": "--", "marker": "P"},
)
REFERENCE_LOOKS = (
    {"color": "black", "linestyle": "--", "marker": "x"},
    {"color": "0.5", "linestyle": "-", "marker": "+"},
)


def draw_propagation(table: pd.DataFrame, folder: Path, title: str) -> None:
    """Draws norms over the units, on a log scale, to propagation.png and propagation.svg.

    Three panels: x_l, dE/dx_l, and the term of the latter that comes from the end of the stage directly.

    Args:
        table: Rows of `Propagation.units` with the columns `model`, one for each column of the figure, and `net`, one
            for each line; the last two nets are the references, in black and grey.
        folder: Of the files.
        title: Of the figure.
    """
    models = list(dict.fromkeys(table["model"]))
    figure = Figure(figsize=(4 + 5 * len(models), 10), layout="constrained")
    axes = figure.subplots(len(PANELS), len(models), sharex="col", squeeze=False)
    for column, model in enumerate(models):
        rows = table[table["model"] == model]
        nets = list(dict.fromkeys(rows["net"]))
        looks = dict(zip(nets, [*LOOKS[: len(nets) - 2], *REFERENCE_LOOKS], strict=True))
        for panel, (what, inputs, last, label) in zip(axes[:, column], PANELS, strict=True):
            for net in nets:
                _draw_line(panel, rows[rows["net"] == net], inputs, last, {**looks[net], "label": net})
            _mark_stages(panel, rows[rows["net"] == nets[0]])
            panel.set(yscale="log", title=f"{what}, {model}", ylabel=label)
            panel.grid(alpha=0.25)
        axes[-1, column].set_xlabel("unit, from the images to the head")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2 + len(models), handlelength=3.5)
    figure.suptitle(title)
    for ending in ("png", "svg"):
        save_figure(figure, folder / f"propagation.{ending}", dpi=110)


def _draw_line(axes, rows, inputs, last, look):
    """What each unit reads, and what the last one gives. A value that a log scale does not know leaves a gap."""
    values = np.array([*rows[inputs], rows[last].iloc[-1] if last else np.nan], float)
    values[~(np.isfinite(values) & (values > 0))] = np.nan
    every = max(1, len(values) // 10)
    axes.plot(np.arange(1, len(values) + 1), values, markevery=every, markersize=5, linewidth=1.4, **look)


def _mark_stages(axes, rows):
    for stage, units in rows.groupby("stage")["unit"]:
        begin = units.iloc[0]
        if begin > 1:
            axes.axvline(begin, color="0.6", linestyle=(0, (1, 2)), linewidth=1)
        axes.text(begin, 1.0, f" stage {stage}", transform=axes.get_xaxis_transform(), va="top", size=8)
