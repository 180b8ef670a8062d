"""Checkpoints of a run: two generations, each whole or not there, each with its checksums."""

import hashlib
import shutil
import sys
from pathlib import Path

import tensorflow as tf

from training.errors import UserError
from training.files import to_disk

CHECKSUMS = "SHA256SUMS"  # What `sha256sum --check` reads.
GENERATIONS = 2


class Checkpoints:
    """Saves and restores the variables of a run in `folder/step_<number>/`.

    Args:
        folder: Made when the first checkpoint is saved.
        variables: By name.
    """

    def __init__(self, folder: Path, variables: dict[str, tf.Variable]):
        self.folder = folder
        self._checkpoint = tf.train.Checkpoint(variables=variables)

    def restore(self, partly: bool = False) -> int:
        """Restores the newest checkpoint that is whole; returns its step, or 0 if there is none.

        One that is not gets a warning.

        Args:
            partly: Whether the checkpoint may hold more than the variables.

        Raises:
            UserError: if there are checkpoints and all of them are damaged, or the newest whole one holds other
                variables.
        """
        paths = _paths(self.folder)
        for path in reversed(paths):
            damage = _damage(path)
            if not damage:
                self._read(path, partly)
                return _step(path)
            print(f"warning: {path} is damaged ({damage}) and is left out", file=sys.stderr)
        if paths:
            raise UserError(f"every checkpoint in {self.folder} is damaged; delete them to start the run anew.")
        return 0

    def _read(self, path, partly):
        try:
            status = self._checkpoint.read(str(path / "variables"))
            status.assert_existing_objects_matched() if partly else status.assert_consumed()
        except (AssertionError, ValueError) as error:
            raise UserError(
                f"{path} holds other variables than this net and recipe have: another version of the package has saved "
                "it; use that version, or another folder."
            ) from error

    def save(self, step: int) -> None:
        """Saves the state after `step` steps, then removes all checkpoints but that one and the last good one."""
        partial = self.folder / ".partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        self._checkpoint.write(str(partial / "variables"))
        lines = [f"{_sha256(file)}  {file.name}" for file in sorted(partial.iterdir())]
        (partial / CHECKSUMS).write_text("\n".join(lines) + "\n")
        for file in [*partial.iterdir(), partial]:  # So that the rename is not on the disk before what it names.
            to_disk(file)
        target = self.folder / f"step_{step:08d}"
        shutil.rmtree(target, ignore_errors=True)  # There only if it was damaged.
        partial.rename(target)
        to_disk(self.folder)
        self._remove_all_but(step)

    def _remove_all_but(self, step):
        """Steps after this one are of damaged checkpoints: the run has gone back before them."""
        older = [path for path in _paths(self.folder) if _step(path) < step and not _damage(path)]
        kept = {self.folder / f"step_{step:08d}", *older[-(GENERATIONS - 1) :]}
        for path in _paths(self.folder):
            if path not in kept:
                shutil.rmtree(path)


def newest_step(folder: Path) -> int:
    """Returns the step of the newest checkpoint in a folder, whether it is whole or not; 0 if there is none."""
    return max(map(_step, _paths(folder)), default=0)


def _paths(folder):
    """In the order of their steps."""
    return sorted((path for path in folder.glob("step_*") if path.name[5:].isdigit()), key=_step)


def _step(path):
    return int(path.name.removeprefix("step_"))


def _damage(path):
    """What is wrong with a checkpoint; empty if nothing is."""
    try:
        sums = [line.split("  ", 1) for line in (path / CHECKSUMS).read_text().splitlines()]
        if not sums:
            return f"{CHECKSUMS} is empty"
        wrong = [name for checksum, name in sums if _sha256(path / name) != checksum]
    except (OSError, ValueError) as error:
        return " ".join(str(error).split())
    return f"wrong checksum of {', '.join(wrong)}" if wrong else ""


def _sha256(file):
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
