import dataclasses

import pytest

from training.recipes import RECIPES, Recipe
from training.schedules import RecipeSchedule


@pytest.mark.parametrize(
    ("step", "rate"),
    [
        (0, 0.01),
        (399, 0.01),
        (400, 0.1),
        (31_999, 0.1),
        (32_000, 0.01),
        (47_999, 0.01),
        (48_000, 0.001),
        (63_999, 0.001),
    ],
)
def test_the_papers_schedule(step, rate):
    assert float(RecipeSchedule(RECIPES["paper_cifar"])(step)) == pytest.approx(rate, rel=1e-5)


@pytest.mark.parametrize(
    ("step", "rate"), [(0, 0.02), (99, 0.02), (100, 0.4), (600, 0.2), (850, 0.058579), (1100, 0.0)]
)
def test_a_cosine_falls_from_the_rate_to_zero(step, rate):
    recipe = Recipe(schedule="cosine", learning_rate=0.4, warmup_steps=100, warmup_learning_rate=0.02, train_steps=1100)
    assert float(RecipeSchedule(recipe)(step)) == pytest.approx(rate, abs=1e-6)


def test_another_drop_factor():
    recipe = dataclasses.replace(RECIPES["paper_cifar"], drop_factor=0.5)
    assert float(RecipeSchedule(recipe)(50_000)) == pytest.approx(0.025)
