"""Writing files at once, what happens when the disk does not take them, and names that a terminal can show."""

import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import tensorflow as tf

from training.errors import UserError


def as_text(name: str) -> str:
    """Returns a file's name without bytes that are no UTF-8 text, which Python keeps and cannot print."""
    return name.encode(errors="surrogateescape").decode(errors="replace")


def printable(name: str) -> str:
    """Returns a file's name without what a terminal cannot show: bytes that are no text, and control characters."""
    return "".join(character if character.isprintable() else "�" for character in as_text(name))


@contextmanager
def written_at_once(path: Path) -> Iterator[Path]:
    """A context to write a file in by another name; whoever reads `path` finds the old file or the new one."""
    partial = path.with_name(f".partial.{path.name}")  # With its ending, by which some libraries choose the format.
    try:
        yield partial
        to_disk(partial)  # Else the rename could be on the disk before what it names.
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)  # Of what could not be finished.


def to_disk(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Writes a text file at once."""
    with written_at_once(path) as partial:
        partial.write_text(text)


def read_json(path: Path, remedy: str = "take it away", keys: Iterable[str] = ()) -> dict:
    """Returns the object in a file, {} if there is no file; raises UserError if it is damaged or lacks a key."""
    if not path.exists():
        return {}
    try:
        facts = json.loads(path.read_text())
        if not isinstance(facts, dict) or not set(keys) <= facts.keys():
            raise ValueError("not the object that it should be")
        return facts
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is damaged; mend it, or {remedy}.") from error


def require_writable(folder: Path, flag: str) -> None:
    """Raises UserError unless the folder is, or can be made, one to write to: better now than after the training."""
    try:
        nearest = next(path for path in (folder, *folder.parents) if path.exists())
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
