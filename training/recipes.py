"""Training recipes as data: a recipe is a row, and every number of it is a flag of `training.train`."""

import dataclasses
import math
import re
import typing
from dataclasses import dataclass, field

from training.data import AUGMENTATIONS
from training.errors import UserError

SCHEDULES = ("steps", "cosine", "linear")
WARMUPS = ("constant", "linear")


def _setting(default, text, choices=None):
    return field(default=default, metadata={"help": text, "choices": choices})


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

    batch_size: int = _setting(128, "images in a training step, over all devices")
    train_steps: int = _setting(64_000, "training steps")
    schedule: str = _setting("steps", "shape of the learning rate after warm-up; cosine and linear end at 0", SCHEDULES)
    learning_rate: float = _setting(0.1, "learning rate after warm-up")
    learning_rate_drops: tuple[int, ...] = _setting((32_000, 48_000), "steps at which the learning rate drops")
    drop_factor: float = _setting(0.1, "what the learning rate is multiplied by at each drop")
    warmup: str = _setting("constant", "shape of the warm-up; linear: up to the learning rate", WARMUPS)
    warmup_steps: int = _setting(400, "steps of the warm-up")
    warmup_learning_rate: float = _setting(0.01, "learning rate of the warm-up, or at its begin if it is linear")
    momentum: float = _setting(0.9, "momentum")
    nesterov: bool = _setting(True, "Nesterov momentum")
    weight_decay: float = _setting(1e-4, "times the parameter, added to its gradient")
    exclude_from_weight_decay: tuple[str, ...] = _setting((), "regular expressions of variable paths without decay")
    clip_norm: float = _setting(0.0, "largest norm of the whole gradient, which is scaled down to it; 0: none")
    label_smoothing: float = _setting(0.0, "share of the target that is spread over all classes")
    ema_momentum: float = _setting(
        0.0, "of a moving average of weights and statistics, evaluated and exported; 0: none"
    )
    head_steps: int = _setting(0, "first steps, in which the classifier alone is trained and the body is frozen")
    body_rate: float = _setting(1.0, "times the learning rate, for everything but the classifier")
    accumulation_steps: int = _setting(1, "parts of a batch computed one after another, to save memory")
    augmentation: str = _setting("translation", "what a training image goes through", AUGMENTATIONS)
    crop_padding: int = _setting(4, "zero padding before the random crop of translation; 0: no crop")
    flip: bool = _setting(True, "random horizontal flip")
    # How many epochs the steps are on the set that the recipe was made for; None: it counts steps, whatever the set.
    epochs: float | None = None


def _in_epochs(epochs, drop_epochs, warmup_epochs, images, batch_size, head_epochs=0, **settings):
    """A recipe whose source counts in epochs."""
    per_epoch = images / batch_size
    return Recipe(
        batch_size=batch_size,
        train_steps=round(epochs * per_epoch),
        learning_rate_drops=tuple(round(drop * per_epoch) for drop in drop_epochs),
        warmup_steps=round(warmup_epochs * per_epoch),
        head_steps=round(head_epochs * per_epoch),
        epochs=epochs,
        **settings,
    )


RECIPES = {
    "paper_cifar": Recipe(),
    # The paper's second result of 1001 layers (4.62 %): batch 64, rate 0.1. Its 200 epochs and drops at epochs 81 and
    # 122 are those of the authors' file [LUA]; the rate is the batch's own and not scaled.
    "paper_cifar_1001": _in_epochs(200, (81, 122), 0, images=50_000, batch_size=64),
    # The paper: batch 256, rate 0.1 divided by 10 at epochs 30 and 60, no warm-up, the scale augmentation. [FB]: 90
    # epochs. For the last row of Table 5 give --augmentation=inception.
    "paper_imagenet": _in_epochs(
        90, (30, 60), 0, images=1_281_167, batch_size=256, augmentation="scale", crop_padding=0
    ),
    # For small machines; docs/recipes.md tells how it was chosen.
    "quick": _in_epochs(
        30,
        (),
        1,
        images=50_000,
        batch_size=128,
        schedule="cosine",
        learning_rate=0.2,
        warmup="linear",
        warmup_learning_rate=0.02,
        weight_decay=5e-4,
        crop_padding=2,
    ),
    # For nets that are trained already: first the new classifier alone, then everything, the body more slowly.
    "fine_tune": _in_epochs(
        20,
        (),
        1,
        images=3_000,
        batch_size=32,
        head_epochs=4,
        schedule="cosine",
        learning_rate=0.05,
        warmup="linear",
        warmup_learning_rate=0.005,
        weight_decay=5e-4,
        body_rate=0.2,
    ),
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


def settings() -> list[dataclasses.Field]:
    """Returns the settings of a recipe that are flags."""
    return [setting for setting in dataclasses.fields(Recipe) if setting.metadata]


def setting_type(setting: dataclasses.Field) -> type:
    """Returns the plain type of a recipe's setting: int, float, bool, str or tuple."""
    return typing.get_origin(setting.type) or setting.type


def resolve(name: str, overrides: dict, epochs: float | None, train_images: int) -> tuple[Recipe, list[str]]:
    """Returns the recipe `name` with the settings that were given, and a line for each number that moved with them.

    `epochs` is another way to give `train_steps`. Unless they are given too,
    * a recipe in epochs takes as many on another set, one in steps as many images with another batch size;
    * the warm-up, the steps of the classifier alone and the drops of the learning rate keep their place in proportion
      to `train_steps`;
    * the learning rates are those of the recipe, divided by its batch size, times the batch size;
    * a schedule of steps, given to a recipe with another, drops where the paper's does, at 1/2 and 3/4 of the steps.

    Raises:
        UserError: if two settings exclude each other, or a number is out of range.
    """
    base = RECIPES[name]
    _check(dataclasses.replace(base, **overrides))
    _require_compatible(base, overrides, epochs)
    batch_size = overrides.get("batch_size", base.batch_size)
    moved = {}
    if epochs is not None:
        moved["train_steps"] = round(epochs * train_images / batch_size)
    elif base.epochs is not None:
        moved["train_steps"] = round(base.epochs * train_images / batch_size)
    else:
        moved["train_steps"] = round(base.train_steps * base.batch_size / batch_size)
    steps = overrides.get("train_steps", moved["train_steps"])
    moved["warmup_steps"] = round(base.warmup_steps * steps / base.train_steps)
    moved["head_steps"] = round(base.head_steps * steps / base.train_steps)
    moved["learning_rate_drops"] = _drops(base, overrides, steps)
    for rate in ("learning_rate", "warmup_learning_rate"):
        moved[rate] = getattr(base, rate) / base.batch_size * batch_size
    recipe = dataclasses.replace(base, **{**moved, **overrides}, epochs=None)
    _check(recipe)
    return recipe, _notes(base, recipe, overrides)


def default_interval(train_images: int, batch_size: int) -> int:
    """Returns the steps between two evaluations where nothing is said: an epoch, but not fewer than 100."""
    return max(-(-train_images // batch_size), 100)


def _takes_the_papers_drops(base, overrides):
    """Without drops a schedule of steps would be a constant rate, and never end low."""
    return overrides.get("schedule") == "steps" != base.schedule and "learning_rate_drops" not in overrides


def _drops(base, overrides, steps):
    source = RECIPES["paper_cifar"] if _takes_the_papers_drops(base, overrides) else base
    return tuple(round(drop * steps / source.train_steps) for drop in source.learning_rate_drops)


def _notes(base, recipe, overrides):
    """What the user did not ask for by name."""
    lines = []
    if _takes_the_papers_drops(base, overrides):
        drops = " and ".join(map(str, recipe.learning_rate_drops))
        lines.append(f"the learning rate drops after {drops} steps, as the paper's at 1/2 and 3/4")
    if recipe.batch_size == base.batch_size:
        return lines
    if "learning_rate" not in overrides:
        rule = f"{base.learning_rate:g} / {base.batch_size} * {recipe.batch_size}"
        lines.append(f"learning rate {rule} = {recipe.learning_rate:g}, for the batch size is not the recipe's")
    if recipe.warmup_steps and "warmup_learning_rate" not in overrides:
        lines.append(f"warm-up at {recipe.warmup_learning_rate:g} instead of {base.warmup_learning_rate:g}, likewise")
    if base.epochs is None and recipe.train_steps != base.train_steps and "train_steps" not in overrides:
        lines.append(f"{recipe.train_steps} steps instead of {base.train_steps}, for as many images as in the recipe")
    return lines


def _require_compatible(base, overrides, epochs):
    if epochs is not None and not math.isfinite(epochs):
        raise UserError(f"--epochs={epochs} is refused: a finite number is needed.")
    if epochs is not None and "train_steps" in overrides:
        raise UserError("--epochs and --train_steps are both given; give one of them.")
    merged = {**dataclasses.asdict(base), **overrides}
    if merged["schedule"] != "steps":
        for drop in ("learning_rate_drops", "drop_factor"):
            if overrides.get(drop):
                raise UserError(
                    f"--{drop} and --schedule={merged['schedule']} exclude each other: only --schedule=steps drops."
                )
    if overrides.get("crop_padding") and merged["augmentation"] != "translation":
        raise UserError(
            f"--crop_padding and --augmentation={merged['augmentation']} exclude each other: "
            "only --augmentation=translation pads."
        )


BELOW_ONE = ("momentum", "ema_momentum", "label_smoothing")  # At 1 the past never fades, or all labels are alike.


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
        "clip_norm": (0, math.inf),
        "label_smoothing": (0, 1),
        "ema_momentum": (0, 1),
        "head_steps": (0, math.inf),
        "body_rate": (0, math.inf),
        "accumulation_steps": (1, math.inf),
        "crop_padding": (0, math.inf),
    }
    for setting, (low, high) in limits.items():
        value = getattr(recipe, setting)
        open_end = setting in BELOW_ONE
        if not (math.isfinite(value) and low <= value <= high) or (open_end and value == high):
            allowed = f"at least {low}" if high == math.inf else f"from {low} to {'below ' * open_end}{high}"
            raise UserError(f"--{setting}={value} is refused: it must be {allowed}.")
    for setting in settings():
        value, allowed = getattr(recipe, setting.name), setting.metadata["choices"]
        if allowed and value not in allowed:
            raise UserError(f"--{setting.name}={value} is unknown; allowed: {', '.join(allowed)}.")
    for pattern in recipe.exclude_from_weight_decay:
        try:
            re.compile(pattern)
        except re.error as error:
            raise UserError(f"--exclude_from_weight_decay={pattern} is no regular expression: {error}.") from error
