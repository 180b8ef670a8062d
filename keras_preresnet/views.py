"""Views of encoded images: which part is seen, and how it is resized to the square that the net takes."""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from keras_preresnet.decoding import PIXEL_LIMIT, decode_window, open_picture


class View(NamedTuple):
    """Part of an image and how it is resized to a square.

    Pixel y of the window lands at `(y + 0.5) * scale + translation - 0.5` of the square, and x likewise.
    """

    window: tf.Tensor  # int32 (top, left, height, width), what has to be decoded
    scale: tf.Tensor  # float32 (2,), pixels of the square for one of the image
    translation: tf.Tensor  # float32 (2,)


def centre_view(size: tf.Tensor, short_side: int, crop: int) -> View:
    """The shorter side resized to `short_side`, and the central crop of that.

    Args:
        size: int32 `(height, width)` of the image.
        short_side: At least `crop`.
        crop: Side of the square.
    """
    return crop_of_resized(size, tf.constant(short_side), crop, None)


def crop_of_resized(size: tf.Tensor, length: tf.Tensor, crop: int, draws: tf.Tensor | None) -> View:
    """The shorter side resized to `length`, int32, and a crop of that: at a random place, or the centre without draws.

    Computed in whole numbers and float64: a long thin image is resized to millions of pixels in thought.
    """
    wide, length, short = tf.cast(size, tf.int64), tf.cast(length, tf.int64), tf.cast(tf.reduce_min(size), tf.int64)
    resized = (2 * wide * length + short) // (2 * short)  # Rounded; the shorter side is `length`.
    room = resized - crop
    offset = (room + 1) // 2 if draws is None else random_offset(room, draws)  # The centre as [FB] has it.
    scale = tf.cast(resized, tf.float64) / tf.cast(wide, tf.float64)
    start = tf.cast(offset, tf.float64)
    reach = tf.maximum(1 / scale, 1) + 1  # The resizing kernel sees that far beyond the crop.
    first = tf.maximum(tf.cast(tf.floor(start / scale - reach), tf.int64), 0)
    last = tf.minimum(tf.cast(tf.math.ceil((start + crop) / scale + reach), tf.int64), wide)
    window = tf.cast(tf.concat([first, last - first], axis=0), tf.int32)
    translation = tf.cast(first, tf.float64) * scale - start
    return View(window, tf.cast(scale, tf.float32), tf.cast(translation, tf.float32))


def random_offset(room: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
    """Uniform over the whole numbers from 0 to `room`, both included."""
    offset = tf.floor(tf.cast(draws, tf.float64) * tf.cast(room + 1, tf.float64))
    return tf.maximum(tf.cast(offset, room.dtype), 0)


def show_view(
    encoded: tf.Tensor,
    choose: Callable[[tf.Tensor], View],
    side: int,
    kernel: str,
    channels: int,
    pixel_limit: int = PIXEL_LIMIT,
) -> tf.Tensor:
    """Decodes the window of a view and resizes it to a square: float32 `(side, side, channels)`, with antialiasing.

    Args:
        encoded: The bytes of an image file.
        choose: Makes the view of the image's size, int32 `(height, width)`.
        side: Of the square.
        kernel: "triangle" (bilinear) or "keyscubic" (bicubic).
        channels: 3, or 1 for grey, into which colours are turned as by `tf.image.rgb_to_grayscale`.
        pixel_limit: Images that declare more pixels fail before they are decoded.

    Raises:
        tf.errors.OpError: when the graph runs, as `keras_preresnet.decoding.open_picture`.
    """
    picture = open_picture(encoded, pixel_limit)
    view = choose(picture.size)
    pixels = tf.cast(decode_window(picture, view.window), tf.float32)
    square = tf.raw_ops.ScaleAndTranslate(
        images=(tf.image.rgb_to_grayscale(pixels) if channels == 1 else pixels)[None],
        size=[side, side],
        scale=view.scale,
        translation=view.translation,
        kernel_type=kernel,
        antialias=True,
    )
    return tf.ensure_shape(square[0], [side, side, channels])


def rounded(image: tf.Tensor) -> tf.Tensor:
    """Returns a uint8 image of a float one."""
    return tf.cast(tf.clip_by_value(tf.round(image), 0, 255), tf.uint8)
