"""What the run folders of a table hold: the results of each row, beside the paper's numbers if it has them."""

import dataclasses
import json
import math
import re
import statistics
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from keras_preresnet.zoo import canonical_name
from training.checkpoints import newest_step
from training.errors import UserError
from training.evaluation_job import title
from training.files import read_json
from training.job import Job
from training.logs import Table as LogTable
from training.recipes import resolve
from training.runs import differing_settings
from training.scales import Scale
from training.tables import FAIL, Number, Row, Table

FAILURE = "failed.json"  # In the folder of a run that exploded: why.
FINISHED, EXPLODED, BROKEN_OFF = "finished", "exploded", "broken off"
# Settings that a run's record has from its job as they are.
OF_THE_JOB = ("train_split", "test_split", "image_size", "model_options", "recipe", "precision", "seed")


@dataclass(frozen=True)
class RunResult:
    """A run of a row.

    Args:
        number: Counted from 1.
        status: "finished", "exploded" or "broken off".
        errors: Top-1 and top-5 error in percent by `Number`; None for a top-5 error that was not measured.
        curve: The rows of `metrics.csv`.
        last_step: Of the newest checkpoint.
        record: That of the run, run.json.
        reason: Why it exploded.
    """

    number: int
    status: str
    errors: dict[Number, tuple[float, float | None]]
    curve: pd.DataFrame
    last_step: int
    record: dict
    reason: str = ""


@dataclass(frozen=True)
class Line:
    """A line of the report: a row at one test size.

    Args:
        row, number: Of the table.
        table: Which the row is of.
        runs: What there is.
        scale: All that is below the table's own but the number of runs, see `Scale.words`.
    """

    row: Row
    number: Number
    table: Table
    runs: tuple[RunResult, ...]
    scale: str

    @property
    def name(self) -> str:
        """Of the row, of ImageNet with the size of the paper's test."""
        return f"{self.row.name} @{self.number.crop}" if self.number.crop else self.row.name

    @property
    def errors(self) -> list[float]:
        """Of the runs that came to an end, in percent; that of one which exploded is infinite."""
        found = [run.errors[self.number][0] for run in self.runs if self.number in run.errors]
        return found + [math.inf] * self.exploded

    @property
    def exploded(self) -> int:
        """How many runs did."""
        return sum(run.status == EXPLODED for run in self.runs)

    @property
    def median(self) -> float | None:
        """Of the errors, as the paper reports them."""
        return statistics.median(self.errors) if self.errors else None

    @property
    def top5(self) -> float | None:
        """The median top-5 error."""
        found = [run.errors[self.number][1] for run in self.runs if self.number in run.errors]
        found = [error for error in found if error is not None]
        return statistics.median(found) if found else None

    @property
    def training_error(self) -> float | None:
        """The median of the last training errors, of images as they are augmented, of the runs that have ended well."""
        found = [float(run.curve["train_error"].iloc[-1]) for run in self.runs if self.number in run.errors]
        return statistics.median(found) if found else None

    @property
    def mean(self) -> float | None:
        """Of the errors of several runs, if none exploded."""
        return statistics.mean(self.errors) if len(self.errors) > 1 and not self.exploded else None

    @property
    def deviation(self) -> float | None:
        """Of a sample: the sum of squares is divided by one less than the number of runs."""
        return statistics.stdev(self.errors) if self.mean is not None else None

    @property
    def fails(self) -> bool:
        """By the paper's rule, or because the loss exploded."""
        limit = self.table.fails_above
        return self.median is not None and (math.isinf(self.median) or (limit is not None and self.median > limit))

    @property
    def here(self) -> str:
        """The result in words, or why there is none."""
        if self.row.model is None:
            return "not run: of another paper"
        if self.median is None:
            steps = max((run.last_step for run in self.runs), default=None)
            return "not run" if steps is None else f"{BROKEN_OFF} after step {steps:,}"
        if math.isinf(self.median):
            return f"{FAIL} (the loss exploded)"
        words = in_words(self.median, self.top5, self.mean, self.deviation)
        return f"{FAIL} ({words})" if self.fails else words

    @property
    def paper(self) -> str:
        """The paper's number in words; empty if it has none."""
        number = self.number
        if number.error is None:
            return ""
        if number.error == FAIL:
            return FAIL
        words = in_words(number.error, number.top5, number.mean, number.deviation)
        return re.sub(r"(\.\d)0\b", r"\1", words) if number.crop else words  # Of ImageNet it has one decimal place.

    @property
    def scale_of_runs(self) -> str:
        """What has to stand beside the result; nothing if there is none."""
        if not self.runs:
            return ""
        count = len(self.errors)
        parts = [self.scale]
        if count != self.table.runs:
            parts.append(f"{count} of {self.table.runs} runs" if self.table.runs > 1 else f"{count} runs")
        if 0 < self.exploded < count:
            parts.append(f"{self.exploded} of them exploded")
        return ", ".join(parts)


def in_words(error: float, top5: float | None, mean: float | None, deviation: float | None) -> str:
    """Returns errors as the paper writes them: "6.61", "4.92 (4.89 ± 0.14)", top-1 and top-5 "20.70 / 5.30"."""
    words = f"{error:.2f}" if top5 is None else f"{error:.2f} / {top5:.2f}"
    return words if mean is None else f"{words} ({mean:.2f} ± {deviation:.2f})"


def collect(table: Table, scale: Scale, folder: Path) -> list[Line]:
    """Returns the lines of the table with what there is of it in its folder.

    Raises:
        UserError: if a run there has other settings than the table at this scale, or its files are damaged.
    """
    lines = []
    for row in table.rows:
        runs = _runs(row, scale, folder)
        words = {number: scale.words(row, number) if runs else "" for number in row.paper}
        lines += [Line(row, number, table, runs, words[number]) for number in row.paper]
    return lines


def run_folder(folder: Path, row: Row, number: int) -> Path:
    """Returns the folder of a run, counted from 1."""
    return folder / row.name / f"run{number}"


def evaluation_folder(run: Path, crop: int | None) -> Path:
    """Returns where the test of a run at this size is written to; None: as in training."""
    return run / ("evaluation" if crop is None else f"evaluation_{crop}")


def _runs(row, scale, folder):
    if row.model is None:
        return ()
    names = [path.parent.name.removeprefix("run") for path in (folder / row.name).glob("run*/run.json")]
    numbers = sorted(int(name) for name in names if name.isdecimal())
    return tuple(read_run(row, number, scale, folder) for number in numbers)


def read_run(row: Row, number: int, scale: Scale, folder: Path) -> RunResult | None:
    """Returns what there is of a run, None if it has not begun; raises as `collect` does."""
    path = run_folder(folder, row, number)
    record = read_json(path / "run.json", "give another --run_dir", ("status", "settings", "data"))
    if not record:
        return None
    _require_planned(record, scale.job(row, number, str(path)), path)
    failure = read_json(path / FAILURE, keys=("reason",))
    errors = {}
    if record["status"] == FINISHED and not failure:
        errors = {number: found for number in row.paper if (found := _errors(record, path, number, scale))}
    ended = FINISHED if len(errors) == len(row.paper) else BROKEN_OFF
    curve, step = LogTable(path / "metrics.csv").rows, newest_step(path / "checkpoints")
    return RunResult(number, EXPLODED if failure else ended, errors, curve, step, record, failure.get("reason", ""))


def _errors(record, path, number, scale):
    if number.crop is None:
        return record["result"]["test_error"], None
    facts = read_json(evaluation_folder(path, scale.crop(number)) / "evaluation.json", keys=("error",))
    return (facts["error"], facts.get("top5_error")) if facts else None


def _require_planned(record, job: Job, path):
    """A run of other settings must not pass for one of this table."""
    recipe, _ = resolve(job.recipe, job.recipe_overrides, job.epochs, record["data"]["train_images"])
    wanted = {
        "data": title(job.data),
        "model": canonical_name(job.model),
        **{name: getattr(job, name) for name in OF_THE_JOB},
        **{name: value for name, value in dataclasses.asdict(recipe).items() if name != "epochs"},
        **({"replicas": job.cpu_replicas} if job.cpu_replicas > 1 else {}),  # Those of GPUs are not known here.
    }
    wanted = json.loads(json.dumps(wanted))  # As it was read: lists for tuples.
    differing = differing_settings(record["settings"], wanted, wanted)
    if differing:
        raise UserError(
            f"{path} holds a run with other settings: {', '.join(differing)}. "
            "Give the same flags to go on with the table, or another --run_dir."
        )
