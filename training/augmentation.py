"""The paper's augmentation, translation and flip, on whole batches: one gather of rows and one of columns."""

import tensorflow as tf


def translate_and_flip(images: tf.Tensor, seed: tf.Tensor, padding: int, flip: bool) -> tf.Tensor:
    """Shifts each image by up to `padding` pixels either way, filling with zeros, and mirrors half of them.

    Args:
        images: `(batch, height, width, channels)`, normalized, so that the zeros are the mean colour, as in [FB].
        seed: int64 `(2,)`; the same seed gives the same batch.
        padding: Pixels of zeros on each side before a crop of the old size; 0 for none.
        flip: Whether to mirror each image left to right with probability 1/2.

    Returns:
        Images of the same shape and dtype.
    """
    if not padding and not flip:
        return images
    batch, (height, width) = tf.shape(images)[0], images.shape[1:3]
    draws = tf.random.stateless_uniform([3, batch, 1], seed)
    shifts = tf.cast(draws[:2] * (2 * padding + 1), tf.int32)
    rows = tf.range(height)[None] + shifts[0]
    columns = tf.range(width)[None] + shifts[1]
    if flip:
        columns = tf.where(draws[2] < 0.5, columns[:, ::-1], columns)
    padded = tf.pad(images, [[0, 0], [padding, padding], [padding, padding], [0, 0]])
    return tf.gather(tf.gather(padded, rows, batch_dims=1), columns, axis=2, batch_dims=1)
