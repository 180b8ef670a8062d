"""Random access to the images of a prepared TFDS set, in its TFRecord files."""

import json
import struct
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import tensorflow as tf

from training.errors import UserError, user_errors

LENGTH, CHECKSUM = 8, 4  # Bytes: a record is its length, a checksum of that, the data, a checksum of those.


class RecordSource:
    """The images of one split, in the order of its files.

    Args:
        split: What the user calls it; images are named `split#index`.
        instructions: (file, records to skip, records to take) of each file, as TFDS has them for the split.
        image_key, label_key: Of the feature in the example; of a nested one with "/".
        shape: (height, width, channels) of the images, None where they differ.
    """

    def __init__(
        self,
        split: str,
        instructions: Sequence[tuple[str, int, int]],
        image_key: str,
        label_key: str,
        shape: tuple[int | None, ...],
    ):
        self._split = split
        self._instructions = instructions
        self._keys = image_key, label_key
        self.shape = shape[:2]
        self.channels = 1 if shape[2] == 1 else 3

    def __len__(self) -> int:
        return sum(take for _, _, take in self._instructions)

    def records(self, index: tf.Tensor) -> tf.Tensor:
        """Reads a batch of examples as they lie on disk; their checksums are not compared."""
        files, places = self._places  # Outside the graph: whether the files are whole shows before the first batch.

        def read(index):
            return np.array([_read(files[file], start, length) for file, start, length in places[index]], object)

        return tf.ensure_shape(tf.numpy_function(read, [index], tf.string, stateful=False), index.shape)

    def open(self, record: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Parses an example."""
        image, label = self._keys
        features = {image: tf.io.FixedLenFeature([], tf.string), label: tf.io.FixedLenFeature([], tf.int64)}
        example = tf.io.parse_single_example(record, features)
        return example[image], example[label]

    def is_labelled(self) -> bool:
        """Whether the first image has a label: TFDS gives -1 where there is none."""
        file, skip, _ = next(part for part in self._instructions if part[2])
        start, length = record_places(Path(file), skip + 1)[skip]
        return int(self.open(_read(Path(file), start, length))[1]) >= 0

    def name_of(self, index: int) -> str:
        """Returns `split#index`."""
        return f"{self._split}#{index}"

    def add_to(self, digest) -> None:
        """Names and sizes of the files, and the records taken of them."""
        with user_errors(OSError):
            parts = [(Path(file).name, Path(file).stat().st_size, *part) for file, *part in self._instructions]
        digest.update(json.dumps(parts).encode())

    @cached_property
    def _places(self):
        """The files, and of each record its file, start and length, int64 `(n, 3)`."""
        files = [Path(file) for file, _, _ in self._instructions]
        places = []
        for number, (file, (_, skip, take)) in enumerate(zip(files, self._instructions, strict=True)):
            found = record_places(file, skip + take)[skip:]
            places.append(np.insert(found, 0, number, axis=1))
        return files, np.concatenate(places)


def record_places(path: Path, count: int) -> np.ndarray:
    """Returns start and length of the data of the first `count` records of a TFRecord file: int64 `(count, 2)`.

    Raises:
        UserError: if the file cannot be read or ends before.
    """
    places = np.empty((count, 2), np.int64)
    position = 0
    with user_errors(OSError), path.open("rb", buffering=0) as file:
        size = path.stat().st_size
        for number in range(count):
            file.seek(position)
            header = file.read(LENGTH)
            length = struct.unpack("<Q", header)[0] if len(header) == LENGTH else size
            start = position + LENGTH + CHECKSUM
            position = start + length + CHECKSUM
            if position > size:
                raise UserError(
                    f"{path.name} is cut off: it holds {number} whole records of {count}; prepare the set anew."
                )
            places[number] = start, length
    return places


def _read(path, start, length):
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        return file.read(length)
