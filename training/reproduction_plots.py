"""The figure of a table: a panel for each row, all on the same axes; readable in grey."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure

from training.plots import save_figure
from training.table_results import EXPLODED, Line
from training.tables import Table

COLUMNS = 4
TITLE_WIDTH = 56  # Letters in a line above a panel.
FORMATS = ("png", "svg")


@rc_context({"text.parse_math": False})  # Names of data sets are text as it is.
def draw_curves(table: Table, lines: Sequence[Line], folder: Path) -> None:
    """Draws training and test error of every run over its steps to curves.png and curves.svg."""
    shown = list({line.row.name: line for line in reversed(lines) if line.runs}.values())[::-1]
    shown = [line for line in shown if any(len(run.curve) for run in line.runs)]
    figure = _figure(shown) if shown else Figure(figsize=(6, 1))
    figure.suptitle(f"{table.name}: {table.title}" if shown else "No run has been tested yet.", fontsize=11)
    for name in FORMATS:
        save_figure(figure, folder / f"curves.{name}")


def _figure(shown):
    columns = min(COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(max(3.1 * columns, 5.5), 2.5 * rows + 0.9), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for axes, line in zip(panels, shown, strict=False):
        _draw_row(axes, line, next(other for other in shown if other.row.data == line.row.data))
    for axes in panels[len(shown) :]:
        axes.set_visible(False)
    for axes in panels[max(len(shown) - columns, 0) : len(shown)]:
        axes.set_xlabel("step")
        axes.tick_params(labelbottom=True)
    for axes in panels[::columns]:
        axes.set_ylabel("error (%)")
    panels[0].set_ylim(bottom=0)
    drawn = [handle for axes in panels for handle in axes.get_lines()]
    handles = {handle.get_label(): handle for handle in drawn}
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=len(handles), fontsize=8)
    return figure


def _draw_row(axes, line, first):
    """The curves of a row, before those of the first row on the same data."""
    if line is not first:
        curve = first.runs[0].curve
        axes.plot(curve["step"], curve["test_error"], color="0.7", linewidth=2.5, label=f"test, {first.row.name}")
    for run in (run for run in line.runs if len(run.curve)):
        steps, training, test = (run.curve[name] for name in ("step", "train_error", "test_error"))
        marker = "." if len(run.curve) < 30 else None
        axes.plot(steps, training, color="0.35", linewidth=1, linestyle="--", label="training (augmented)")
        axes.plot(steps, test, color="black", linewidth=1.2, marker=marker, label="test")
        if run.status == EXPLODED:
            axes.plot(steps.iloc[-1:], test.iloc[-1:], "x", color="black", markersize=9, label="exploded")
    scale = textwrap.fill(line.scale_of_runs, TITLE_WIDTH)
    axes.set_title(f"{line.name}: {line.here}\n{scale}", fontsize=7)
    axes.grid(alpha=0.3)
