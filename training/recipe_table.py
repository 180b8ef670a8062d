"""The recipe study as a table: short runs that differ from the first in one setting of their recipe.

Recipes are chosen by it, and so it never sees the test set: it is trained on nine tenths of the training images, and
tested on the others.
"""

from training.tables import Number, Row, Table


def _row(name, **setting):
    return Row(
        name,
        "PreResNet20",
        (Number(),),
        recipe="quick",
        overrides=setting,
        train_split="train[:45000]",
        test_split="train[45000:]",
        epochs=15,
    )


_ROWS = (
    _row("base"),  # Batch 128, rate 0.2, decay 5e-4, cosine, padding 2.
    # With as many images in fewer or more steps, and the rates in proportion.
    _row("batch_64", batch_size=64),
    _row("batch_256", batch_size=256),
    _row("batch_512", batch_size=512),
    _row("rate_0.05", learning_rate=0.05),
    _row("rate_0.1", learning_rate=0.1),
    _row("rate_0.4", learning_rate=0.4),
    _row("decay_1e-4", weight_decay=1e-4),
    _row("decay_2e-4", weight_decay=2e-4),
    _row("decay_1e-3", weight_decay=1e-3),
    _row("schedule_linear", schedule="linear"),
    _row("schedule_steps", schedule="steps"),  # Which drop at 1/2 and 3/4, see `training.recipes.resolve`.
    _row("no_augmentation", augmentation="none"),
    _row("flip_only", crop_padding=0),
    _row("padding_4", crop_padding=4),
    _row("label_smoothing_0.1", label_smoothing=0.1),
    _row("moving_average", ema_momentum=0.998),  # Over some 1 / (1 - 0.998) = 500 steps, a tenth of the run.
)

RECIPE_TABLE = Table("recipes", "15 epochs of PreResNet20, one setting of the recipe changed", _ROWS, runs=1)
