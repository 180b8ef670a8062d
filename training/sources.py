"""Where encoded images come from: files of a folder here, records of TFDS in `records.py`."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import tensorflow as tf

from keras_preresnet.preprocessing import Preprocessing
from training.errors import UserError


def expanded(name: str) -> Path:
    """Returns the path that --data names, "~" being the user's home; raises UserError for the home of no user."""
    try:
        return Path(name).expanduser()
    except RuntimeError as error:
        raise UserError(f"--data={name} is refused: there is no such home; give the path in full.") from error


class Source(Protocol):
    """Encoded images with labels, at random access.

    `channels` is 3, or 1 for sets of grey images; `shape` is (height, width) where it is known beforehand.
    """

    channels: int
    shape: tuple[int | None, int | None]

    def __len__(self) -> int: ...

    def records(self, index: tf.Tensor) -> tf.Tensor | tuple[tf.Tensor, ...]:
        """Returns for a batch of indexes, int64 `(batch,)`, what `open` makes images of, row by row."""

    def open(self, record: tf.Tensor | tuple[tf.Tensor, ...]) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the encoded image, a string, and its label, int64; may fail for one image alone."""

    def name_of(self, index: int) -> str:
        """Returns what the image is called in an error line; no absolute path."""

    def add_to(self, digest) -> None:
        """Adds to a digest of `hashlib` what tells this set from others without reading all images."""


@dataclass(frozen=True)
class FoundImages:
    """The two halves of a set whose images have not been decoded yet."""

    name: str
    version: str
    train: Source
    test: Source
    class_names: tuple[str, ...]
    known_preprocessing: Preprocessing | None = None


class FileSource:
    """Files, one image each.

    Args:
        root: The folder that names are relative to.
        paths: Of the files.
        labels: One for each path.
    """

    channels = 3
    shape = (None, None)

    def __init__(self, root: Path, paths: list[Path], labels: list[int]):
        self._names = [path.relative_to(root).as_posix() for path in paths]
        self._sizes = [path.stat().st_size for path in paths]
        self._labels = tf.constant(labels, tf.int64)
        self._paths = tf.constant([os.fsencode(path) for path in paths])  # Bytes, for not every name is text.

    def __len__(self) -> int:
        return len(self._names)

    def records(self, index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns paths and labels."""
        return tf.gather(self._paths, index), tf.gather(self._labels, index)

    def open(self, record: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        """Reads the file."""
        path, label = record
        return tf.io.read_file(path), label

    def name_of(self, index: int) -> str:
        """Returns the path from the root."""
        return self._names[index]

    def add_to(self, digest) -> None:
        """Names, labels and sizes of the files."""
        for name, size, label in zip(self._names, self._sizes, self._labels.numpy().tolist(), strict=True):
            digest.update(f"{name}\0{size}\0{label}\n".encode(errors="surrogateescape"))
