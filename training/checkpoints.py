"""Checkpoints of a run: the two newest, by tf.train."""

from pathlib import Path

import tensorflow as tf


class Checkpoints:
    """Saves and restores the variables of a run in `folder`.

    Args:
        folder: Made if it is missing.
        variables: By name.
    """

    def __init__(self, folder: Path, variables: dict[str, tf.Variable]):
        self._step = tf.Variable(0, dtype=tf.int64)
        self._checkpoint = tf.train.Checkpoint(step=self._step, variables=variables)
        self._manager = tf.train.CheckpointManager(self._checkpoint, str(folder), max_to_keep=2)

    def restore(self) -> int:
        """Restores the newest checkpoint if there is one; returns the number of steps done."""
        if self._manager.latest_checkpoint:
            self._checkpoint.restore(self._manager.latest_checkpoint).assert_consumed()
        return int(self._step)

    def save(self, step: int) -> None:
        """Saves the state after `step` steps."""
        self._step.assign(step)
        self._manager.save(checkpoint_number=step)
