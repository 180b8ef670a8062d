"""Images in memory: the batches of them, the digits of scikit-learn, and NumPy files."""

import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from training.errors import UserError
from training.sources import expanded

MEMORY_LIMIT = 8 * 2**30  # Bytes of images.
PART = 1000  # Images at a time where all are gone through.
NPZ_NAMES = (("x_train", "y_train", "x_test", "y_test"), ("train_images", "train_labels", "test_images", "test_labels"))


class ArrayImages:
    """Images in memory.

    Args:
        images: uint8 `(n, height, width, channels)`.
        labels: int64 `(n,)`.
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray):
        self.images = images
        self.labels = labels

    def __len__(self) -> int:
        return len(self.images)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels)."""
        return self.images.shape[1:]

    def dataset(self, rows: tf.data.Dataset, training: bool) -> tf.data.Dataset:
        """Returns the images of `rows`, not augmented: translation pads with the zeros of normalized images.

        Args:
            rows: Batches of (index int64 `(batch,)`, draws, not used); an index of -1 is padding.
            training: Makes no difference.

        Returns:
            Batches in the same order of (images uint8 `(batch, height, width, channels)`, labels int64 `(batch,)`,
            weights float32 `(batch,)`): the weight of padding is 0, and its image black.
        """
        images, labels = tf.constant(self.images), tf.constant(self.labels)

        def gathered(index, draws):
            real = index >= 0
            index = tf.maximum(index, 0)
            chosen = tf.gather(images, index) * tf.cast(real, tf.uint8)[:, None, None, None]
            return chosen, tf.where(real, tf.gather(labels, index), 0), tf.cast(real, tf.float32)

        return rows.map(gathered).prefetch(4)

    def parts(self) -> Iterator[np.ndarray]:
        """Yields all images: uint8 `(some, height, width, channels)`."""
        for start in range(0, len(self), PART):
            yield self.images[start : start + PART]

    def add_to(self, digest) -> None:
        """Adds all images and labels to a digest of `hashlib`."""
        for array in (self.images, self.labels):
            digest.update(np.ascontiguousarray(array).data)


@dataclass(frozen=True)
class FoundArrays:
    """A set that is in memory already."""

    name: str
    version: str
    train: ArrayImages
    test: ArrayImages
    class_names: tuple[str, ...]
    known_preprocessing = None


def digits() -> FoundArrays:
    """Returns 1,797 digits, 8x8, split into 1,437 and 360 with the classes in equal shares."""
    import sklearn
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    images = np.round(images.reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
    names = tuple(str(digit) for digit in range(10))
    return FoundArrays("digits", sklearn.__version__, *_held_out(images, labels.astype(np.int64), 360, 0), names)


def load_npz(name: str, test_fraction: float, seed: int) -> FoundArrays:
    """Loads a NumPy file: x_train, y_train, x_test, y_test as Keras has them, or train_images, train_labels,
    test_images, test_labels, or images and labels, of which `test_fraction` is held out by `seed`, in equal shares.

    Images are uint8 `(n, height, width)` or `(n, height, width, channels)`, labels whole numbers from 0, `(n,)` or
    `(n, 1)`; `class_names`, text, is optional.

    Raises:
        UserError: if the file cannot be read or holds anything else; pickled objects are never loaded.
    """
    path = expanded(name)
    arrays = _read_npz(path)
    title = path.name
    whole = [("images", "labels")] if {"images", "labels"} <= set(arrays) else []
    pairs = [(names[:2], names[2:]) for names in NPZ_NAMES if set(names) <= set(arrays)] or [whole]
    if not pairs[0]:
        forms = "; ".join(", ".join(names) for names in (*NPZ_NAMES, ("images", "labels")))
        raise UserError(f"{title} holds {', '.join(arrays) or 'nothing'}; one of these sets is needed: {forms}.")
    parts = [_checked(title, arrays, *pair) for pair in pairs[0]]
    names = _class_names(title, arrays, parts)
    if len(parts) == 1:
        if not 0 < test_fraction < 1:
            raise UserError(f"--test_fraction={test_fraction} is refused: it must lie between 0 and 1.")
        parts = _held_out(*parts[0], test_fraction, seed)
    else:
        parts = [ArrayImages(*part) for part in parts]
        if parts[0].image_shape != parts[1].image_shape:
            raise UserError(f"{title} holds images of {parts[0].image_shape} and of {parts[1].image_shape}.")
    return FoundArrays(title, "npz", *parts, names)


def _held_out(images, labels, test_size, seed):
    from sklearn.model_selection import train_test_split

    try:
        train, test = train_test_split(np.arange(len(labels)), test_size=test_size, stratify=labels, random_state=seed)
    except ValueError as error:  # Fewer images than classes.
        raise UserError(f"of {len(labels)} images none can be held out: {' '.join(str(error).split())}") from error
    return [ArrayImages(images[part], labels[part]) for part in (train, test)]


def _read_npz(path):
    try:
        file = np.load(path, allow_pickle=False)
        if isinstance(file, np.ndarray):
            raise ValueError("it holds a single array")
        with file:
            if sum(member.file_size for member in file.zip.infolist()) > MEMORY_LIMIT:
                raise ValueError("it does not fit into memory")
            return {key: file[key] for key in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else " ".join(str(error).split())
        raise UserError(f"{path.name} cannot be read as a NumPy file of plain arrays: {reason}.") from error


def _checked(title, arrays, image_key, label_key):
    images, labels = arrays[image_key], arrays[label_key]
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        raise UserError(
            f"{image_key} of {title} is {images.dtype} {images.shape}; uint8 (n, height, width) or "
            "(n, height, width, channels), with values of 0 to 255, is needed."
        )
    if labels.ndim == 2 and labels.shape[1] == 1:  # As keras.datasets has them.
        labels = labels[:, 0]
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise UserError(f"{label_key} of {title} is {labels.dtype} {labels.shape}; whole numbers (n,) are needed.")
    if len(images) != len(labels) or not images.size:
        raise UserError(f"{title} holds {len(images)} {image_key} and {len(labels)} {label_key}; as many are needed.")
    return (images[..., None] if images.ndim == 3 else images), labels.astype(np.int64)


def _class_names(title, arrays, parts):
    if "class_names" in arrays:
        names = tuple(map(str, arrays["class_names"].reshape(-1)))
    else:
        names = tuple(str(label) for label in range(int(parts[0][1].max()) + 1))
    for _, labels in parts:
        if labels.min() < 0 or labels.max() >= len(names):
            raise UserError(
                f"{title} holds labels from {labels.min()} to {labels.max()}; allowed are 0 to {len(names) - 1}, for "
                f"the {len(names)} classes of {'class_names' if 'class_names' in arrays else 'the training images'}."
            )
    if len(np.unique(parts[0][1])) < 2:
        raise UserError(f"{title} has a single class; at least two are needed.")
    return names
