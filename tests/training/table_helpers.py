"""Small tables for the tests of their reproduction."""

from pathlib import Path

import numpy as np
import pandas as pd

from training.reproduction import Reproduction, choose_rows
from training.scales import Scale
from training.table_results import FINISHED, Line, RunResult
from training.tables import TABLES, Table

REPORT = {"table.json", "table.md", "table.csv", "table.html", "curves.png", "curves.svg"}
ENVIRONMENT = {
    "processor": "Abacus",
    "cores": 2,
    "accelerators": [],
    "keras_preresnet": "0",
    "tensorflow": "2",
    "keras": "3",
}


def write_set(folder: Path, name: str = "set.npz") -> str:
    """Writes 48 training and 16 test images of 8x8, in ten classes; returns the path."""
    draw = np.random.default_rng(0)
    arrays = {}
    for half, count in (("train", 48), ("test", 16)):
        arrays[f"x_{half}"] = draw.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
        arrays[f"y_{half}"] = np.arange(count) % 10
    np.savez(folder / name, **arrays)
    return str(folder / name)


def reproduction(table: Table | int, folder: Path, data: str, rows: tuple[str, ...] = ("all",), runs: int = 1, **scale):
    """Returns a reproduction of the smallest nets in two steps of eight images."""
    table = TABLES[table] if isinstance(table, int) else table
    scale = Scale(**{"depth": "smallest", "train_steps": 2, "batch_size": 8, "data": data, **scale})
    return Reproduction(table, choose_rows(table, list(rows)), scale, runs, folder)


def result(number: int, error: float | None, row, status: str = FINISHED, curve=((10, 50.0, 60.0), (20, 5.0, 8.0))):
    """A run of a row with one number, of a curve of (step, training error, test error)."""
    frame = pd.DataFrame(curve, columns=["step", "train_error", "test_error"])
    errors = {} if error is None else {row.paper[0]: (error, None)}
    return RunResult(number, status, errors, frame, int(frame["step"].iloc[-1]), {"environment": ENVIRONMENT})


def lines_of(table: Table, results: dict[str, tuple[RunResult, ...]], scale: str = "full") -> list[Line]:
    """The lines of a table with these runs of its rows."""
    return [Line(row, number, table, results.get(row.name, ()), scale) for row in table.rows for number in row.paper]
