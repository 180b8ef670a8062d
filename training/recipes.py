"""Training recipes as data: a recipe is a row, and every number of it is a flag of `training.train`."""

import dataclasses
import math
import typing
from dataclasses import dataclass, field

from training.errors import UserError

SCHEDULES = ("steps", "cosine")


def _setting(default, text):
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class Recipe:
    """How a net is trained. The defaults are the paper's CIFAR recipe; where each number comes from:

    The paper: translation and flip only; SGD, momentum 0.9, weight decay 1e-4, batch 128, rate 0.1 divided by 10 at
    32k and 48k iterations, warmed up at 0.01 for 400 iterations. [R1] (arXiv 1512.03385): the stop at 64k iterations.
    [FB] (fb.resnet.torch): normalization by channel, flip, zero padding by 4 *after* normalizing, crop; Nesterov
    momentum; decay added to the gradient of *all* parameters, before momentum.

    Deviations: batches run on across the borders of epochs, so that no batch is smaller ([FB] keeps a last partial
    one); batch norm sees the whole batch of 128 on one device (the paper: 64 on each of two).
    """

    batch_size: int = _setting(128, "images in a training step")
    train_steps: int = _setting(64_000, "training steps")
    schedule: str = _setting("steps", "shape of the learning rate after warm-up: steps or cosine (to zero)")
    learning_rate: float = _setting(0.1, "learning rate after warm-up")
    learning_rate_drops: tuple[int, ...] = _setting((32_000, 48_000), "steps at which the learning rate drops")
    drop_factor: float = _setting(0.1, "what the learning rate is multiplied by at each drop")
    warmup_steps: int = _setting(400, "steps at the warm-up learning rate")
    warmup_learning_rate: float = _setting(0.01, "learning rate of the warm-up")
    momentum: float = _setting(0.9, "momentum")
    nesterov: bool = _setting(True, "Nesterov momentum")
    weight_decay: float = _setting(1e-4, "times the parameter, added to its gradient; all parameters")
    crop_padding: int = _setting(4, "zero padding before the random crop; 0 for no crop")
    flip: bool = _setting(True, "random horizontal flip")


RECIPES = {
    "paper_cifar": Recipe(),
    # The handwritten digits of scikit-learn, 8x8: small shifts, no flip (it would make other signs of them).
    "digits": Recipe(
        batch_size=64,
        train_steps=900,
        schedule="cosine",
        learning_rate_drops=(),
        warmup_steps=50,
        weight_decay=5e-4,
        crop_padding=1,
        flip=False,
    ),
}


def setting_type(setting: dataclasses.Field) -> type:
    """Returns the plain type of a recipe's setting: int, float, bool, str or tuple."""
    return typing.get_origin(setting.type) or setting.type


def resolve(name: str, overrides: dict, epochs: float | None, train_images: int) -> Recipe:
    """Returns the recipe `name` with the settings that were given.

    `epochs` is another way to give `train_steps`. If the number of steps is changed, the warm-up and the drops of the
    learning rate keep their place in proportion, unless they are given too.

    Raises:
        UserError: if both epochs and train_steps are given, or a number is out of range.
    """
    base = RECIPES[name]
    if epochs is not None:
        if not math.isfinite(epochs):
            raise UserError(f"--epochs={epochs} is refused: a finite number is needed.")
        if "train_steps" in overrides:
            raise UserError("--epochs and --train_steps are both given; give one of them.")
        batch = overrides.get("batch_size", base.batch_size)
        overrides = {**overrides, "train_steps": round(epochs * train_images / batch)}
    scale = overrides.get("train_steps", base.train_steps) / base.train_steps
    moved = {
        "warmup_steps": round(base.warmup_steps * scale),
        "learning_rate_drops": tuple(round(drop * scale) for drop in base.learning_rate_drops),
    }
    overrides = {**moved, **overrides}
    recipe = dataclasses.replace(base, **overrides)
    _check(recipe)
    return recipe


def _check(recipe):
    limits = {
        "batch_size": (1, math.inf),
        "train_steps": (1, math.inf),
        "learning_rate": (0, math.inf),
        "drop_factor": (0, 1),
        "warmup_steps": (0, math.inf),
        "warmup_learning_rate": (0, math.inf),
        "momentum": (0, 1),
        "weight_decay": (0, math.inf),
        "crop_padding": (0, math.inf),
    }
    for setting, (low, high) in limits.items():
        value = getattr(recipe, setting)
        if not (math.isfinite(value) and low <= value <= high):
            allowed = f"at least {low}" if high == math.inf else f"from {low} to {high}"
            raise UserError(f"--{setting}={value} is refused: it must be {allowed}.")
    if recipe.schedule not in SCHEDULES:
        raise UserError(f"--schedule={recipe.schedule} is unknown; allowed: {', '.join(SCHEDULES)}.")
