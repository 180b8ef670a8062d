"""Decodes JPEG, PNG, BMP and GIF to 8-bit RGB in the TensorFlow graph, of most JPEGs only the part that is asked for.

Grey becomes three equal channels. Alpha is dropped (what is transparent keeps the colour that it is stored with), of
16 bits the upper 8 are kept, of an animated GIF the first frame; the EXIF orientation is not applied. Not read: BMP of
less than 8 bits a pixel or compressed.
"""

from typing import NamedTuple

import tensorflow as tf

PIXEL_LIMIT = 178_000_000  # As Pillow's: else a header of a few bytes could ask for gigabytes.
END_OF_JPEG = b"\xff\xd9"


class Picture(NamedTuple):
    """An encoded image and its size; `pixels` is empty where a part can be decoded alone."""

    encoded: tf.Tensor
    size: tf.Tensor  # int32 (height, width)
    in_parts: tf.Tensor  # bool
    pixels: tf.Tensor  # uint8 (height, width, 3), or (0, 0, 3)


def is_image(encoded: tf.Tensor) -> tf.Tensor:
    """Returns whether the first bytes are those of a JPEG, PNG, GIF or BMP."""
    is_gif = tf.strings.substr(encoded, 0, 4) == b"GIF8"
    return _is_jpeg(encoded) | _is_png(encoded) | _is_bmp(encoded) | is_gif


def declared_pixels(encoded: tf.Tensor) -> tf.Tensor:
    """Returns how many pixels the header of a file declares, int64; fails when the graph runs if there is none."""
    return tf.abs(tf.reduce_prod(tf.cast(_declared_size(encoded), tf.int64)))  # The height of a BMP may be negative.


def open_picture(encoded: tf.Tensor, pixel_limit: int = PIXEL_LIMIT) -> Picture:
    """Reads the header of the file whose bytes are `encoded`, and the rest too unless the format can be read in parts.

    Raises:
        tf.errors.OpError: when the graph runs, for what is no image, is cut off, or declares more pixels than allowed.
    """
    size, pixels = _declared_size(encoded), declared_pixels(encoded)
    within = tf.debugging.Assert((pixels > 0) & (pixels <= pixel_limit), [pixels])
    with tf.control_dependencies([within]):  # Nothing is allocated before.
        encoded = tf.identity(encoded)
    # A JPEG that is cut off would decode in some parts and not in others; it must fail whatever part is wanted.
    in_parts = _is_jpeg(encoded) & (tf.strings.substr(encoded, -2, 2) == END_OF_JPEG)
    size, pixels = tf.cond(
        in_parts,
        lambda: (size, tf.zeros([0, 0, 3], tf.uint8)),
        lambda: _decode_whole(encoded),
    )
    return Picture(encoded, tf.ensure_shape(size, [2]), in_parts, tf.ensure_shape(pixels, [None, None, 3]))


def decode_window(picture: Picture, window: tf.Tensor) -> tf.Tensor:
    """Returns the pixels of `window`, int32 `(top, left, height, width)` inside the picture: uint8 RGB."""
    top, left, height, width = tf.unstack(window)
    part = tf.cond(
        picture.in_parts,
        lambda: tf.image.decode_and_crop_jpeg(picture.encoded, window, channels=3, dct_method="INTEGER_ACCURATE"),
        lambda: picture.pixels[top : top + height, left : left + width],
    )
    return tf.ensure_shape(part, [None, None, 3])


def decode(encoded: tf.Tensor) -> tf.Tensor:
    """Returns a whole image, uint8 `(height, width, 3)`; errors as `open_picture`."""
    picture = open_picture(encoded)
    return decode_window(picture, tf.concat([[0, 0], picture.size], axis=0))


def _is_jpeg(encoded):
    return tf.strings.substr(encoded, 0, 3) == b"\xff\xd8\xff"


def _is_png(encoded):
    return tf.strings.substr(encoded, 0, 4) == b"\x89PNG"


def _is_bmp(encoded):
    return tf.strings.substr(encoded, 0, 2) == b"BM"


def _numbers(encoded, position, count, dtype, little_endian=True):
    part = tf.strings.substr(encoded, position, count * dtype.size)
    return tf.io.decode_raw(part, dtype, little_endian=little_endian)


def _declared_size(encoded):
    """Of a JPEG (height, width); else both in either order, of a GIF those of its screen."""
    cases = [
        (_is_jpeg(encoded), lambda: tf.io.extract_jpeg_shape(encoded)[:2]),
        (_is_png(encoded), lambda: _numbers(encoded, 16, 2, tf.int32, little_endian=False)),
        (_is_bmp(encoded), lambda: _numbers(encoded, 18, 2, tf.int32)),
    ]
    return tf.case(cases, default=lambda: tf.cast(_numbers(encoded, 6, 2, tf.uint16), tf.int32))


def _decode_whole(encoded):
    cases = [
        (_is_jpeg(encoded), lambda: tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE")),
        (_is_bmp(encoded), lambda: _decode_bmp(encoded)),
    ]
    pixels = tf.case(cases, default=lambda: tf.io.decode_image(encoded, channels=3, expand_animations=False))
    return tf.shape(pixels)[:2], pixels


def _decode_bmp(encoded):
    """Through its palette where it has one: TensorFlow would take the numbers of the colours for grey values."""
    pixels = tf.io.decode_bmp(encoded)  # 1, 3 or 4 channels.

    def colours():
        """Each pixel's entry of the palette, which lies between the header and the pixels."""
        start = 14 + _numbers(encoded, 14, 1, tf.int32)[0]
        end = _numbers(encoded, 10, 1, tf.int32)[0]
        palette = tf.reshape(tf.io.decode_raw(tf.strings.substr(encoded, start, end - start), tf.uint8), [-1, 4])
        return tf.gather(palette[:, 2::-1], tf.cast(pixels[..., 0], tf.int32))  # Blue, green, red, unused.

    return tf.cond(tf.shape(pixels)[-1] == 1, colours, lambda: pixels[..., :3])
