"""The run folder: its settings, its lock, its metrics.

run.json            settings, data, environment, status and result
metrics.csv         a row for each evaluation
steps.csv           a row for each --steps_per_log training steps
learning_curve.png  metrics.csv, drawn
tensorboard/        both tables as events of TensorBoard
checkpoints/        what the run goes on from
best.keras          the net at its lowest test error, float32
model.keras         the net at the end, float32
"""

import fcntl
import json
from collections.abc import Iterable
from pathlib import Path

from training.errors import UserError, user_errors
from training.files import read_json, require_writable, write_text

NOT_COMPARED = {"max_bad_images"}  # A run that has met a bad image may go on with a higher limit.


def run_name(model: str, data: str) -> str:
    """Returns what a net on a data set is called, as a folder can be: "PreResNet20_cifar10"."""
    return f"{model}_{data.removesuffix('.npz').replace('/', '_')}"


def differing_settings(known: dict, wanted: dict, names: Iterable[str]) -> list[str]:
    """Returns in words which settings of these names are others in a folder than they are wanted now."""
    pairs = ((name, known.get(name), wanted.get(name)) for name in names)
    return [f"{name} ({there} there, {now} now)" for name, there, now in pairs if there != now]


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
        require_writable(self.path, "run_dir")
        with user_errors(OSError):
            self.path.mkdir(parents=True, exist_ok=True)
        if not (self.path / "run.json").exists():
            self._require_empty()  # Before a lock is left in a folder of something else.
        with user_errors(OSError):
            self._lock = open(self.path / ".lock", "w")  # noqa: SIM115 - held until the process ends
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UserError(
                f"{self.path} is in use by another process; wait for it, or give another --run_dir."
            ) from error
        record = json.loads(json.dumps(record))  # As it will be read: lists for tuples.
        known = read_json(self.path / "run.json", "give another --run_dir", ("status", "settings", "data"))
        self.record = known or record
        self._require_equal(record)
        with user_errors(OSError):
            self._write_record()
        return self._is_finished()

    def close(self) -> None:
        """Lets other processes use the folder; the end of the process does so too."""
        if self._lock is not None:
            self._lock.close()

    def _require_empty(self):
        """What is no run might be somebody's work; and a run without its record might be any."""
        names = sorted(path.name for path in self.path.iterdir() if path.name not in (".lock", ".partial.run.json"))
        if names:
            raise UserError(f"{self.path} holds no run.json but {', '.join(names[:3])}; give another --run_dir.")

    def _require_equal(self, record):
        known, wanted = self.record["settings"], record["settings"]
        differing = differing_settings(known, wanted, sorted((known.keys() | wanted.keys()) - NOT_COMPARED))
        if differing:
            raise UserError(
                f"{self.path} holds a run with other settings: {', '.join(differing)}. "
                "Give the same flags to go on with it, or another --run_dir"
                f"{f' (--init_from={self.path} begins with its weights)' if self._is_finished() else ''}."
            )
        if self.record["data"]["sha256"] != record["data"]["sha256"]:
            raise UserError(f"{self.path} holds a run on other images: the checksum of the data set differs.")

    def _is_finished(self):
        return self.record["status"] == "finished"

    def _write_record(self):
        write_text(self.path / "run.json", json.dumps(self.record, indent=2) + "\n")

    def finish(self, result: dict) -> None:
        """Marks the run as finished, with its result."""
        self.record = {**self.record, "status": "finished", "result": result}
        self._write_record()
