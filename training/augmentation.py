"""Random variants of training images. Each is a function of the image and its row of uniform random numbers, `draws`.

Translation and flip (CIFAR) work on whole batches of normalized images. "scale" and "inception" (ImageNet) choose a
view of an image from its size alone, so that only what is seen need be decoded.
"""

import tensorflow as tf

from keras_preresnet.views import View, centre_view, crop_of_resized, random_offset

DRAWS = 32  # Uniform random numbers in [0, 1) that an image may use.
ROW, COLUMN, FLIP = 0, 1, 2  # Which of them decides what; of all augmentations.
SHORT_SIDE = 3  # Of "scale".
ATTEMPTS = 10  # Of "inception", each with an area and a shape.
AREAS, SHAPES = slice(3, 13), slice(13, 23)
COLOUR_ORDER, COLOUR_STRENGTHS, LIGHTING = 23, slice(24, 27), slice(27, 30)


def without_draws(index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns a batch of rows, for `Images.dataset`, of images that are not augmented."""
    return index, tf.zeros([tf.size(index), DRAWS])


def translate_and_flip(images: tf.Tensor, draws: tf.Tensor, padding: int, flip: bool) -> tf.Tensor:
    """Shifts each image by up to `padding` pixels either way, filling with zeros, and mirrors half of them.

    One gather of rows and one of columns for the whole batch.

    Args:
        images: `(batch, height, width, channels)`, normalized, so that the zeros are the mean colour, as in [FB].
        draws: float32 `(batch, 3 or more)`, uniform in [0, 1): for the two shifts and the flip.
        padding: Pixels of zeros on each side before a crop of the old size; 0 for none.
        flip: Whether to mirror each image left to right with probability 1/2.

    Returns:
        Images of the same shape and dtype.
    """
    if not padding and not flip:
        return images
    height, width = images.shape[1:3]
    shifts = tf.cast(draws[:, ROW : COLUMN + 1] * (2 * padding + 1), tf.int32)
    rows = tf.range(height) + shifts[:, :1]
    columns = tf.range(width) + shifts[:, 1:]
    if flip:
        columns = tf.where(draws[:, FLIP, None] < 0.5, columns[:, ::-1], columns)
    padded = tf.pad(images, [[0, 0], [padding, padding], [padding, padding], [0, 0]])
    return tf.gather(tf.gather(padded, rows, batch_dims=1), columns, axis=2, batch_dims=1)


def scale_view(size: tf.Tensor, draws: tf.Tensor, crop: int) -> View:
    """The paper's for ImageNet: the shorter side resized to a random length, and a random crop of that.

    Args:
        size: int32 `(height, width)` of the image.
        draws: float32 `(DRAWS,)`.
        crop: Side of the square. The length is uniform over the whole numbers from 256 to 480 for 224, and in
            proportion, rounded, for another.
    """
    shortest, longest = round(256 / 224 * crop), round(480 / 224 * crop)
    length = shortest + tf.cast(tf.floor(draws[SHORT_SIDE] * (longest - shortest + 1)), tf.int32)
    return crop_of_resized(size, length, crop, draws[ROW : COLUMN + 1])


def inception_view(size: tf.Tensor, draws: tf.Tensor, crop: int) -> View:
    """[FB]'s RandomSizedCrop: a part of 8 to 100 % of the area, its sides as 3/4 to 4/3, resized to the square.

    The first of ten such parts that fits into the image; else the shorter side resized to `crop`, and the centre.
    Arguments as of `scale_view`.
    """
    height, width = size[0], size[1]
    area = tf.cast(height, tf.float32) * tf.cast(width, tf.float32) * (0.08 + 0.92 * draws[AREAS])  # (ATTEMPTS,)
    halves = 2 * draws[SHAPES]  # Which half a draw is in says whether the sides are swapped, the place in it the shape.
    aspect = 3 / 4 + (4 / 3 - 3 / 4) * (halves % 1)
    sides = tf.stack([tf.sqrt(area / aspect), tf.sqrt(area * aspect)], axis=1)
    sides = tf.cast(tf.round(tf.where(halves[:, None] < 1, sides[:, ::-1], sides)), tf.int32)
    fits = tf.reduce_all((sides >= 1) & (sides <= size), axis=1)
    part = sides[tf.argmax(fits)]  # The first of the true ones.
    corner = random_offset(size - part, draws[ROW : COLUMN + 1])
    scale = tf.cast(crop / part, tf.float32)
    view = View(tf.concat([corner, part], axis=0), scale, tf.zeros([2]))
    fallback = centre_view(size, crop, crop)
    return View(*(tf.where(tf.reduce_any(fits), one, other) for one, other in zip(view, fallback, strict=True)))
