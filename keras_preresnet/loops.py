"""The loop: one step on the rows of stacked weights, turn by turn, in a graph that does not grow with their number."""

from collections.abc import Callable

import tensorflow as tf


def loop_over_rows(
    step: Callable[[tf.Tensor, list, tf.Tensor | None], tuple[tf.Tensor, list]],
    x: tf.Tensor,
    weights: list[tf.Tensor],
    seeds: tf.Tensor | None,
    statistics: list[tf.Tensor],
) -> tuple[tf.Tensor, list[tf.Tensor]]:
    """Runs x through `step` once for each row of the weights, in a while loop that takes the rows off lists.

    The gradient of that puts the row of the gradient onto a list. That of reading row i from a `tf.TensorArray` would
    add it to an array of zeros, and that of `w[i]` a whole array of them in each turn.

    Args:
        step: Takes x, a row of each weight, and a row of the seeds or None; returns the next x, and new statistics.
        x: What the first turn is given; every turn keeps its shape.
        weights: Each of as many rows as there are turns.
        seeds: As many rows, or None.
        statistics: Like those that come out, of all turns; [] leaves them aside.

    Returns:
        The last x, and the statistics of all turns, stacked.
    """
    stacked = weights if seeds is None else [*weights, seeds]
    count = stacked[0].shape[0]

    def body(i, x, rows, new):
        """Turn i, on the next row of every weight, and of the seeds."""
        rows, row = zip(*map(_popped, rows, stacked), strict=True)
        y, values = step(x, row[: len(weights)], None if seeds is None else row[-1])
        new = [array.write(i, value) for array, value in zip(new, values, strict=False)]
        return i + 1, tf.ensure_shape(y, x.shape), list(rows), new

    start = (tf.constant(0), x, [_list_of_rows(w) for w in stacked], [_array(s.dtype, s.shape) for s in statistics])
    _, x, _, new = tf.while_loop(lambda i, *_: i < count, body, start, maximum_iterations=count)
    return x, [array.stack() for array in new]


def _array(dtype, shape):
    return tf.TensorArray(dtype, size=shape[0], element_shape=shape[1:])


def _list_of_rows(weights):
    """The rows as a list whose last is the first."""
    return tf.raw_ops.TensorListFromTensor(tensor=tf.reverse(weights, [0]), element_shape=_shape_of_row(weights))


def _popped(rows, weights):
    """The list without its last row, and that row of the stacked `weights`."""
    shape = _shape_of_row(weights)
    return tf.raw_ops.TensorListPopBack(input_handle=rows, element_shape=shape, element_dtype=weights.dtype)


def _shape_of_row(weights):
    return tf.constant(weights.shape[1:].as_list(), tf.int32)
