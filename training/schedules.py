"""Learning rate as a function of the step."""

import math

import keras
import tensorflow as tf

from training.recipes import Recipe


class RecipeSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """A constant warm-up, then either drops at given steps, or a cosine to zero at the last step."""

    def __init__(self, recipe: Recipe):
        self.recipe = recipe

    def __call__(self, step):
        recipe = self.recipe
        step = tf.cast(step, tf.float32)
        if recipe.schedule == "cosine":
            progress = (step - recipe.warmup_steps) / max(recipe.train_steps - recipe.warmup_steps, 1)
            rate = recipe.learning_rate * 0.5 * (1 + tf.cos(math.pi * tf.clip_by_value(progress, 0.0, 1.0)))
        else:
            passed = [tf.cast(step >= drop, tf.float32) for drop in recipe.learning_rate_drops]
            rate = recipe.learning_rate * recipe.drop_factor ** tf.add_n([tf.constant(0.0), *passed])
        return tf.where(step < recipe.warmup_steps, recipe.warmup_learning_rate, rate)
