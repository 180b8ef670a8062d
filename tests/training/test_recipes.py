import dataclasses

import pytest

from training.errors import UserError
from training.recipes import RECIPES, resolve, settings

NO_OPTIONS = {
    "exclude_from_weight_decay": (),
    "clip_norm": 0.0,
    "label_smoothing": 0.0,
    "ema_momentum": 0.0,
    "head_steps": 0,
    "body_rate": 1.0,
    "accumulation_steps": 1,
}


def _settings(recipe):
    return {setting.name: getattr(recipe, setting.name) for setting in settings()}


def test_the_papers_recipe_has_its_numbers():
    assert _settings(RECIPES["paper_cifar"]) == {
        "batch_size": 128,
        "train_steps": 64_000,
        "schedule": "steps",
        "learning_rate": 0.1,
        "learning_rate_drops": (32_000, 48_000),
        "drop_factor": 0.1,
        "warmup": "constant",
        "warmup_steps": 400,
        "warmup_learning_rate": 0.01,
        "momentum": 0.9,
        "nesterov": True,
        "weight_decay": 1e-4,
        "augmentation": "translation",
        "crop_padding": 4,
        "flip": True,
        **NO_OPTIONS,
    }


def test_the_recipe_of_1001_layers_has_its_numbers():
    """Batch 64, rate 0.1, 200 epochs of 781.25 steps, drops at epochs 81 and 122."""
    recipe, notes = resolve("paper_cifar_1001", {}, None, 50_000)
    assert (recipe.batch_size, recipe.learning_rate, recipe.train_steps) == (64, 0.1, 156_250)
    assert recipe.learning_rate_drops == (63_281, 95_312)
    assert recipe.warmup_steps == 0
    assert notes == []


def test_the_recipe_for_imagenet_has_its_numbers():
    """Batch 256, 90 epochs of 5004.6 steps, drops at epochs 30 and 60, no warm-up."""
    recipe, notes = resolve("paper_imagenet", {}, None, 1_281_167)
    assert (recipe.batch_size, recipe.learning_rate, recipe.train_steps) == (256, 0.1, 450_410)
    assert recipe.learning_rate_drops == (150_137, 300_274)
    assert (recipe.warmup_steps, recipe.augmentation, recipe.crop_padding) == (0, "scale", 0)
    assert notes == []


def test_a_recipe_in_epochs_takes_as_many_on_another_set():
    recipe, _ = resolve("paper_imagenet", {}, None, 12_800)  # 50 steps an epoch
    assert (recipe.train_steps, recipe.learning_rate_drops) == (4500, (1500, 3000))


def test_a_recipe_in_steps_takes_as_many_on_another_set():
    assert resolve("paper_cifar", {}, None, 12_800)[0].train_steps == 64_000


def test_another_batch_size_moves_the_rate_and_the_steps_and_says_so():
    recipe, notes = resolve("paper_cifar", {"batch_size": 256}, None, 50_000)
    assert recipe.learning_rate == pytest.approx(0.2)
    assert recipe.warmup_learning_rate == pytest.approx(0.02)
    assert (recipe.train_steps, recipe.learning_rate_drops, recipe.warmup_steps) == (32_000, (16_000, 24_000), 200)
    assert notes == [
        "learning rate 0.1 / 128 * 256 = 0.2, for the batch size is not the recipe's",
        "warm-up at 0.02 instead of 0.01, likewise",
        "32000 steps instead of 64000, for as many images as in the recipe",
    ]


def test_a_rate_that_is_given_is_not_moved_by_the_batch_size():
    recipe, notes = resolve("paper_cifar", {"batch_size": 64, "learning_rate": 0.1, "train_steps": 10}, None, 50_000)
    assert (recipe.learning_rate, recipe.train_steps) == (0.1, 10)
    assert notes == []  # No warm-up is left in ten steps.


def test_epochs_become_steps_and_the_schedule_keeps_its_proportions():
    recipe, _ = resolve("paper_cifar", {}, 3, 50_000)
    assert recipe.train_steps == 1172  # 3 * 50000 / 128
    assert recipe.learning_rate_drops == (586, 879)
    assert recipe.warmup_steps == 7


def test_a_schedule_of_steps_given_to_a_recipe_without_drops_has_the_papers():
    """15 epochs of 351.5625 steps are 5,273; a half of them is 2636.5, three quarters 3954.75."""
    recipe, notes = resolve("quick", {"schedule": "steps"}, 15, 45_000)
    assert (recipe.schedule, recipe.train_steps, recipe.learning_rate_drops) == ("steps", 5273, (2636, 3955))
    assert notes == ["the learning rate drops after 2636 and 3955 steps, as the paper's at 1/2 and 3/4"]
    given = {"schedule": "steps", "learning_rate_drops": (4000,)}
    recipe, notes = resolve("quick", given, 15, 45_000)
    assert (recipe.learning_rate_drops, notes) == ((4000,), [])
    recipe, notes = resolve("quick", {"schedule": "steps", "learning_rate_drops": ()}, 15, 45_000)
    assert (recipe.learning_rate_drops, notes) == ((), [])


def test_what_is_given_is_not_moved():
    given = {"train_steps": 1000, "learning_rate_drops": (900,), "warmup_steps": 5}
    recipe, _ = resolve("paper_cifar", given, None, 50_000)
    assert (recipe.train_steps, recipe.learning_rate_drops, recipe.warmup_steps) == (1000, (900,), 5)


@pytest.mark.parametrize(("name", "images"), [("paper_cifar", 50_000), ("quick", 50_000), ("digits", 1437)])
def test_the_whole_recipe_is_left_as_it_is(name, images):
    recipe, notes = resolve(name, {}, None, images)
    assert recipe == dataclasses.replace(RECIPES[name], epochs=None)
    assert notes == []


@pytest.mark.parametrize(
    ("overrides", "epochs", "words"),
    [
        ({"train_steps": 5}, 2.0, "--epochs and --train_steps are both given"),
        ({"batch_size": 0}, None, "--batch_size=0 is refused: it must be at least 1"),
        ({"learning_rate": -0.1}, None, "--learning_rate=-0.1"),
        ({"momentum": 1.5}, None, "--momentum=1.5 is refused: it must be from 0 to below 1"),
        ({"ema_momentum": 1.0}, None, "--ema_momentum=1.0 is refused: it must be from 0 to below 1"),
        ({"weight_decay": -1e-4}, None, "--weight_decay=-0.0001"),
        ({"clip_norm": -1.0}, None, "--clip_norm=-1.0"),
        ({"label_smoothing": 1.5}, None, "--label_smoothing=1.5"),
        ({"ema_momentum": 2.0}, None, "--ema_momentum=2.0"),
        ({"accumulation_steps": 0}, None, "--accumulation_steps=0"),
        ({"schedule": "square"}, None, "--schedule=square is unknown; allowed: steps, cosine, linear"),
        ({"warmup": "long"}, None, "--warmup=long is unknown; allowed: constant, linear"),
        (
            {"augmentation": "crop"},
            None,
            "--augmentation=crop is unknown; allowed: translation, none, scale, inception",
        ),
        ({"exclude_from_weight_decay": ("(",)}, None, r"--exclude_from_weight_decay=\( is no regular expression"),
        (
            {"schedule": "cosine", "learning_rate_drops": (5,)},
            None,
            "--learning_rate_drops and --schedule=cosine exclude",
        ),
        ({"schedule": "linear", "drop_factor": 0.2}, None, "--drop_factor and --schedule=linear exclude each other"),
        ({"augmentation": "scale", "crop_padding": 4}, None, "--crop_padding and --augmentation=scale exclude"),
        ({}, 0.0, "--train_steps=0"),
        ({}, float("nan"), "--epochs=nan"),
        ({}, float("inf"), "--epochs=inf"),
        ({"learning_rate": float("nan")}, None, "--learning_rate=nan"),
        ({"learning_rate": float("inf")}, None, "--learning_rate=inf"),
    ],
)
def test_what_cannot_work_is_refused(overrides, epochs, words):
    with pytest.raises(UserError, match=words) as caught:
        resolve("paper_cifar", overrides, epochs, 50_000)
    assert "\n" not in str(caught.value)
