import dataclasses
import itertools

import numpy as np
import pytest
import tensorflow as tf
from training_helpers import numbered_data

from training.batches import evaluation_batches, evaluation_steps, training_batches
from training.recipes import Recipe

PLAIN = Recipe(batch_size=32, train_steps=50, augmentation="none", crop_padding=0, flip=False)
AUGMENTED = Recipe(batch_size=32, train_steps=12, crop_padding=1, flip=True)


def _labels(seed=0, count=100):
    return np.concatenate([labels for _, labels, _ in training_batches(numbered_data(count), PLAIN, seed, 0)])


def _contexts(processes, replicas):
    return [tf.distribute.InputContext(processes, index, replicas) for index in range(processes)]


def test_each_epoch_holds_every_image_once_across_the_borders_of_batches():
    labels = _labels()
    for epoch in range(16):
        assert sorted(labels[epoch * 100 : (epoch + 1) * 100]) == list(range(100))


def test_the_order_is_new_in_each_epoch_and_for_each_seed():
    labels = _labels()
    assert np.any(labels[:100] != labels[100:200])
    assert np.any(labels[:100] != _labels(seed=1)[:100])
    assert np.any(labels[:100] != np.arange(100))


def test_who_shared_a_batch_does_not_meet_again_more_often_than_by_chance():
    """Of 1,000 images 32 / 1000 of the neighbours of an epoch are in one batch of the next, by chance."""
    recipe = dataclasses.replace(PLAIN, train_steps=125)
    batches = training_batches(numbered_data(1000, test_count=1), recipe, 0, 0)
    epochs = np.concatenate([labels for _, labels, _ in batches]).reshape(4, 1000)
    places = np.argsort(epochs, axis=1)  # Of each image in each epoch.
    for before, after in itertools.combinations(range(4), 2):
        neighbours = places[after][epochs[before]] // 32
        assert np.mean(neighbours[1:] == neighbours[:-1]) < 0.06
        assert abs(np.corrcoef(places[before], places[after])[0, 1]) < 0.15


def test_a_batch_larger_than_the_set_goes_around():
    labels = _labels(count=10)
    assert sorted(labels[:10]) == list(range(10))
    assert sorted(labels[10:20]) == list(range(10))


def test_images_go_with_their_labels_and_are_normalized():
    data = numbered_data(100)
    images, labels, weights = next(iter(training_batches(data, PLAIN, 0, 0)))
    mean, deviation = data.train.images.mean(), data.train.images.std()
    np.testing.assert_allclose(images, (data.train.images[labels] - mean) / deviation, rtol=1e-4, atol=1e-5)
    assert weights.numpy().tolist() == [1.0] * 32


def test_a_batch_depends_on_seed_and_step_alone():
    data = numbered_data(100)
    whole = list(training_batches(data, AUGMENTED, 5, 0).as_numpy_iterator())
    rest = list(training_batches(data, AUGMENTED, 5, 7).as_numpy_iterator())
    assert (len(whole), len(rest)) == (12, 5)
    for batch, same in zip(whole[7:], rest, strict=True):
        for part, same_part in zip(batch, same, strict=True):
            np.testing.assert_array_equal(part, same_part)


@pytest.mark.parametrize(("processes", "replicas"), [(1, 2), (2, 2), (2, 4)])
def test_replicas_share_the_same_batch(processes, replicas):
    """Whatever the replicas, their shares put together are the batch of one device, augmentation included."""
    data = numbered_data(100)
    whole = list(training_batches(data, AUGMENTED, 5, 3).as_numpy_iterator())
    parts = [list(training_batches(data, AUGMENTED, 5, 3, context)) for context in _contexts(processes, replicas)]
    local = replicas // processes
    for step, (images, labels, _) in enumerate(whole):
        turns = [part[step * local + replica] for part in parts for replica in range(local)]
        np.testing.assert_array_equal(np.concatenate([turn[0] for turn in turns]), images)
        np.testing.assert_array_equal(np.concatenate([turn[1] for turn in turns]), labels)


@pytest.mark.parametrize(("processes", "replicas", "batch_size"), [(1, 1, 4), (1, 2, 4), (2, 4, 8), (1, 1, 50)])
def test_evaluation_shows_every_image_once(processes, replicas, batch_size):
    data = numbered_data(3, test_count=11, classes=11)
    seen, steps = [], evaluation_steps(data.test, batch_size)
    for context in _contexts(processes, replicas):
        turns = evaluation_batches(data.test, data.preprocessing, batch_size, context)
        for images, labels, weights in turns.take(steps * replicas // processes):
            assert len(images) == batch_size // replicas
            seen += [int(label) for label, weight in zip(labels, weights, strict=True) if weight == 1]
    assert sorted(seen) == list(range(11))


def test_evaluation_begins_anew():
    data = numbered_data(3, test_count=7)
    batches = list(evaluation_batches(data.test, data.preprocessing, 4).take(4))
    np.testing.assert_array_equal(batches[0][0], batches[2][0])
