"""The columns of a table's report: where the paper has numbers they stand beside ours, else the training errors do."""

from collections.abc import Callable
from typing import NamedTuple

from training.table_results import Line
from training.tables import Table


class Column(NamedTuple):
    """A column of a report.

    Args:
        heading: Of the column.
        text: What stands in the cell of a line.
        key: What the cell is sorted by: a number, or text; None where there is nothing.
        unit: Of the numbers.
    """

    heading: str
    text: Callable[[Line], str]
    key: Callable[[Line], float | str | None]
    unit: str = ""


def _of_text(heading, text):
    return Column(heading, text, text)


def _training_error(line):
    return "" if line.training_error is None else f"{line.training_error:.2f}"


_ROW = _of_text("row", lambda line: line.name)
_NET = _of_text("net", lambda line: line.row.net)
_DATA = _of_text("data", lambda line: line.row.data)
_PAPER = Column("paper", lambda line: line.paper, lambda line: line.number.error, "%")
_HERE = Column("here", lambda line: line.here, lambda line: line.median, "%")
_TRAINING = Column("training error", _training_error, lambda line: line.training_error, "%")
_SCALE = _of_text("scale of here", lambda line: line.scale_of_runs)

_OF_PAPER = (_ROW, _NET, _DATA, _PAPER, _HERE, _SCALE)
_OF_STUDY = (_ROW, _NET, _TRAINING, _HERE._replace(heading="test error"), _SCALE._replace(heading="scale"))


def columns(table: Table) -> tuple[Column, ...]:
    """Returns the columns of the table's report."""
    return _OF_PAPER if table.of_paper else _OF_STUDY
