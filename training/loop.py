"""The loop: steps, evaluations, checkpoints."""

import math
import time
from dataclasses import dataclass

from training.batches import training_batches
from training.checkpoints import Checkpoints
from training.data import ImageData
from training.errors import UserError
from training.evaluation import Evaluator, Score
from training.plots import draw_learning_curve
from training.progress import ProgressReport
from training.recipes import Recipe
from training.runs import RunFolder
from training.step import TrainingStep


@dataclass(frozen=True)
class Intervals:
    """Steps between two evaluations, two checkpoints, and two looks at the loss."""

    evaluation: int
    checkpoint: int
    report: int = 10


def train(
    step: TrainingStep, data: ImageData, recipe: Recipe, seed: int, folder: RunFolder, intervals: Intervals
) -> Score:
    """Trains to the end of the recipe, from the newest checkpoint if there is one; returns the last evaluation.

    Raises:
        UserError: naming the step, if the loss or a weight is no longer finite; the last checkpoint, which is, stays.
    """
    checkpoints = Checkpoints(folder.path / "checkpoints", step.variables_to_save())
    start = checkpoints.restore()
    folder.keep_metrics(start)
    evaluator = Evaluator(step.model, data.preprocessing)
    score = evaluator(data.test_images, data.test_labels) if start == recipe.train_steps else None
    with ProgressReport(start, recipe.train_steps) as progress:
        if start:
            progress.say(f"going on after step {start}")
        meter = _Meter(start, recipe.batch_size, folder.seconds())
        for done, (images, labels) in enumerate(training_batches(data, recipe, seed, start), start + 1):
            rate = step.learning_rate
            loss = step(images, labels)
            if done == start + 1:
                meter.restart(done)  # The first step was spent on building the graph.
            last = done == recipe.train_steps
            if done % intervals.report == 0 or last:
                _require(math.isfinite(float(loss)), "loss", done)
                progress.update(done, *step.metrics(), rate, meter.rate(done))
            evaluates = done % intervals.evaluation == 0 or last
            saves = done % intervals.checkpoint == 0 or last
            if evaluates or saves:  # The loss is that of the weights before the step; what is kept are those after it.
                _require(step.has_finite_weights(), "weights", done)
            if evaluates:
                score = _evaluate(step, data, evaluator, folder, done, rate, meter, recipe)
                progress.say(f"step {done}: test error {score.error:.2f} % ({score.wrong} of {score.images} wrong)")
            if saves:
                checkpoints.save(done)
    return score


def _require(finite, what, step):
    if not finite:
        raise UserError(
            f"the {what} became infinite or NaN by step {step}. Start again in another --run_dir with a lower "
            "--learning_rate or a longer --warmup_steps; the last checkpoint is kept."
        )


def _evaluate(step, data, evaluator, folder, done, rate, meter, recipe):
    """Writes a row of metrics and the curve."""
    speed = meter.rate(done)
    loss, accuracy = step.metrics()
    step.reset_metrics()
    score = evaluator(data.test_images, data.test_labels)
    folder.add_metrics(
        {
            "step": done,
            "epoch": round(done * recipe.batch_size / len(data.train_images), 3),
            "learning_rate": rate,
            "train_loss": loss,
            "train_error": 100 * (1 - accuracy),
            "test_loss": score.loss,
            "test_error": score.error,
            "images_per_second": round(speed, 1),
            "seconds": round(meter.seconds, 1),
        }
    )
    draw_learning_curve(folder.metrics(), folder.path / "learning_curve.png", folder.record["settings"]["model"])
    meter.restart(done)
    return score


class _Meter:
    """Images a second since the last evaluation, and seconds of training, those before a break included."""

    def __init__(self, start, batch_size, seconds_before):
        self.batch_size = batch_size
        self.began = time.monotonic() - seconds_before
        self.restart(start)

    def restart(self, step):
        self.step, self.time = step, time.monotonic()

    def rate(self, step):
        return (step - self.step) * self.batch_size / max(time.monotonic() - self.time, 1e-9)

    @property
    def seconds(self):
        return time.monotonic() - self.began
