import gc

import numpy as np
import pytest
import tensorflow as tf
from image_files import encode
from PIL import Image
from training_helpers import rows_of, write_images

from training.augmentation import FLIP
from training.bad_images import BadImages
from training.encoded import EncodedImages
from training.errors import UserError
from training.sources import FileSource

GREYS = [10 * k + 5 for k in range(12)]


def _source(root, extra=()):
    paths = sorted(root.rglob("*.png")) + [root / name for name in extra]
    return FileSource(root, paths, list(range(len(paths))))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Twelve squares of one grey each, labelled 0 to 11, and what is no image."""
    root = write_images(tmp_path_factory.mktemp("images"), {"a": 12})
    (root / "text.jpg").write_text("no image")
    (root / "empty.gif").write_bytes(b"")
    return root


@pytest.fixture
def squares(root):
    return EncodedImages(_source(root), 8, "scale", True, BadImages())


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    """A random image in which every pixel can be told."""
    root = tmp_path_factory.mktemp("noise")
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    (root / "noise.png").write_bytes(encode(pixels, "PNG"))
    return root, pixels


def _batches(images, *indexes, training=True):
    return list(images.dataset(rows_of(*indexes), training).as_numpy_iterator())


@pytest.mark.parametrize("training", [True, False])
def test_images_come_in_the_order_asked_for(squares, training):
    order = [[3, 11, 0, 7], [7, 7], [1, 2, 10]]
    batches = _batches(squares, *order, training=training)
    assert [labels.tolist() for _, labels, _ in batches] == order
    for (images, labels, weights), index in zip(batches, order, strict=True):
        assert images.shape == (len(index), 8, 8, 3)
        assert (images.dtype, labels.dtype, weights.dtype) == (np.uint8, np.int64, np.float32)
        np.testing.assert_array_equal(images, np.broadcast_to(np.take(GREYS, index)[:, None, None, None], images.shape))
        assert weights.tolist() == [1] * len(index)


@pytest.mark.parametrize("augmentation", ["scale", "inception"])
def test_an_image_depends_on_its_index_and_draws_alone(noise, augmentation):
    source = FileSource(noise[0], [noise[0] / "noise.png"] * 9, list(range(9)))
    images = EncodedImages(source, 16, augmentation, True, BadImages())
    whole, again, *parts = _batches(images, range(9), range(9), [0, 1], [2], range(3, 9))
    np.testing.assert_array_equal(whole[0], again[0])
    np.testing.assert_array_equal(whole[0], np.concatenate([part for part, _, _ in parts]))
    assert len({image.tobytes() for image in whole[0]}) == 9


def test_padding_is_black_and_weighs_nothing(squares):
    ((images, labels, weights),) = _batches(squares, [4, -1, 5, -1])
    assert weights.tolist() == [1, 0, 1, 0]
    assert labels.tolist() == [4, 0, 5, 0]
    assert images.max(axis=(1, 2, 3)).tolist() == [GREYS[4], 0, GREYS[5], 0]
    assert squares._bad_images.names == ()


@pytest.mark.parametrize("training", [True, False])
def test_bad_images_weigh_nothing_are_named_once_and_spoil_no_other(root, training):
    bad = BadImages(2)
    source = _source(root, ["text.jpg", "empty.gif"])
    images = EncodedImages(source, 8, "scale", True, bad)
    batches = _batches(images, [12, 3, 13, 4], [5, 6], [13, 12], training=training)
    assert [weights.tolist() for _, _, weights in batches] == [[0, 1, 0, 1], [1, 1], [0, 0]]
    assert batches[0][0][:, 0, 0, 0].tolist() == [0, GREYS[3], 0, GREYS[4]]
    assert batches[0][1].tolist() == [0, 3, 0, 4]
    assert sorted(bad.names) == ["empty.gif", "text.jpg"]
    bad.check()


def test_a_file_that_goes_away_is_a_bad_image(tmp_path):
    root = write_images(tmp_path / "set", {"a": 2})
    bad = BadImages()
    images = EncodedImages(_source(root), 8, "scale", True, bad)
    (root / "a" / "001.png").unlink()
    ((_, _, weights),) = _batches(images, [0, 1])
    assert weights.tolist() == [1, 0]
    with pytest.raises(UserError, match=r"1 image could not be decoded: a/001.png; .* --max_bad_images=1"):
        bad.check()


def test_a_dataset_that_is_left_halfway_finds_no_bad_image(squares):
    for _ in range(2):
        iterator = iter(squares.dataset(rows_of(*[range(12)] * 50), training=True))
        next(iterator)
        del iterator
        gc.collect()
    assert squares._bad_images.names == ()


def test_a_static_batch_size_is_kept_and_a_free_one_stays_free(squares):
    table = tf.zeros([12, 32])
    rows = tf.data.Dataset.range(12).batch(4, drop_remainder=True).map(lambda index: (index, tf.gather(table, index)))
    static = [spec.shape.as_list() for spec in squares.dataset(rows, training=True).element_spec]
    free = [spec.shape.as_list() for spec in squares.dataset(rows_of([0]), training=True).element_spec]
    assert static == [[4, 8, 8, 3], [4], [4]]
    assert free == [[None, 8, 8, 3], [None], [None]]


def _resized(pixels, height, width):
    return tf.image.resize(pixels.astype("float32"), (height, width), antialias=True).numpy()


@pytest.mark.parametrize(
    ("size", "short_side", "resized"),
    [(28, 32, (32, 40)), (40, 40, (40, 50)), (70, 80, (80, 100)), (12, 16, (16, 20)), (33, 47, (47, 59))],
)
def test_evaluation_is_the_resized_image_and_its_centre(noise, size, short_side, resized):
    """The whole 40x50 image resized by TensorFlow, and then cut."""
    root, pixels = noise
    images = EncodedImages(_source(root), 16, "scale", True, BadImages()).with_evaluation_size(size, short_side)
    ((made, _, _),) = _batches(images, [0], training=False)
    whole = _resized(pixels, *resized)
    top, left = (-(-(side - size) // 2) for side in resized)
    expected = whole[top : top + size, left : left + size]
    np.testing.assert_allclose(made[0], np.clip(expected, 0, 255), atol=0.52)


def test_evaluation_and_training_sizes(noise):
    images = EncodedImages(_source(noise[0]), 224, "scale", True, BadImages())
    assert (images.image_shape, images.evaluation_size, images.evaluation_short_side) == ((224, 224, 3), 224, 256)
    larger = images.with_evaluation_size(320, short_side=320)
    assert (larger.image_shape, larger.evaluation_size, larger.evaluation_short_side) == ((224, 224, 3), 320, 320)
    assert images.evaluation_size == 224
    ((made, _, _),) = _batches(larger, [0], training=False)
    assert made.shape == (1, 320, 320, 3)
    with pytest.raises(UserError, match="evaluation size of 320 is refused: allowed are 1 to the short side, 256"):
        images.with_evaluation_size(320, short_side=256)


def _shown(images, *draws):
    """The first image, once for each row of draws."""
    rows = tf.data.Dataset.from_tensors((tf.zeros([len(draws)], tf.int64), tf.constant(np.stack(draws), tf.float32)))
    return images.dataset(rows, training=True).get_single_element()[0].numpy()


@pytest.mark.parametrize("augmentation", ["scale", "inception"])
def test_half_of_the_images_are_mirrored_unless_that_is_switched_off(noise, augmentation):
    kept = np.full(32, 0.5, np.float32)
    turned = np.where(np.arange(32) == FLIP, 0.49, kept)
    flipping, never = (EncodedImages(_source(noise[0]), 16, augmentation, flip, BadImages()) for flip in (True, False))
    left, right = _shown(flipping, kept, turned)
    np.testing.assert_array_equal(left, right[:, ::-1])
    assert left.tobytes() != right.tobytes()
    np.testing.assert_array_equal(_shown(never, kept, turned), [left, left])


def test_scale_cuts_a_random_part_of_the_resized_image(noise):
    """Of 40x50 at crop 14 the short side is 16 to 30; a draw of 0.5 makes 23, and the crop starts in the middle."""
    draws = np.full(32, 0.5, np.float32)
    (made,) = _shown(EncodedImages(_source(noise[0]), 14, "scale", False, BadImages()), draws)
    whole = _resized(noise[1], 23, 29)
    np.testing.assert_allclose(made, whole[5:19, 8:22], atol=0.52)


def test_inception_resizes_its_part_bicubically_and_does_not_round(noise):
    draws = np.full(32, 0.5, np.float32)
    draws[3:13], draws[13:23] = 0.25, 0.75
    (made,) = _shown(EncodedImages(_source(noise[0]), 16, "inception", False, BadImages()), draws)
    assert made.dtype == np.float32
    area, aspect = 40 * 50 * (0.08 + 0.92 * 0.25), (3 / 4 + 4 / 3) / 2
    height, width = round(np.sqrt(area / aspect)), round(np.sqrt(area * aspect))
    top, left = (41 - height) // 2, (51 - width) // 2
    part = noise[1][top : top + height, left : left + width].astype("float32")
    expected = tf.image.resize(part, (16, 16), method="bicubic", antialias=True)
    np.testing.assert_allclose(made, expected, atol=0.02)


def test_a_jpeg_is_close_to_what_pillow_makes_of_it(tmp_path):
    y, x = np.mgrid[:300, :400]
    pixels = np.stack([x * 255 / 400, y * 255 / 300, 128 + 100 * np.sin(x / 40)], axis=-1).astype(np.uint8)
    (tmp_path / "a.jpg").write_bytes(encode(pixels, "JPEG", quality=95))
    images = EncodedImages(FileSource(tmp_path, [tmp_path / "a.jpg"], [0]), 224, "scale", True, BadImages())
    ((made, _, _),) = _batches(images, [0], training=False)
    with Image.open(tmp_path / "a.jpg") as image:
        expected = np.asarray(image.resize((341, 256), Image.Resampling.BILINEAR))[16:240, 59:283].astype(int)
    assert np.abs(made[0].astype(int) - expected).max() <= 4
    assert np.abs(made[0].astype(int) - expected).mean() < 0.7


def test_all_parts_are_the_decodable_images(root):
    images = EncodedImages(_source(root, ["text.jpg"]), 8, "scale", True, BadImages(1))
    parts = np.concatenate(list(images.parts()))
    assert parts[:, 0, 0, 0].tolist() == GREYS


def test_colours_of_grey_images_cannot_be_changed(root):
    source = _source(root)
    source.channels = 1
    with pytest.raises(UserError, match="--augmentation=inception is refused"):
        EncodedImages(source, 8, "inception", True, BadImages())
    ((images, _, _),) = _batches(EncodedImages(source, 8, "scale", True, BadImages()), [2])
    assert images.shape == (1, 8, 8, 1)
    assert (images == GREYS[2]).all()
