import numpy as np
import tensorflow as tf

from training.augmentation import translate_and_flip

SEED = tf.constant([3, 4], tf.int64)


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
    augmented = translate_and_flip(tf.constant(images), SEED, padding=1, flip=True).numpy()
    hits = _found(images, augmented, 1, True)
    counts = {key: hits.count(key) for key in _windows(images[0], 1, True)}
    assert len(counts) == 18
    assert min(counts.values()) > 600 / 18 / 2  # Uniform: 33 of each.
    assert max(counts.values()) < 600 / 18 * 2


def test_without_flip_nothing_is_mirrored():
    images = np.random.default_rng(0).normal(size=(50, 4, 4, 1)).astype("float32")
    augmented = translate_and_flip(tf.constant(images), SEED, padding=2, flip=False).numpy()
    assert len(set(_found(images, augmented, 2, False))) > 10


def test_the_seed_decides():
    images = tf.random.stateless_normal([20, 8, 8, 3], [0, 0])
    first, again = (translate_and_flip(images, SEED, 4, True).numpy() for _ in range(2))
    other = translate_and_flip(images, SEED + tf.constant([0, 1], tf.int64), 4, True).numpy()
    np.testing.assert_array_equal(first, again)
    assert np.any(first != other)


def test_nothing_to_do_gives_the_images_back():
    images = tf.random.stateless_normal([2, 8, 8, 3], [0, 0])
    np.testing.assert_array_equal(translate_and_flip(images, SEED, 0, False), images)
