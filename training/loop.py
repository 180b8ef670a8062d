"""The loop: steps, logs, evaluations, checkpoints."""

from dataclasses import dataclass
from pathlib import Path

import keras
import tensorflow as tf

from keras_preresnet.export import float32_copy
from training.batches import training_batches
from training.checkpoints import Checkpoints
from training.data import ImageData
from training.devices import share_from_chief
from training.errors import Diverged, user_errors
from training.evaluation import Evaluator, Score
from training.files import disk_errors, written_at_once
from training.interruption import Stopped, StopSignal
from training.logs import RunLog
from training.meter import Meter
from training.progress import ProgressReport
from training.runs import RunFolder
from training.schedules import learning_rate
from training.step import TrainingStep


@dataclass(frozen=True)
class Intervals:
    """Steps between two evaluations, checkpoints, rows of the log, and looks at the progress; and in one call."""

    evaluation: int
    checkpoint: int
    log: int = 100
    report: int = 10
    call: int = 1

    def until_next(self, done: int, *ends: int) -> int:
        """Returns the steps that can be made in one call without passing over anything, these ends included."""
        grids = (self.evaluation, self.checkpoint, self.log, self.report)
        ahead = [end - done for end in ends if end > done]
        return min(self.call, *(grid - done % grid for grid in grids), *ahead)


@dataclass(frozen=True)
class Outcome:
    """The score of the net at the end, and the lowest test error on the way, in percent, with its step."""

    score: Score
    best_error: float
    best_step: int


class Training:
    """A training from its newest checkpoint, if there is one, to the end of the recipe.

    Args:
        step: Holds the net, the recipe and the strategy.
        data: To train on, and to test on.
        seed: Of the order of the images and of the augmentation.
        folder: An open run folder; None in the processes that are not the chief, which write nothing.
        intervals: In steps.
    """

    def __init__(self, step: TrainingStep, data: ImageData, seed: int, folder: RunFolder | None, intervals: Intervals):
        self.step, self.data, self.seed = step, data, seed
        self.recipe, self.strategy = step.recipe, step.strategy
        self.folder, self.intervals = folder, intervals
        self.evaluator = Evaluator(step.model, data, self.strategy)
        with self.strategy.scope():
            self.best_error = tf.Variable(float("inf"), dtype=tf.float64, trainable=False)
            self.best_step = tf.Variable(0, dtype=tf.int64, trainable=False)
        best = {"best_error": self.best_error, "best_step": self.best_step}
        self.saved = {**step.variables_to_save(), **best}
        self.checkpoints = Checkpoints(folder.path / "checkpoints", self.saved) if folder else None

    def run(self) -> Outcome:
        """Trains to the end.

        Raises:
            Diverged: naming the step, if the loss explodes or a weight is no longer finite.
            UserError: if the disk is full. In both cases the last good checkpoint stays.
            Stopped: if the process was told to stop; a checkpoint of that moment is saved.
        """
        done = self._restore()
        total = self.recipe.train_steps
        score = self._score() if done == total else None
        with StopSignal() as signal, ProgressReport(done, total, silent=not self.folder) as self.progress:
            if done:
                self.progress.say(f"going on after step {done}")
            batches = iter(self._batches(done)) if done < total else None
            while done < total:
                count = self.intervals.until_next(done, self.recipe.head_steps, total)
                stopping = tf.constant(float(signal.received))
                results = self.step(batches, tf.constant(count), stopping, done < self.recipe.head_steps)
                done += count
                loss, waited, stops = (float(result) for result in results)
                self.meter.add(count, waited)
                self._require_good(loss, done)
                score = self._after(done, bool(stops)) or score
        self._close()
        return Outcome(score, float(self.best_error.numpy()), int(self.best_step.numpy()))

    def _restore(self):
        """Everything that stays of an earlier start, in every process."""
        if self.folder:
            with user_errors(OSError, tf.errors.OpError):
                self.checkpoints.restore()
        share_from_chief(self.strategy, self.saved.values())
        self.log = None
        if self.folder:
            with disk_errors(self.folder.path):
                self.log = RunLog(self.folder.path, self.folder.record["settings"]["model"], self.step.done)
        self.meter = Meter(self.recipe.batch_size, self.log.seconds if self.log else 0.0)
        return self.step.done

    def _batches(self, done):
        return self.strategy.distribute_datasets_from_function(
            lambda context: training_batches(self.data, self.recipe, self.seed, done, context)
        )

    def _after(self, done, stops):
        """What is due after this step; the score, if the net was tested."""
        total, score = self.recipe.train_steps, None
        last = done == total
        evaluates = done % self.intervals.evaluation == 0 or last
        saves = done % self.intervals.checkpoint == 0 or last or stops
        if done % self.intervals.report == 0 or last:
            self.data.bad_images.check()
            since = (done - 1) // self.intervals.evaluation * self.intervals.evaluation
            means = self.step.since_evaluation.means()
            self.progress.update(done, since, *means, self._rate(done), *self.meter.columns().values())
        if (evaluates or saves) and not self.step.has_finite_weights():  # The loss is that of the weights before.
            raise _diverged("the weights are no longer finite", done)
        if done % self.intervals.log == 0 or last:
            self._log(done)
        if evaluates:
            score = self._evaluate(done)
            saves = saves or self._is_best(done)  # Else a kill would leave best.keras to a run that knows a worse one.
        if saves and self.folder:
            with disk_errors(self.folder.path):
                self.checkpoints.save(done)
        if stops and not last:
            self._close()
            raise Stopped(f"stopped after step {done} and saved; the same command goes on from there")
        return score

    def _is_best(self, done):
        return int(self.best_step.numpy()) == done

    def _require_good(self, loss, done):
        bad = int(self.step.first_bad_step.numpy())
        if bad:
            raise _diverged(f"the loss of step {bad} is not finite or has exploded (now {loss:g})", done)

    def _rate(self, done):
        """Of the step just made."""
        return float(learning_rate(self.recipe, done - 1))

    def _log(self, done):
        loss, accuracy = self.step.since_log.means()
        norms = zip(self.step.norm_groups, self.step.gradient_norms.numpy().tolist(), strict=True)
        self.step.since_log.reset()
        if self.log:
            row = {"step": done, "loss": loss, "error": 100 * (1 - accuracy), "learning_rate": self._rate(done)}
            row |= {f"gradient_norm_{group}": norm for group, norm in norms}
            with disk_errors(self.folder.path):
                self.log.add_steps(row | self.meter.columns())

    def _score(self):
        return self.evaluator(self.step.weights_to_evaluate())

    def _evaluate(self, done):
        """Tests the net, writes a row of metrics and the curve, and keeps the net if it is the best so far."""
        loss, accuracy = self.step.since_evaluation.means()
        self.step.since_evaluation.reset()
        columns = self.meter.columns()
        with self.meter.paused():
            score = self._score()
            self.data.bad_images.check()
            better = score.error < float(self.best_error.numpy())
            if better:
                self.best_error.assign(score.error)
                self.best_step.assign(done)
            if self.folder:
                row = {
                    "step": done,
                    "epoch": round(done * self.recipe.batch_size / len(self.data.train), 3),
                    "learning_rate": self._rate(done),
                    "train_loss": loss,
                    "train_error": 100 * (1 - accuracy),
                    "test_loss": score.loss,
                    "test_error": score.error,
                }
                with disk_errors(self.folder.path):
                    self.log.add_evaluation(row | columns | {"seconds": round(self.meter.seconds, 1)})
                    if better:
                        save_keras(self.plain_copy(), self.folder.path / "best.keras")
        self.progress.say(f"step {done}: test error {score.error:.2f} % ({score.wrong} of {score.images} wrong)")
        return score

    def plain_copy(self) -> keras.Model:
        """Returns the net as it was last tested, in float32, its variables on one device."""
        return self.evaluator.copy if self.step.replicas == 1 else float32_copy(self.evaluator.copy)

    def _close(self):
        if self.log:
            self.log.close()


def save_keras(model: keras.Model, path: Path) -> None:
    """Writes a `.keras` file at once."""
    with written_at_once(path) as partial:
        model.save(partial)


def _diverged(what, step):
    return Diverged(
        f"{what}, after step {step}",
        "Start again in another --run_dir with a lower --learning_rate, a longer --warmup_steps or --clip_norm=1; "
        "the last good checkpoint is kept.",
    )
