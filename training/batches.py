"""The stream of training batches, a function of the seed and the step alone, so that a run can go on at any step."""

import tensorflow as tf

from training.augmentation import translate_and_flip
from training.data import ImageData
from training.recipes import Recipe


def training_batches(data: ImageData, recipe: Recipe, seed: int, start: int) -> tf.data.Dataset:
    """Returns the batches of the steps `start` to `recipe.train_steps`: normalized, augmented images and labels.

    Every epoch is a new order of all training images, and batches run on across the borders of epochs.
    """
    images, labels = tf.constant(data.train_images), tf.constant(data.train_labels)
    count = len(data.train_images)
    preprocessing = data.preprocessing

    def batch(step):
        positions = step * recipe.batch_size + tf.range(recipe.batch_size, dtype=tf.int64)
        epochs = positions // count
        order = tf.stack([tf.fill(epochs.shape, tf.constant(seed, tf.int64)), epochs, tf.zeros_like(epochs)], axis=1)
        # Of the public form, tf.random.experimental.index_shuffle, only the one for a single seed works.
        index = tf.raw_ops.RandomIndexShuffle(index=positions % count, seed=order, max_index=count - 1)
        chosen = preprocessing(tf.gather(images, index))
        draw = tf.stack([tf.constant(seed, tf.int64), step])
        return translate_and_flip(chosen, draw, recipe.crop_padding, recipe.flip), tf.gather(labels, index)

    return tf.data.Dataset.range(start, recipe.train_steps).map(batch).prefetch(4)
