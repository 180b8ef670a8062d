"""Learning rate as a function of the step."""

import math

import tensorflow as tf

from training.recipes import Recipe


def learning_rate(recipe: Recipe, step: tf.Tensor | int) -> tf.Tensor:
    """Returns the rate of the step after `step` steps, float32.

    The warm-up is constant, or linear from `warmup_learning_rate` to `learning_rate`. After it the rate drops at given
    steps, or falls as a cosine or a line to zero at the last step.
    """
    step = tf.cast(step, tf.float32)
    start, peak = recipe.warmup_learning_rate, recipe.learning_rate
    if recipe.warmup == "linear":
        start = start + (peak - start) * step / max(recipe.warmup_steps, 1)
    return tf.where(step < recipe.warmup_steps, start, peak * _share(recipe, step))


def _share(recipe, step):
    """Of the full rate, after the warm-up."""
    left = 1 - (step - recipe.warmup_steps) / max(recipe.train_steps - recipe.warmup_steps, 1)
    left = tf.clip_by_value(left, 0.0, 1.0)
    if recipe.schedule == "linear":
        return left
    if recipe.schedule == "cosine":
        return 0.5 * (1 - tf.cos(math.pi * left))
    passed = [tf.cast(step >= drop, tf.float32) for drop in recipe.learning_rate_drops]
    return recipe.drop_factor ** tf.add_n([tf.constant(0.0), *passed])
