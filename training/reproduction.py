"""Runs the rows of a table, one after another, each as a run of the trainer; goes on where it was broken off."""

import json
from dataclasses import dataclass
from pathlib import Path

import keras

from keras_preresnet.validation import near
from training import evaluation_job, job
from training.data import find_data
from training.devices import choose_strategy
from training.errors import Diverged, UserError
from training.files import disk_errors, read_json, require_writable, write_text
from training.interruption import Stopped, StopSignal
from training.recipe_table import RECIPE_TABLE
from training.reproduction_report import write_report
from training.runs import differing_settings
from training.scales import Scale
from training.table_results import (
    BROKEN_OFF,
    FAILURE,
    FINISHED,
    Line,
    collect,
    evaluation_folder,
    read_run,
    run_folder,
)
from training.tables import TABLES, Row, Table

CHOICES = {str(table.number): table for table in (*TABLES.values(), RECIPE_TABLE)}
FACTS = "table.json"


@dataclass(frozen=True)
class Reproduction:
    """Which rows of which table are run, how often, at which scale and where.

    Args:
        table: Of the paper, or a study.
        rows: Those to run.
        scale: What is not as in the table.
        runs: Of each row, with the seeds 0, 1, ...
        folder: Of the table; a run is in `folder/<row>/run<number>`.
        data_dir: Folder of TFDS.
    """

    table: Table
    rows: tuple[Row, ...]
    scale: Scale
    runs: int
    folder: Path
    data_dir: str | None = None

    def run(self) -> list[Line]:
        """Makes all runs that are not there, and the report after each; returns its lines.

        The first run of each row comes before the second of any, so that there is a whole table early.

        Raises:
            UserError: for what cannot work, before anything is written; for what the trainer refuses.
            Stopped: if it was told to stop; what was begun has saved a checkpoint.
        """
        self._require_possible()
        if self.scale.cpu_replicas:  # Before TFDS does anything: a CPU that is in use cannot be split.
            choose_strategy(cpu_replicas=self.scale.cpu_replicas)
        left = self._left()
        self._require_data(left)
        print(f"table {self.table.number}: {len(left)} of {self.runs * len(self.rows)} runs to make; {self.folder}")
        with StopSignal() as signal:
            for done, (row, number) in enumerate(left):
                print(f"[{done + 1}/{len(left)}] {row.name}, run {number}: {row.net}", flush=True)
                lines = self._make(row, number)
                if signal.received and done + 1 < len(left):
                    raise self._stopped()
        return lines if left else self._report()

    def _left(self):
        """The runs to make, as rows and numbers."""
        return [
            (row, number)
            for number in range(1, self.runs + 1)
            for row in self.rows
            if not _has_ended(read_run(row, number, self.scale, self.folder))
        ]

    def _require_possible(self):
        """All that can be known before anything is written."""
        for row in self.rows:
            self.scale.job(row, 1, "")
        require_writable(self.folder, "run_dir")
        _require_same(self.folder, self.table, self.scale)
        collect(self.table, self.scale, self.folder)

    def _require_data(self, left):
        """Each set of the runs to make is found, before a word is printed: its absence would end the table later."""
        planned = [self.scale.job(row, number, "", self.data_dir) for row, number in left]
        for place in dict.fromkeys((one.data, one.data_dir, one.train_split, one.test_split) for one in planned):
            find_data(*place)

    def _make(self, row, number):
        """A run, its tests, and the report, whose lines are returned.

        A run that has exploded is recorded and does not end the table.
        """
        path = run_folder(self.folder, row, number)
        try:
            self._train_and_test(row, number, path)
        except Diverged as error:
            print(f"fail: {error.reason}", flush=True)
            with disk_errors(path):
                write_text(path / FAILURE, json.dumps({"reason": error.reason}, indent=2) + "\n")
        except Stopped as stopped:
            self._report()
            raise self._stopped() from stopped
        finally:
            keras.utils.clear_session(free_memory=True)  # Else every row would leave its net and its functions.
        lines = self._report()
        for line in lines:
            if line.row is row:
                paper = f" (the paper: {line.paper})" if line.paper else ""
                print(f"{line.name}: {line.here}{paper}; {line.scale_of_runs}", flush=True)
        return lines

    def _train_and_test(self, row, number, path):
        planned = self.scale.job(row, number, str(path), self.data_dir)
        if read_json(path / "run.json").get("status") != FINISHED:
            job.run(planned)
        for crop in dict.fromkeys(self.scale.crop(number) for number in row.paper if number.crop):
            folder = evaluation_folder(path, crop)
            if not (folder / "evaluation.json").exists():
                test = evaluation_job.EvaluationJob(
                    str(path), data=planned.data, data_dir=self.data_dir, crop=crop, output_dir=str(folder)
                )
                with disk_errors(folder):
                    evaluation_job.measure(test, folder).write(folder, predictions=False)

    def _report(self):
        with disk_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            facts = {"table": self.table.number, "scale": self.scale.record()}
            write_text(self.folder / FACTS, json.dumps(facts, indent=2) + "\n")
            lines = collect(self.table, self.scale, self.folder)
            write_report(self.table, lines, self.folder)
        return lines

    def _stopped(self):
        total = self.runs * len(self.rows)
        ended = total - len(self._left())
        return Stopped(f"stopped with {ended} of {total} runs made; the same command goes on from there")


def choose_table(number: str | None) -> Table:
    """Returns a table of the paper by its number, or a study by its word; raises UserError if there is no such."""
    if number not in CHOICES:
        received = "--table is missing" if number is None else f"--table={number} is unknown"
        raise UserError(f"{received}; allowed: {', '.join(CHOICES)}.")
    return CHOICES[number]


def choose_rows(table: Table, names: list[str]) -> tuple[Row, ...]:
    """Returns the rows of these names in the table's order, for ["all"] those that can be run.

    Raises:
        UserError: naming the nearest, for a name that is none; for a row of another paper.
    """
    own = {row.name: row for row in table.rows if row.model is not None}
    if names == ["all"]:
        return tuple(own.values())
    others = {row.name for row in table.rows} - own.keys()
    for name in names:
        if name in others:
            raise UserError(f"--rows={name} is refused: it is of another paper, and only shown.")
        if name not in own:
            hits = near(name, own)
            hint = f"the nearest are {', '.join(hits)}" if hits else "--list shows them all"
            raise UserError(f"--rows={name} is unknown in table {table.number}; {hint}.")
    if not names:
        raise UserError("--rows is empty; give names of rows, or all.")
    return tuple(row for name, row in own.items() if name in names)


def _has_ended(run):
    return run is not None and run.status != BROKEN_OFF


def _require_same(folder, table, scale):
    """Numbers of two tables or two scales in one folder would be taken for one another."""
    known = read_json(folder / FACTS, "give another --run_dir", ("table", "scale"))
    if not known:
        _require_nothing_else(folder, table)
        return
    if known["table"] != table.number:
        raise UserError(
            f"--table={table.number} is refused: {folder} holds table {known['table']}; give another --run_dir."
        )
    wanted = scale.record()
    differing = differing_settings(known["scale"], wanted, wanted)
    if differing:
        raise UserError(
            f"{folder} holds table {table.number} at another scale: {', '.join(differing)}. "
            "Give the same flags to go on with it, or another --run_dir."
        )


def _require_nothing_else(folder, table):
    """What is no table might be somebody's work."""
    rows = {row.name for row in table.rows}
    names = sorted(path.name for path in folder.iterdir() if path.name not in rows) if folder.is_dir() else []
    if names:
        raise UserError(f"{folder} holds no {FACTS} but {', '.join(names[:3])}; give another --run_dir.")
