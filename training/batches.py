"""The stream of batches, a function of the seed and the step alone, so that a run can go on at any step.

Every replica reads its own rows of the same batch: how many replicas there are does not change what a batch holds.
"""

import tensorflow as tf

from keras_preresnet.preprocessing import Preprocessing
from training.augmentation import DRAWS, translate_and_flip, without_draws
from training.data import ImageData, Images
from training.recipes import Recipe

ROUNDS = 16  # Of the cipher that shuffles.
ONE_DEVICE = tf.distribute.InputContext()


def training_batches(
    data: ImageData, recipe: Recipe, seed: int, start: int, context: tf.distribute.InputContext = ONE_DEVICE
) -> tf.data.Dataset:
    """Returns what the replicas of one process take in turn, from step `start` to the last.

    Every epoch is a new order of all training images, and batches run on across the borders of epochs.

    Returns:
        Data set of normalized, augmented images `(b, height, width, channels)` in float32, int64 labels `(b,)` and
        float32 weights `(b,)`, 0 for an image that could not be decoded; b is the replica's share of the batch.
    """
    local, first, share = _shares(recipe.batch_size, context)

    def rows(turn):
        step, replica = turn // local, first + turn % local
        row = replica * share + tf.range(share, dtype=tf.int64)
        draws = tf.random.stateless_uniform([recipe.batch_size, DRAWS], tf.stack([tf.constant(seed, tf.int64), step]))
        return _shuffled(step * recipe.batch_size + row, len(data.train), seed), tf.gather(draws, row)

    turns = tf.data.Dataset.range(start * local, recipe.train_steps * local).map(rows)
    batches = data.train.dataset(turns, training=True)
    if recipe.augmentation == "translation":
        draws = turns.map(lambda index, draws: draws)
        batches = tf.data.Dataset.zip(batches, draws).map(_translation(data.preprocessing, recipe), tf.data.AUTOTUNE)
    else:
        batches = batches.map(_normalization(data.preprocessing), tf.data.AUTOTUNE)
    return batches.prefetch(4)


def evaluation_batches(
    images: Images,
    preprocessing: Preprocessing,
    batch_size: int,
    context: tf.distribute.InputContext = ONE_DEVICE,
) -> tf.data.Dataset:
    """Returns every image once, again and again, in `evaluation_steps` batches; what fills the last has weight 0."""
    local, first, share = _shares(batch_size, context)

    def rows(turn):
        step, replica = turn // local, first + turn % local
        index = step * batch_size + replica * share + tf.range(share, dtype=tf.int64)
        return without_draws(tf.where(index < len(images), index, -1))

    turns = tf.data.Dataset.range(evaluation_steps(images, batch_size) * local).map(rows)
    batches = images.dataset(turns, training=False).map(_normalization(preprocessing), tf.data.AUTOTUNE)
    return batches.repeat().prefetch(2)


def evaluation_steps(images: Images, batch_size: int) -> int:
    """Returns how many batches hold all images."""
    return -(-len(images) // batch_size)


def _shares(batch_size, context):
    """Replicas of this process, the first of them, and the images that each takes of a batch."""
    local = context.num_replicas_in_sync // context.num_input_pipelines
    return local, context.input_pipeline_id * local, batch_size // context.num_replicas_in_sync


def _shuffled(positions, count, seed):
    epochs = positions // count
    order = tf.stack([tf.fill(epochs.shape, tf.constant(seed, tf.int64)), epochs, tf.zeros_like(epochs)], axis=1)
    # Of the public form, tf.random.experimental.index_shuffle, only the one for a single seed works. With its 4 rounds
    # an order resembles that of the epoch before: of neighbours one in four met again in a batch. 8 are enough.
    return tf.raw_ops.RandomIndexShuffle(index=positions % count, seed=order, max_index=count - 1, rounds=ROUNDS)


def _normalization(preprocessing):
    return lambda images, labels, weights: (preprocessing(images), labels, weights)


def _translation(preprocessing, recipe):
    def augment(batch, draws):
        images, labels, weights = batch
        images = translate_and_flip(preprocessing(images), draws, recipe.crop_padding, recipe.flip)
        return images, labels, weights

    return augment
