import dataclasses

import pytest

from training.errors import UserError
from training.recipes import RECIPES, resolve


def test_the_papers_recipe_has_its_numbers():
    assert dataclasses.asdict(RECIPES["paper_cifar"]) == {
        "batch_size": 128,
        "train_steps": 64_000,
        "schedule": "steps",
        "learning_rate": 0.1,
        "learning_rate_drops": (32_000, 48_000),
        "drop_factor": 0.1,
        "warmup_steps": 400,
        "warmup_learning_rate": 0.01,
        "momentum": 0.9,
        "nesterov": True,
        "weight_decay": 1e-4,
        "crop_padding": 4,
        "flip": True,
    }


def test_epochs_become_steps_and_the_schedule_keeps_its_proportions():
    recipe = resolve("paper_cifar", {}, 3, 50_000)
    assert recipe.train_steps == 1172  # 3 * 50000 / 128
    assert recipe.learning_rate_drops == (586, 879)
    assert recipe.warmup_steps == 7


def test_what_is_given_is_not_moved():
    given = {"train_steps": 1000, "learning_rate_drops": (900,), "warmup_steps": 5}
    recipe = resolve("paper_cifar", given, None, 50_000)
    assert (recipe.train_steps, recipe.learning_rate_drops, recipe.warmup_steps) == (1000, (900,), 5)


def test_the_whole_recipe_is_left_as_it_is():
    assert resolve("paper_cifar", {}, None, 50_000) == RECIPES["paper_cifar"]


@pytest.mark.parametrize(
    ("overrides", "epochs", "words"),
    [
        ({"train_steps": 10}, 1.0, "--epochs and --train_steps"),
        ({"batch_size": 0}, None, "--batch_size=0"),
        ({"momentum": 1.5}, None, "--momentum=1.5 is refused: it must be from 0 to 1"),
        ({"weight_decay": -1e-4}, None, "--weight_decay=-0.0001"),
        ({"schedule": "linear"}, None, "--schedule=linear is unknown; allowed: steps, cosine"),
        ({}, 0.0, "--train_steps=0"),
        ({}, float("nan"), "--epochs=nan"),
        ({}, float("inf"), "--epochs=inf"),
        ({"learning_rate": float("nan")}, None, "--learning_rate=nan"),
        ({"learning_rate": float("inf")}, None, "--learning_rate=inf"),
    ],
)
def test_what_cannot_work_is_refused(overrides, epochs, words):
    with pytest.raises(UserError, match=words):
        resolve("paper_cifar", overrides, epochs, 50_000)
