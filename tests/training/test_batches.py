import numpy as np
from training_helpers import numbered_data

from training.batches import training_batches
from training.recipes import Recipe

PLAIN = Recipe(batch_size=32, train_steps=50, crop_padding=0, flip=False)
AUGMENTED = Recipe(batch_size=32, train_steps=12, crop_padding=1, flip=True)


def _labels(seed=0, count=100):
    return np.concatenate([labels for _, labels in training_batches(numbered_data(count), PLAIN, seed, 0)])


def test_each_epoch_holds_every_image_once_across_the_borders_of_batches():
    labels = _labels()
    for epoch in range(16):
        assert sorted(labels[epoch * 100 : (epoch + 1) * 100]) == list(range(100))


def test_the_order_is_new_in_each_epoch_and_for_each_seed():
    labels = _labels()
    assert np.any(labels[:100] != labels[100:200])
    assert np.any(labels[:100] != _labels(seed=1)[:100])
    assert np.any(labels[:100] != np.arange(100))


def test_a_batch_larger_than_the_set_goes_around():
    labels = _labels(count=10)
    assert sorted(labels[:10]) == list(range(10))
    assert sorted(labels[10:20]) == list(range(10))


def test_images_go_with_their_labels_and_are_normalized():
    data = numbered_data(100)
    images, labels = next(iter(training_batches(data, PLAIN, 0, 0)))
    mean, deviation = data.train_images.mean(), data.train_images.std()
    np.testing.assert_allclose(images, (data.train_images[labels] - mean) / deviation, rtol=1e-4, atol=1e-5)


def test_a_batch_depends_on_seed_and_step_alone():
    data = numbered_data(100)
    whole = list(training_batches(data, AUGMENTED, 5, 0).as_numpy_iterator())
    rest = list(training_batches(data, AUGMENTED, 5, 7).as_numpy_iterator())
    assert (len(whole), len(rest)) == (12, 5)
    for (images, labels), (same_images, same_labels) in zip(whole[7:], rest, strict=True):
        np.testing.assert_array_equal(images, same_images)
        np.testing.assert_array_equal(labels, same_labels)
