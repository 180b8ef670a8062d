import io

import numpy as np
import pytest
import tensorflow as tf
from image_files import encode, png
from PIL import Image

from keras_preresnet.decoding import PIXEL_LIMIT, decode, decode_window, open_picture

FORMATS = ("JPEG", "PNG", "BMP", "GIF")
PIXELS = np.random.default_rng(0).integers(0, 256, (20, 24, 4), dtype=np.uint8)


def _reference(encoded):
    return np.asarray(Image.open(io.BytesIO(encoded)).convert("RGBA"))[..., :3].astype(int)


@pytest.mark.parametrize(
    ("file_format", "mode", "options", "tolerance"),
    [
        ("JPEG", "L", {}, 4),
        ("JPEG", "RGB", {}, 4),
        ("JPEG", "RGB", {"progressive": True, "subsampling": 0}, 4),
        ("JPEG", "CMYK", {}, 4),
        ("PNG", "1", {}, 0),
        ("PNG", "L", {}, 0),
        ("PNG", "LA", {}, 0),
        ("PNG", "RGB", {}, 0),
        ("PNG", "RGBA", {}, 0),
        ("PNG", "P", {}, 0),
        ("PNG", "P", {"transparency": 3}, 0),
        ("BMP", "L", {}, 0),
        ("BMP", "P", {}, 0),
        ("BMP", "RGB", {}, 0),
        ("BMP", "RGBA", {}, 0),
        ("GIF", "L", {}, 0),
        ("GIF", "P", {}, 0),
    ],
)
def test_every_format_and_mode_is_as_pillow_decodes_it(file_format, mode, options, tolerance):
    encoded = encode(PIXELS, file_format, mode, **options)
    pixels = decode(tf.constant(encoded))
    assert pixels.dtype == tf.uint8
    np.testing.assert_allclose(pixels.numpy().astype(int), _reference(encoded), atol=tolerance)


def test_a_ycck_jpeg():
    plain = encode(PIXELS, "JPEG", "CMYK")
    place = plain.index(b"Adobe") + len(b"Adobe") + 6  # After version and two flags: the transform, 0 for CMYK.
    encoded = plain[:place] + b"\x02" + plain[place + 1 :]
    assert np.abs(_reference(encoded) - _reference(plain)).max() > 50
    np.testing.assert_allclose(decode(tf.constant(encoded)).numpy().astype(int), _reference(encoded), atol=4)


def test_of_16_bits_the_upper_8_are_kept():
    values = np.array([[0x0000, 0x12FF, 0x8000, 0xFFFF]], np.uint16)
    grey = decode(tf.constant(encode(values, "PNG"))).numpy()
    np.testing.assert_array_equal(grey[0], np.repeat([[0x00], [0x12], [0x80], [0xFF]], 3, axis=1))
    colours = png(2, 1, 16, 2, bytes([0]) + bytes([1, 255, 2, 0, 3, 128]) + bytes([4, 0, 5, 0, 6, 0]))
    np.testing.assert_array_equal(decode(tf.constant(colours)), [[[1, 2, 3], [4, 5, 6]]])


def test_alpha_is_dropped_and_not_blended():
    pixels = PIXELS.copy()
    pixels[..., 3] = 0
    np.testing.assert_array_equal(decode(tf.constant(encode(pixels, "PNG"))), pixels[..., :3])


def test_of_an_animation_the_first_frame_is_kept():
    frames = [Image.fromarray(np.full((5, 7), grey, np.uint8)) for grey in (30, 200, 90)]
    stream = io.BytesIO()
    frames[0].save(stream, "GIF", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(decode(tf.constant(stream.getvalue())), np.full((5, 7, 3), 30))


def test_a_bmp_whose_rows_go_down():
    encoded = encode(PIXELS[..., :3], "BMP")
    downwards = encoded[:22] + (-20).to_bytes(4, "little", signed=True) + encoded[26:]
    np.testing.assert_array_equal(decode(tf.constant(downwards)), PIXELS[::-1, :, :3])


@pytest.mark.parametrize("window", [(0, 0, 20, 24), (3, 5, 10, 12), (19, 23, 1, 1), (1, 0, 7, 24)])
@pytest.mark.parametrize(
    ("file_format", "options"),
    [
        ("JPEG", {}),
        ("JPEG", {"subsampling": 0}),
        ("JPEG", {"progressive": True}),
        ("JPEG", {"mode": "L"}),
        ("JPEG", {"mode": "CMYK"}),
        ("PNG", {}),
        ("BMP", {}),
        ("GIF", {}),
    ],
)
def test_a_window_is_that_part_of_the_whole(file_format, options, window):
    encoded = tf.constant(encode(PIXELS[..., :3], file_format, **options))
    picture = open_picture(encoded)
    top, left, height, width = window
    assert picture.size.numpy().tolist() == [20, 24]
    part = decode_window(picture, tf.constant(window))
    np.testing.assert_array_equal(part, decode(encoded)[top : top + height, left : left + width])


def test_only_a_jpeg_is_left_encoded_until_its_part_is_known():
    opened = {kind: open_picture(tf.constant(encode(PIXELS[..., :3], kind))) for kind in FORMATS}
    assert {kind: bool(picture.in_parts) for kind, picture in opened.items()} == {
        "JPEG": True,
        "PNG": False,
        "BMP": False,
        "GIF": False,
    }
    assert opened["JPEG"].pixels.shape == (0, 0, 3)


in_graph = tf.function(decode, input_signature=[tf.TensorSpec([], tf.string)])


def _cut(file_format, share):
    encoded = encode(PIXELS[..., :3], file_format)
    return encoded[: int(len(encoded) * share)]


def _jpeg_of_size(height, width):
    """With the size in its header alone."""
    encoded = encode(PIXELS[..., :3], "JPEG")
    place = encoded.index(b"\xff\xc0") + 5  # After the marker, a length and the depth.
    return encoded[:place] + height.to_bytes(2, "big") + width.to_bytes(2, "big") + encoded[place + 4 :]


BAD = {
    "empty": b"",
    "a byte": b"\xff",
    "text": b"This is no image, whatever its name says.",
    "a PNG without an image": b"\x89PNG\r\n\x1a\n",
    "no pixels": png(0, 5, 8, 2, b""),
    "a JPEG without pixels": _jpeg_of_size(20, 0),
    "a web page": b"<!DOCTYPE html><html><body>404</body></html>",
    **{f"{kind} cut at {share}": _cut(kind, share) for kind in FORMATS for share in (0.05, 0.5, 0.98)},
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_whole_image_is_refused(kind):
    with pytest.raises((tf.errors.OpError, UnicodeDecodeError)):  # Some messages quote bytes that are no text.
        in_graph(BAD[kind])


def test_a_jpeg_that_is_cut_off_is_refused_whatever_part_is_wanted():
    encoded = encode(np.zeros((200, 200, 3), np.uint8) + PIXELS[:1, :1, :3], "JPEG")
    with pytest.raises(tf.errors.OpError):
        decode_window(open_picture(tf.constant(encoded[:-20])), tf.constant([0, 0, 8, 8]))


def test_bytes_after_the_end_of_a_jpeg_do_no_harm():
    encoded = encode(PIXELS[..., :3], "JPEG")
    np.testing.assert_array_equal(decode(tf.constant(encoded + b"camera")), decode(tf.constant(encoded)))


@pytest.mark.parametrize(
    "encoded",
    [
        png(20000, 20000, 8, 2, b""),
        _jpeg_of_size(65500, 65500),
        b"BM" + bytes(16) + (20000).to_bytes(4, "little") * 2 + bytes(40),
        b"GIF89a" + (60000).to_bytes(2, "little") * 2 + bytes(40),
    ],
    ids=["PNG", "JPEG", "BMP", "GIF"],
)
def test_a_header_that_asks_for_gigabytes_is_refused_before_they_are_taken(encoded):
    with pytest.raises(tf.errors.InvalidArgumentError, match="assertion failed"):
        in_graph(encoded)


def test_the_limit_is_that_of_pillow():
    assert pytest.approx(2 * Image.MAX_IMAGE_PIXELS, rel=0.01) == PIXEL_LIMIT
