"""The run folder: its settings, its lock, its metrics.

run.json            settings, data, environment, status and result
metrics.csv         a row for each evaluation
learning_curve.png  the same, drawn
checkpoints/        what the run goes on from
model.keras         the trained net, float32
"""

import fcntl
import json
import os
import tempfile
from pathlib import Path

import pandas as pd

from training.errors import UserError, user_errors


class RunFolder:
    """A folder that holds one run.

    Args:
        path: Made by `open` if it is missing.

    Raises:
        UserError: from `open`, if another process uses the folder, or it holds a run with other settings.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.record = {}
        self._lock = None

    def open(self, record: dict) -> bool:
        """Takes the folder for the run that `record` describes; returns whether that run is finished already."""
        with user_errors(OSError):
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = open(self.path / ".lock", "w")  # noqa: SIM115 - held until the process ends
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UserError(
                f"{self.path} is in use by another process; wait for it, or give another --run_dir."
            ) from error
        record = json.loads(json.dumps(record))  # As it will be read: lists for tuples.
        self.record = self._known() or record
        self._require_equal(record)
        self._write_record()
        return self.record["status"] == "finished"

    def close(self) -> None:
        """Lets other processes use the folder; the end of the process does so too."""
        if self._lock is not None:
            self._lock.close()

    def _known(self):
        file = self.path / "run.json"
        if not file.exists():
            return None
        try:
            known = json.loads(file.read_text())
            if not {"status", "settings", "data"} <= known.keys():
                raise ValueError("no record of a run")
            return known
        except (OSError, ValueError, AttributeError) as error:
            raise UserError(f"{file} is damaged; mend it, or give another --run_dir.") from error

    def _require_equal(self, record):
        known = self.record["settings"]
        wanted = record["settings"]
        differing = [
            f"{key} ({known.get(key)} there, {wanted.get(key)} now)"
            for key in sorted(known.keys() | wanted.keys())
            if known.get(key) != wanted.get(key)
        ]
        if differing:
            raise UserError(
                f"{self.path} holds a run with other settings: {', '.join(differing)}. "
                "Give the same flags to go on with it, or another --run_dir."
            )
        if self.record["data"]["sha256"] != record["data"]["sha256"]:
            raise UserError(f"{self.path} holds a run on other images: the checksum of the data set differs.")

    def _write_record(self):
        write_text(self.path / "run.json", json.dumps(self.record, indent=2) + "\n")

    def finish(self, result: dict) -> None:
        """Marks the run as finished, with its result."""
        self.record = {**self.record, "status": "finished", "result": result}
        self._write_record()

    def metrics(self) -> pd.DataFrame:
        """Returns the rows written so far."""
        file = self.path / "metrics.csv"
        return pd.read_csv(file) if file.exists() else pd.DataFrame()

    def seconds(self) -> float:
        """Returns the seconds of training that the rows tell of."""
        rows = self.metrics()
        return float(rows["seconds"].iloc[-1]) if len(rows) else 0.0

    def keep_metrics(self, last_step: int) -> None:
        """Cuts off the rows after `last_step`, which the run is about to compute again."""
        rows = self.metrics()
        if len(rows):
            self._write_metrics(rows[rows["step"] <= last_step])

    def add_metrics(self, row: dict) -> None:
        """Appends a row."""
        self._write_metrics(pd.concat([self.metrics(), pd.DataFrame([row])], ignore_index=True))

    def _write_metrics(self, rows):
        write_text(self.path / "metrics.csv", rows.to_csv(index=False))


def require_writable(folder: Path, flag: str) -> None:
    """Makes the folder and raises UserError unless a file can be written to it: better now than after the training."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise UserError(f"--{flag}={folder} cannot be written to: {error.strerror}.") from error


def write_text(path: Path, text: str) -> None:
    """Writes a file at once: whoever reads it finds the old text or the new one, never a part."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text)
    os.replace(partial, path)
