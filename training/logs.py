"""What a run writes down as it goes: tables, TensorBoard's events, and the learning curve.

The tables are the truth. When a run goes on at a step, the rows after it are cut off, and the events and the curve are
made anew from the rows that are left.
"""

import shutil
from pathlib import Path

import pandas as pd
import tensorflow as tf

from training.errors import UserError
from training.files import write_text
from training.plots import draw_learning_curve


class Table:
    """A CSV file that is whole at any moment.

    Args:
        path: Of the file; written with the first row.
    """

    def __init__(self, path: Path):
        self.path = path
        self.rows = pd.DataFrame()
        if path.exists():
            try:
                self.rows = pd.read_csv(path)
            except ValueError as error:  # pandas's errors of reading are such.
                raise UserError(f"{path} is damaged; take it away, and the run goes on without its rows.") from error

    def add(self, row: dict) -> None:
        """Appends a row."""
        self.rows = pd.concat([self.rows, pd.DataFrame([row])], ignore_index=True)
        self._write()

    def cut(self, last_step: int) -> None:
        """Cuts off the rows after `last_step`."""
        if len(self.rows):
            self.rows = self.rows[self.rows["step"] <= last_step].reset_index(drop=True)
            self._write()

    def _write(self):
        write_text(self.path, self.rows.to_csv(index=False))


class RunLog:
    """`metrics.csv` (a row for each evaluation), `steps.csv` (a row for each log interval), both in `tensorboard/`.

    Args:
        folder: Of the run.
        title: Of the learning curve.
        last_step: What was written after it is cut off.
    """

    def __init__(self, folder: Path, title: str, last_step: int):
        self.folder, self.title = folder, title
        self.metrics, self.steps = Table(folder / "metrics.csv"), Table(folder / "steps.csv")
        shutil.rmtree(folder / "tensorboard", ignore_errors=True)
        self._events = tf.summary.create_file_writer(str(folder / "tensorboard"))
        for table, group in ((self.metrics, "evaluation"), (self.steps, "training")):
            table.cut(last_step)
            for row in table.rows.to_dict("records"):
                self._add_events(group, row)
        self._events.flush()

    @property
    def seconds(self) -> float:
        """Of training that the rows tell of."""
        rows = self.metrics.rows
        return float(rows["seconds"].iloc[-1]) if len(rows) else 0.0

    def add_evaluation(self, row: dict) -> None:
        """Writes the row of an evaluation, and draws the curve."""
        self.metrics.add(row)
        self._add_events("evaluation", row)
        self._events.flush()
        draw_learning_curve(self.metrics.rows, self.folder / "learning_curve.png", self.title)

    def add_steps(self, row: dict) -> None:
        """Writes the row of some training steps."""
        self.steps.add(row)
        self._add_events("training", row)
        self._events.flush()

    def close(self) -> None:
        """Closes the file of TensorBoard's events."""
        self._events.close()

    def _add_events(self, group, row):
        step = int(row["step"])
        with self._events.as_default():
            for name, value in row.items():
                if name != "step":
                    tf.summary.scalar(f"{group}/{name}", value, step)
