"""The report of a table: Markdown, CSV, a figure, and a page, each written at once."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from training.files import write_text
from training.markdown import escaped
from training.markdown import table as table_of
from training.reproduction_page import page
from training.reproduction_plots import draw_curves
from training.table_columns import columns
from training.table_results import Line
from training.tables import Number, Row, Table

MEDIAN = "after the last step: the median of the runs (mean ± deviation, of several)"


def write_report(table: Table, lines: Sequence[Line], folder: Path) -> None:
    """Writes table.md, table.csv, curves.png, curves.svg and table.html to the folder."""
    write_text(folder / "table.md", markdown(table, lines))
    write_text(folder / "table.csv", frame(lines).to_csv(index=False))
    draw_curves(table, lines, folder)
    figure = (folder / "curves.svg").read_text()
    write_text(folder / "table.html", page(heading(table), notes(table, lines), columns(table), lines, figure))


def heading(table: Table) -> str:
    """Returns the title of the report."""
    return f"{table.name}{' of the paper beside runs of this machine' if table.of_paper else ''}: {table.title}"


def notes(table: Table, lines: Sequence[Line]) -> list[str]:
    """Returns what has to be known to read the table; first of all whether it is at full scale."""
    below = [line for line in lines if line.scale_of_runs and not line.scale_of_runs.startswith("full")]
    short = [line for line in lines if line.runs and len(line.errors) < table.runs]
    found = []
    if below or short:
        scale = "the paper's scale, and so no match for its numbers" if table.of_paper else "the scale of the table"
        found.append(f"Not at {scale}: beside each result stands its scale.")
    found += [_measure(lines)] if table.of_paper else _of_study(table, lines)
    rule = "fail: the loss exploded"
    if table.fails_above is not None:
        rule += f", or, by the paper's rule, a test error above {table.fails_above:g} %"
        rule += "; so few steps may leave a row there that is none in the paper" if below else ""
    return [*found, f"{rule}.", *_environments(lines)]


def _measure(lines):
    crops = any(line.number.crop for line in lines)
    measure = "Errors on the validation images in percent, top-1 / top-5" if crops else "Test errors in percent"
    return f"{measure}, {MEDIAN}."


def _of_study(table, lines):
    """What the rows of a study have in common, and what its lowest error is not."""
    first = table.rows[0]
    found = [
        f"Every row is {first.epochs:g} epochs of the recipe {first.recipe}, one run unless its scale says more, and "
        f"differs from {first.name} in what stands behind the net; with the batch size the rates move in proportion.",
        f"If the scale names no other set: trained on {first.images}, and not on its test set, for recipes are chosen "
        f"by these numbers; {first.name} was chosen on the same images.",
        f"Errors in percent, {MEDIAN}; that of training is of the images as they are augmented, on average since the "
        "test before.",
    ]
    count = sum(bool(line.errors) for line in lines)
    if count > 1:
        found.append(
            f"The lowest of {count} errors is lower than it would be on new images: what looks better wants further "
            "seeds, and its error is that of a test set it was not chosen by."
        )
    return found


def _environments(lines):
    """The machines and versions that the runs name, in words, each once."""
    found = {}
    for run in (run for line in lines for run in line.runs):
        facts = run.record["environment"]
        devices = ", ".join(facts["accelerators"]) or "no accelerator"
        found[
            f"Run on {facts['processor']}, {facts['cores']} cores, {devices}; keras_preresnet "
            f"{facts['keras_preresnet']}, TensorFlow {facts['tensorflow']}, Keras {facts['keras']}."
        ] = True
    return list(found)


def markdown(table: Table, lines: Sequence[Line]) -> str:
    """Returns the report as Markdown."""
    shown = columns(table)
    body = table_of([column.heading for column in shown], [[column.text(line) for column in shown] for line in lines])
    return f"# {heading(table)}\n\n{body}\n\n{_paragraphs(table, lines)}\n\n![training curves](curves.png)\n"


def _paragraphs(table, lines):
    return "\n\n".join(escaped(note) for note in notes(table, lines))


def frame(lines: Sequence[Line]) -> pd.DataFrame:
    """Returns the numbers of the report: a row for each line, errors in percent, that of an exploded run infinite."""
    return pd.DataFrame([_numbers(line) for line in lines])


def _numbers(line):
    return {
        "table": line.table.number,
        "row": line.row.name,
        "net": line.row.net,
        "data": line.row.data,
        "recipe": line.row.recipe if line.row.model else None,
        **(_papers(line.number) if line.table.of_paper else {"training_error": line.training_error}),
        "runs": len(line.errors),
        "exploded": line.exploded,
        "error": line.median,
        "top5_error": line.top5,
        "mean": line.mean,
        "deviation": line.deviation,
        "errors": " ".join(f"{error:.2f}" for error in line.errors),
        "result": line.here,
        "scale": line.scale_of_runs,
    }


def _papers(number: Number):
    return {
        "paper_test_size": number.crop,
        "paper_error": number.error,
        "paper_top5_error": number.top5,
        "paper_mean": number.mean,
        "paper_deviation": number.deviation,
    }


def list_rows(table: Table, rows: Sequence[Row]) -> None:
    """Prints these rows of a table, and those of other papers if there are all of its own; runs nothing."""
    print(f"{table.name}: {table.title}")
    own = [row for row in table.rows if row.model]
    for row in table.rows if len(rows) == len(own) else rows:
        for line in (Line(row, number, table, (), "") for number in row.paper):
            recipe = f", recipe {row.recipe}" if row.model else ""
            epochs = f", {row.epochs:g} epochs" if row.epochs else ""
            paper = f"; the paper: {line.paper}" if line.paper else ""
            print(f"  {line.name}: {row.net}{recipe}{epochs}, on {row.images}{paper}")
