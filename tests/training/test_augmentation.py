import numpy as np
import pytest
import tensorflow as tf

from training.augmentation import (
    AREAS,
    COLUMN,
    DRAWS,
    FLIP,
    ROW,
    SHAPES,
    SHORT_SIDE,
    centre_view,
    inception_view,
    scale_view,
    translate_and_flip,
)

LAST = 1 - 2**-24  # The largest float32 below 1.
SIZES = [(300, 400), (400, 300), (224, 224), (100, 90), (7, 500), (2000, 31), (1, 1)]


def _draws(count, seed=0):
    return np.random.default_rng(seed).random((count, DRAWS), np.float32)


def _translated(images, padding, flip, seed=0):
    return translate_and_flip(tf.constant(images), tf.constant(_draws(len(images), seed)), padding, flip).numpy()


def _windows(image, padding, flips):
    """Every image that the augmentation may make of one, by its shift and flip."""
    padded = np.pad(image, [(padding, padding), (padding, padding), (0, 0)])
    height, width, _ = image.shape
    windows = {}
    for top in range(2 * padding + 1):
        for left in range(2 * padding + 1):
            window = padded[top : top + height, left : left + width]
            for flip in (False, True) if flips else (False,):
                windows[top, left, flip] = window[:, ::-1] if flip else window
    return windows


def _found(images, augmented, padding, flips):
    hits = []
    for image, made in zip(images, augmented, strict=True):
        windows = _windows(image, padding, flips)
        hit = [key for key, window in windows.items() if np.array_equal(window, made)]
        assert len(hit) == 1
        hits.append(hit[0])
    return hits


def test_each_image_is_a_zero_padded_crop_and_all_shifts_and_flips_come_up():
    images = np.random.default_rng(0).normal(size=(600, 5, 6, 3)).astype("float32")
    hits = _found(images, _translated(images, 1, True), 1, True)
    counts = {key: hits.count(key) for key in _windows(images[0], 1, True)}
    assert len(counts) == 18
    assert min(counts.values()) > 600 / 18 / 2  # Uniform: 33 of each.
    assert max(counts.values()) < 600 / 18 * 2


def test_without_flip_nothing_is_mirrored():
    images = np.random.default_rng(0).normal(size=(50, 4, 4, 1)).astype("float32")
    assert len(set(_found(images, _translated(images, 2, False), 2, False))) > 10


@pytest.mark.parametrize(
    ("draws", "place"),
    [((0, 0, 0), (0, 0, True)), ((LAST, 0, LAST), (4, 0, False)), ((0.5, LAST, 0.49), (2, 4, True))],
)
def test_the_draws_decide_row_column_and_flip(draws, place):
    image = np.random.default_rng(0).normal(size=(1, 5, 6, 3)).astype("float32")
    augmented = translate_and_flip(tf.constant(image), tf.constant([draws], tf.float32), 2, True)
    assert _found(image, augmented.numpy(), 2, True) == [place]


def test_an_image_is_augmented_alike_in_every_batch():
    images = np.random.default_rng(0).normal(size=(20, 8, 8, 3)).astype("float32")
    draws = _draws(20)
    whole = translate_and_flip(tf.constant(images), tf.constant(draws), 4, True).numpy()
    part = translate_and_flip(tf.constant(images[7:9]), tf.constant(draws[7:9]), 4, True).numpy()
    np.testing.assert_array_equal(whole[7:9], part)
    assert np.any(whole != _translated(images, 4, True, seed=1))


def test_nothing_to_do_gives_the_images_back():
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")
    np.testing.assert_array_equal(_translated(images, 0, False), images)


def _row(**draws):
    """A row of zeros but for these, by the name of the column."""
    places = {"row": ROW, "column": COLUMN, "flip": FLIP, "short_side": SHORT_SIDE}
    row = np.zeros(DRAWS, np.float32)
    for name, draw in draws.items():
        row[places[name]] = draw
    return tf.constant(row)


def _resized_size(size, view):
    return np.round(np.array(size) * view.scale.numpy()).astype(int).tolist()


def _offset(view):
    """Of the crop in the resized image."""
    return np.round(view.window[:2].numpy() * view.scale.numpy() - view.translation.numpy()).astype(int).tolist()


@pytest.mark.parametrize(
    ("draws", "resized", "offset"),
    [
        ({}, [256, 341], [0, 0]),
        ({"row": LAST, "column": LAST}, [256, 341], [256 - 224, 341 - 224]),
        ({"short_side": LAST}, [480, 640], [0, 0]),
        ({"short_side": LAST, "row": LAST, "column": 0.5}, [480, 640], [480 - 224, (640 - 224) // 2]),
        ({"short_side": 0.5}, [256 + 112, 491], [0, 0]),
    ],
)
def test_scale_by_hand(draws, resized, offset):
    """An image of 300x400: 400 * 256 / 300 = 341.3, 400 * 368 / 300 = 490.7."""
    view = scale_view(tf.constant([300, 400]), _row(**draws), 224)
    assert _resized_size((300, 400), view) == resized
    assert _offset(view) == offset


def test_the_short_side_is_uniform_over_the_whole_numbers_from_256_to_480():
    @tf.function
    def lengths(draws):
        def scale(draw):
            return scale_view(tf.constant([1000, 1200]), tf.fill([DRAWS], draw), 224).scale[0]

        return tf.round(1000 * tf.map_fn(scale, draws))

    draws = tf.constant((np.arange(2250) + 0.5) / 2250, tf.float32)
    counts = np.bincount(lengths(draws).numpy().astype(int), minlength=481)
    assert counts[256:].tolist() == [10] * 225
    assert counts.sum() == 2250


def test_another_crop_keeps_the_proportions():
    lengths = [
        _resized_size((999, 500), scale_view(tf.constant([999, 500]), _row(short_side=draw), 64))[1]
        for draw in (0, LAST)
    ]
    assert lengths == [73, 137]  # 64 * 256 / 224 = 73.1, 64 * 480 / 224 = 137.1.


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["scale", "inception", "centre"])
def test_every_window_lies_in_the_image_and_covers_the_square(kind, size):
    views = {
        "scale": lambda draws: scale_view(tf.constant(size), draws, 32),
        "inception": lambda draws: inception_view(tf.constant(size), draws, 32),
        "centre": lambda _: centre_view(tf.constant(size), 37, 32),
    }
    extremes = np.stack([np.zeros(DRAWS), np.full(DRAWS, LAST)]).astype("float32")
    for row in np.concatenate([extremes, _draws(30)]):
        view = views[kind](tf.constant(row))
        corner, sides = view.window.numpy()[:2], view.window.numpy()[2:]
        assert (corner >= 0).all()
        assert (sides >= 1).all()
        assert (corner + sides <= size).all()
        start, end = -view.translation / view.scale, (32 - view.translation) / view.scale
        assert (start.numpy() >= -1e-2).all()
        assert (end.numpy() <= sides + 1e-2 * np.maximum(1, 1 / view.scale.numpy())).all()


def test_the_centre_is_that_of_fb():
    """ceil((side - crop) / 2): of 256x341 at (16, 58.5), so 59."""
    assert _offset(centre_view(tf.constant([300, 400]), 256, 224)) == [16, 59]
    assert _offset(centre_view(tf.constant([320, 320]), 320, 320)) == [0, 0]


def _inception(size, row):
    """[FB]'s RandomSizedCrop with the draws of a row, in NumPy; None for its fallback."""
    for area_draw, shape_draw in zip(row[AREAS], row[SHAPES], strict=True):
        area = size[0] * size[1] * (0.08 + 0.92 * area_draw)
        aspect = 3 / 4 + (4 / 3 - 3 / 4) * (2 * shape_draw % 1)
        width, height = round(np.sqrt(area * aspect)), round(np.sqrt(area / aspect))
        if shape_draw < 0.5:
            width, height = height, width
        if 1 <= height <= size[0] and 1 <= width <= size[1]:
            top = int(row[ROW] * (size[0] - height + 1))
            return top, int(row[COLUMN] * (size[1] - width + 1)), height, width
    return None


def test_inception_is_the_first_part_that_fits():
    for size in ((300, 400), (333, 250), (90, 31)):
        view_of = tf.function(lambda row, size=size: inception_view(tf.constant(size), row, 224))
        for row in _draws(100):
            expected = _inception(size, row)
            if expected is None:
                continue
            view = view_of(tf.constant(row))
            np.testing.assert_allclose(view.window, expected, atol=1)  # float32 may round a half the other way.
            np.testing.assert_allclose(view.scale, 224 / view.window[2:].numpy(), rtol=1e-6)
            assert view.translation.numpy().tolist() == [0, 0]


def test_what_does_not_fit_is_tried_again():
    """A wide part of all the area does not fit into a square; a quarter of it, the second, does."""
    row = np.zeros(DRAWS, np.float32)
    row[AREAS], row[SHAPES] = 1, 0
    row[AREAS.start + 1] = (0.25 - 0.08) / 0.92
    sides = round(40 * np.sqrt(0.25 / (3 / 4))), round(40 * np.sqrt(0.25 * 3 / 4))
    view = inception_view(tf.constant([40, 40]), tf.constant(row), 224)
    assert view.window.numpy().tolist() == [0, 0, sides[1], sides[0]]


def test_areas_and_shapes_fill_their_ranges():
    windows = [inception_view(tf.constant([400, 400]), tf.constant(row), 224).window.numpy() for row in _draws(400)]
    heights, widths = np.array(windows)[:, 2], np.array(windows)[:, 3]
    areas, shapes = heights * widths / 400**2, widths / heights
    assert 0.078 <= areas.min() < 0.1
    assert 0.9 < areas.max() <= 1
    assert 0.74 <= shapes.min() < 0.78
    assert 1.28 < shapes.max() <= 1.35
    assert 0.45 < (shapes > 1).mean() < 0.55  # Swapped in half of the cases.


def test_what_no_part_fits_is_seen_from_the_centre():
    size = tf.constant([10, 1000])
    row = tf.constant(np.full(DRAWS, LAST, np.float32))
    for one, other in zip(inception_view(size, row, 24), centre_view(size, 24, 24), strict=True):
        np.testing.assert_array_equal(one, other)
