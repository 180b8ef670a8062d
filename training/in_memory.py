"""Holds a set in memory: every image is decoded once, to one size."""

import numpy as np
import tensorflow as tf

from keras_preresnet.decoding import decode, open_picture
from keras_preresnet.views import centre_view, rounded, show_view
from training import arrays
from training.arrays import ArrayImages
from training.bad_images import BadImages
from training.encoded import decoded, every_row
from training.errors import UserError
from training.sources import FoundImages, Source

ENCODED = "--augmentation=scale leaves them encoded and decodes them anew in each step"


def hold_in_memory(
    found: FoundImages, image_size: int | None, bad_images: BadImages
) -> tuple[ArrayImages, ArrayImages]:
    """Returns the training and the test images, without those that cannot be decoded.

    Args:
        found: The set.
        image_size: The shorter side is resized to it, with antialiasing, and the central square cut out. None if all
            images have one size, which they keep.
        bad_images: Where the names of images that cannot be decoded go.

    Raises:
        UserError: if a size is needed, the images do not fit into memory, or none can be decoded.
    """
    side = image_size
    size = (side, side) if side else _common_size(found, bad_images)

    def show(encoded, draws):
        if not side:
            return decode(encoded)[..., : found.train.channels]
        return rounded(show_view(encoded, lambda size: centre_view(size, side, side), side, "triangle", channels))

    channels = found.train.channels
    sources = {"training": found.train, "test": found.test}
    images = sum(map(len, sources.values()))
    if images * size[0] * size[1] * channels > arrays.MEMORY_LIMIT:
        raise UserError(f"{found.name} does not fit into memory: {images} images of {size[0]}x{size[1]}. {ENCODED}.")
    spec = tf.TensorSpec([*size, channels], tf.uint8)
    train, test = (_arrays(source, show, spec, bad_images) for source in sources.values())
    for half, kept in zip(sources, (train, test), strict=True):
        if not len(kept):
            raise UserError(f"of the {len(sources[half])} {half} images of {found.name} none could be decoded.")
    return train, test


def _common_size(found, bad_images):
    sizes = {source.shape for source in (found.train, found.test)}
    if any(None in size for size in sizes):
        sizes = set()
        for source in (found.train, found.test):
            sizes |= _found_sizes(source, bad_images, sizes)
    if len(sizes) > 1:
        raise UserError(f"the images of {found.name} differ in size: give --image_size, for example 64.")
    if not sizes:
        raise UserError(f"of the images of {found.name} none could be decoded.")
    return sizes.pop()


def _found_sizes(source, bad_images, known):
    """The sizes of the images, of most formats from the header alone; no further than to a second one."""
    spec = tf.TensorSpec([2], tf.int32)
    headers = decoded(source, every_row(len(source)), lambda encoded, _: open_picture(encoded).size, spec, bad_images)
    sizes = set(known)
    for part, _, weights in headers.as_numpy_iterator():
        sizes |= set(map(tuple, part[weights > 0].tolist()))
        if len(sizes) > 1:
            break
    return sizes


def _arrays(source: Source, show, spec, bad_images):
    images, labels = np.empty((len(source), *spec.shape), np.uint8), np.empty(len(source), np.int64)
    count = 0
    for part, part_labels, weights in decoded(
        source, every_row(len(source)), show, spec, bad_images
    ).as_numpy_iterator():
        good = weights > 0
        place = slice(count, count + good.sum())
        images[place], labels[place] = part[good], part_labels[good]
        count = place.stop
    return ArrayImages(images[:count], labels[:count])
