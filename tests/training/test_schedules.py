import dataclasses

import pytest

from training.recipes import RECIPES, Recipe
from training.schedules import learning_rate


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
    assert float(learning_rate(RECIPES["paper_cifar"], step)) == pytest.approx(rate, rel=1e-5)


@pytest.mark.parametrize(
    ("step", "rate"), [(0, 0.02), (99, 0.02), (100, 0.4), (600, 0.2), (850, 0.058579), (1100, 0.0)]
)
def test_a_cosine_falls_from_the_rate_to_zero(step, rate):
    recipe = Recipe(schedule="cosine", learning_rate=0.4, warmup_steps=100, warmup_learning_rate=0.02, train_steps=1100)
    assert float(learning_rate(recipe, step)) == pytest.approx(rate, abs=1e-6)


@pytest.mark.parametrize(("step", "rate"), [(0, 0.1), (50, 0.25), (100, 0.4), (600, 0.2), (850, 0.1), (1100, 0.0)])
def test_one_cycle_rises_and_falls_in_lines(step, rate):
    own = {"schedule": "linear", "warmup": "linear", "learning_rate": 0.4, "warmup_learning_rate": 0.1}
    recipe = Recipe(**own, warmup_steps=100, train_steps=1100)
    assert float(learning_rate(recipe, step)) == pytest.approx(rate, abs=1e-6)


def test_no_warm_up_is_none():
    recipe = Recipe(warmup="linear", warmup_steps=0, learning_rate=0.4, learning_rate_drops=())
    assert float(learning_rate(recipe, 0)) == pytest.approx(0.4)


def test_another_drop_factor():
    recipe = dataclasses.replace(RECIPES["paper_cifar"], drop_factor=0.5)
    assert float(learning_rate(recipe, 50_000)) == pytest.approx(0.025)


@pytest.mark.parametrize(
    ("step", "rate"), [(0, 0.1), (63_280, 0.1), (63_281, 0.01), (95_311, 0.01), (95_313, 0.001), (156_249, 0.001)]
)
def test_1001_layers_drop_at_epochs_81_and_122(step, rate):
    """81 * 50000 / 64 = 63281.25, 122 * 781.25 = 95312.5, 200 * 781.25 = 156250."""
    assert RECIPES["paper_cifar_1001"].train_steps == 156_250
    assert float(learning_rate(RECIPES["paper_cifar_1001"], step)) == pytest.approx(rate, rel=1e-5)
