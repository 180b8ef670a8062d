"""Encoded images as batches: read at random access, decoded in parallel, in the order asked for, whatever is broken."""

import copy
import os
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from keras_preresnet.views import centre_view, rounded, show_view
from training.augmentation import (
    COLOUR_ORDER,
    COLOUR_STRENGTHS,
    FLIP,
    LIGHTING,
    inception_view,
    scale_view,
    without_draws,
)
from training.bad_images import BadImages
from training.colour import colour_jitter, lighting
from training.errors import UserError
from training.sources import Source

AUGMENTATIONS = ("scale", "inception")
PARALLEL = os.cpu_count() or 1
PART = 256  # Images at a time where all are gone through.

Show = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]  # From an encoded image and its draws.


class EncodedImages:
    """Images that are decoded anew, and differently, each time they are asked for.

    Args:
        source: Of the encoded images.
        size: Side of the square that the net is trained on.
        augmentation: "scale", the paper's, resized bilinearly, or "inception", [FB]'s, bicubically, with colour jitter
            and lighting. Both resize with antialiasing (the bicubic of [FB] has none).
        flip: Whether to mirror each training image with probability 1/2.
        bad_images: Where the names of images that cannot be decoded go.
    """

    def __init__(self, source: Source, size: int, augmentation: str, flip: bool, bad_images: BadImages):
        if augmentation == "inception" and source.channels != 3:
            raise UserError("--augmentation=inception is refused: it changes colours, and these images are grey.")
        self._source = source
        self._size = size
        self._augmentation = augmentation
        self._flip = flip
        self._bad_images = bad_images
        self.evaluation_size = size
        self.evaluation_short_side = short_side_of(size)

    def __len__(self) -> int:
        return len(self._source)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) in training."""
        return self._size, self._size, self._source.channels

    def with_evaluation_size(self, size: int, short_side: int) -> "EncodedImages":
        """Returns a copy that is evaluated on central crops of `size`, of images resized to `short_side`.

        [FB]'s test at 320 has `short_side=320`.
        """
        if not 1 <= size <= short_side:
            raise UserError(f"an evaluation size of {size} is refused: allowed are 1 to the short side, {short_side}.")
        other = copy.copy(self)
        other.evaluation_size, other.evaluation_short_side = size, short_side
        return other

    def dataset(self, rows: tf.data.Dataset, training: bool) -> tf.data.Dataset:
        """Returns the images of `rows`, in the same order.

        Args:
            rows: Batches of (index int64 `(batch,)`, draws float32 `(batch, DRAWS)`); an index of -1 is padding.
            training: Whether to augment; otherwise the single central crop.

        Returns:
            Batches of (images, labels int64 `(batch,)`, weights float32 `(batch,)`). Images are uint8, but float32 and
            beyond 0 and 255 for "inception" in training, as [FB] does not round. The weight is 0, and the image black,
            for padding and for what cannot be decoded; 1 otherwise.
        """
        side = self._size if training else self.evaluation_size
        floats = training and self._augmentation == "inception"
        show = {"scale": self._scaled, "inception": self._inception}[self._augmentation] if training else self._centre
        spec = tf.TensorSpec([side, side, self._source.channels], tf.float32 if floats else tf.uint8)
        return decoded(self._source, rows, show, spec, self._bad_images)

    def parts(self) -> Iterator[np.ndarray]:
        """Yields all images that can be decoded, as they are evaluated: uint8 `(some, height, width, channels)`."""
        for images, _, weights in self.dataset(every_row(len(self)), training=False).as_numpy_iterator():
            yield images[weights > 0]

    def add_to(self, digest) -> None:
        """Adds what tells the source from others to a digest of `hashlib`."""
        self._source.add_to(digest)

    def _centre(self, encoded, draws):
        def view(size):
            return centre_view(size, self.evaluation_short_side, self.evaluation_size)

        return rounded(show_view(encoded, view, self.evaluation_size, "triangle", self._source.channels))

    def _scaled(self, encoded, draws):
        def view(size):
            return scale_view(size, draws, self._size)

        image = show_view(encoded, view, self._size, "triangle", self._source.channels)
        return self._flipped(rounded(image), draws)

    def _inception(self, encoded, draws):
        def view(size):
            return inception_view(size, draws, self._size)

        image = show_view(encoded, view, self._size, "keyscubic", 3)
        image = colour_jitter(image, draws[COLOUR_ORDER], draws[COLOUR_STRENGTHS])
        return self._flipped(lighting(image, draws[LIGHTING]), draws)

    def _flipped(self, image, draws):
        return tf.cond(draws[FLIP] < 0.5, lambda: image[:, ::-1], lambda: image) if self._flip else image


def every_row(count: int) -> tf.data.Dataset:
    """Returns the rows of all images in order, without draws that mean anything; the last batch may be smaller."""
    return tf.data.Dataset.range(count).batch(PART).map(without_draws)


def decoded(
    source: Source, rows: tf.data.Dataset, show: Show, spec: tf.TensorSpec, bad_images: BadImages
) -> tf.data.Dataset:
    """Returns batches of (`show`n images, labels, weights) of `rows`; as `EncodedImages.dataset` of a source.

    Args:
        spec: Of what `show` makes of an image.
    """

    def read(index, draws):
        return index, draws, source.records(tf.maximum(index, 0))

    def pinned(*parts):
        batch_size = rows.element_spec[0].shape[:1]
        return tuple(tf.ensure_shape(part, batch_size + part.shape[1:]) for part in parts)

    shown = _Shown(source, show, spec, bad_images)
    batches = rows.map(_as_it_is(read), 2).prefetch(1).flat_map(_as_it_is(shown.batch))
    return batches.map(_as_it_is(pinned)).prefetch(2)


class _Shown:
    """The inner datasets of `decoded`. A row is an index, the draws and a record of the source."""

    def __init__(self, source, show, spec, bad_images):
        self.source, self.show, self.spec, self.bad_images = source, show, spec, bad_images
        self._image = tf.function(self._shown_image, autograph=False)  # Traced once for the two ways.

    def batch(self, *rows):
        """All at once; one by one if that fails for any: the error of a dataset does not say for which."""
        each, count = tf.data.Dataset.from_tensor_slices(rows), tf.size(rows[0], tf.int64)
        hopeful = tf.where(tf.reduce_all(rows[0] >= 0), count, 0)  # With padding it could not succeed.
        whole = each.take(hopeful).map(self._image, PARALLEL).batch(count, drop_remainder=True).ignore_errors()
        return whole.concatenate(each.map(_as_it_is(self._image_or_none), PARALLEL).batch(count)).take(1)

    def _image_or_none(self, *row):
        one = tf.data.Dataset.from_tensors(row)
        image = one.filter(lambda index, *_: index >= 0).map(self._image).ignore_errors()
        return image.concatenate(one.map(_as_it_is(self._none))).take(1).get_single_element()

    def _shown_image(self, index, draws, record):
        encoded, label = self.source.open(record)
        return tf.ensure_shape(self.show(encoded, draws), self.spec.shape), label, tf.constant(1.0)

    def _none(self, index, *_):
        weight = tf.numpy_function(self._note, [index], tf.float32)
        return tf.zeros(self.spec.shape, self.spec.dtype), tf.constant(0, tf.int64), tf.ensure_shape(weight, [])

    def _note(self, index):
        if index >= 0:
            self.bad_images.record(self.source.name_of(int(index)))
        return np.float32(0)


# Without it, AutoGraph would rewrite everything that is called in a dataset, which takes longer than the rest.
_as_it_is = tf.autograph.experimental.do_not_convert


def short_side_of(size: int) -> int:
    """Returns to which the shorter side of an image is resized before the central crop of `size`: 256 for 224."""
    return round(256 / 224 * size)
