"""Writing files at once, and what happens when the disk does not take them."""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import tensorflow as tf

from training.errors import UserError


def write_text(path: Path, text: str) -> None:
    """Writes a file at once: whoever reads it finds the old text or the new one, never a part."""
    partial = path.with_name(f".{path.name}.partial")
    with open(partial, "w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())  # So that the rename is not on the disk before the text.
    os.replace(partial, path)


def read_json(path: Path) -> dict:
    """Returns the object in a file, {} if there is no file; raises UserError if it is damaged."""
    if not path.exists():
        return {}
    try:
        facts = json.loads(path.read_text())
        if not isinstance(facts, dict):
            raise ValueError("no JSON object")
        return facts
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is damaged; mend it, or take it away.") from error


def require_writable(folder: Path, flag: str) -> None:
    """Raises UserError unless the folder is, or can be made, one to write to: better now than after the training."""
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        tempfile.TemporaryFile(dir=nearest).close()
    except OSError as error:
        raise UserError(f"--{flag}={folder} cannot be written to: {error.strerror}.") from error


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turns what the disk refuses into a UserError; what was written before stays."""
    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise UserError(
            f"{folder} could not be written to: {reason}. The last good checkpoint is kept; make room and start the "
            "same command again."
        ) from error
