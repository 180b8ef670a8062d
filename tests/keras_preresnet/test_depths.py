"""Depths and parameter counts, as published."""

import numpy as np
import pytest
from library_helpers import assert_one_line
from undrawn import undrawn

from keras_preresnet import ResidualNetwork, create_model
from keras_preresnet.depths import smallest_depth

# CIFAR, 10 classes: depth, branch, full pre-activation with projections, with zero padding, original with projections.
CIFAR = [
    (20, "basic", 272_282, 269_722, 272_474),
    (56, "basic", 855_578, 853_018, None),
    (110, "basic", 1_730_522, 1_727_962, 1_730_714),
    (110, "one_layer", 1_730_522, 1_727_962, 1_730_714),
    (164, "bottleneck", 1_703_258, 1_661_274, 1_704_154),
    (1001, "bottleneck", 10_327_706, 10_285_722, 10_328_602),
    (1202, "basic", 19_423_834, 19_421_274, None),
]
# ImageNet, 1000 classes, projections: depth, full pre-activation, original.
IMAGENET = [
    (18, 11_687_720, 11_689_512),
    (34, 21_795_880, 21_797_672),
    (50, 25_549_352, 25_557_032),
    (101, 44_541_480, 44_549_160),
    (152, 60_185_128, 60_192_808),
    (200, 64_666_152, 64_673_832),
]


def trainable(name, **options):
    """Trainable parameters of a named net."""
    with undrawn():
        model = create_model(name, **options)
    return sum(int(np.prod(w.shape)) for w in model.trainable_weights)


@pytest.mark.parametrize(("depth", "branch", "projection", "zero_padding", "original"), CIFAR)
def test_parameters_of_the_cifar_nets(depth, branch, projection, zero_padding, original):
    """The branch of 110 is overridden once; of every other net it is its own."""
    options = {"branch": branch} if branch == "one_layer" else {}
    assert trainable(f"PreResNet{depth}", widening="projection", **options) == projection
    assert trainable(f"PreResNet{depth}", widening="zero_padding", **options) == zero_padding
    if original is not None:
        assert trainable(f"ResNet{depth}", widening="projection", **options) == original


@pytest.mark.parametrize(("depth", "count"), [(20, 278_132), (110, 1_736_372), (164, 1_726_388), (1001, 10_350_836)])
def test_parameters_with_100_classes(depth, count):
    assert trainable(f"PreResNet{depth}", widening="projection", classes=100) == count


@pytest.mark.parametrize(("depth", "preactivation", "original"), IMAGENET)
def test_parameters_of_the_imagenet_nets(depth, preactivation, original):
    assert trainable(f"PreResNet{depth}") == preactivation
    assert trainable(f"ResNet{depth}") == original


def test_the_papers_10_2_million_are_convolutions_and_classifier():
    with undrawn():
        model = ResidualNetwork(1001, branch="bottleneck", widening="projection")
    counted = [w for w in model.trainable_weights if "kernel" in w.name or w.path.startswith("predictions")]
    assert sum(int(np.prod(w.shape)) for w in counted) == 10_178_490


def units_of(model):
    """Units in each stage, counted by the layers of the built net."""
    stages = {}
    for layer in model.layers:
        if layer.name.startswith("stage"):
            stage = layer.name.split("_")[0]
            stages[stage] = stages.get(stage, 0) + getattr(layer, "count", 1)
    return list(stages.values())


@pytest.mark.parametrize(
    ("depth", "branch", "n"),
    [
        (8, "basic", 1),
        (20, "basic", 3),
        (32, "basic", 5),
        (44, "basic", 7),
        (56, "basic", 9),
        (110, "basic", 18),
        (1202, "basic", 200),
        (110, "one_layer", 36),
        (5, "one_layer", 1),
        (11, "bottleneck", 1),
        (164, "bottleneck", 18),
        (1001, "bottleneck", 111),
    ],
)
def test_units_of_the_cifar_nets(depth, branch, n):
    with undrawn():
        assert units_of(ResidualNetwork(depth, branch=branch)) == [n, n, n]


@pytest.mark.parametrize(
    ("depth", "units", "branch"),
    [
        (18, [2, 2, 2, 2], "basic"),
        (34, [3, 4, 6, 3], "basic"),
        (50, [3, 4, 6, 3], "bottleneck"),
        (101, [3, 4, 23, 3], "bottleneck"),
        (152, [3, 8, 36, 3], "bottleneck"),
        (200, [3, 24, 36, 3], "bottleneck"),
    ],
)
def test_units_of_the_imagenet_nets(depth, units, branch):
    with undrawn():
        model = ResidualNetwork(depth, family="imagenet")
    assert units_of(model) == units
    assert model.get_layer("stage2_unit1").branch == branch


@pytest.mark.parametrize(
    ("depth", "branch", "words"),
    [
        (21, "basic", ["depth=21", "basic", "6n + 2", "20 and 26"]),
        (109, "basic", ["depth=109", "6n + 2", "104 and 110"]),
        (163, "basic", ["depth=163", "6n + 2", "158 and 164"]),
        (112, "bottleneck", ["depth=112", "bottleneck", "9n + 2", "110 and 119"]),
        (1000, "bottleneck", ["depth=1000", "9n + 2", "992 and 1001"]),
        (111, "one_layer", ["depth=111", "one_layer", "3n + 2", "110 and 113"]),
        (1, "basic", ["depth=1", "6n + 2", "8"]),
        (2, "basic", ["depth=2", "6n + 2", "8"]),
        (7, "basic", ["depth=7", "6n + 2", "8"]),
    ],
)
def test_a_depth_that_fits_no_cifar_net_names_its_neighbours(depth, branch, words):
    with pytest.raises(ValueError, match="depth") as error:
        ResidualNetwork(depth, branch=branch)
    assert_one_line(error, *words)


@pytest.mark.parametrize(
    ("depth", "words"),
    [
        (20, ["depth=20", "18, 34, 50, 101, 152, 200", "18 and 34"]),
        (51, ["depth=51", "34 and 50"]),
        (1001, ["depth=1001", "152 and 200"]),
        (1, ["depth=1", "18 and 34"]),
    ],
)
def test_a_depth_that_is_no_imagenet_net_names_its_neighbours(depth, words):
    with pytest.raises(ValueError, match="depth") as error:
        ResidualNetwork(depth, family="imagenet")
    assert_one_line(error, *words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, ["depth=None", "units=None", "exactly one"]),
        ({"depth": 20, "units": (3, 3, 3)}, ["depth=20", "units=(3, 3, 3)", "exactly one"]),
        ({"depth": "20"}, ["depth='20'", "whole number"]),
        ({"depth": 20.0}, ["depth=20.0", "whole number"]),
        ({"depth": -4}, ["depth=-4", "at least 1"]),
        ({"units": (3, 0, 3)}, ["units=0", "at least 1"]),
        ({"units": (3, 1.5, 3)}, ["units=1.5", "whole number"]),
        ({"depth": 20, "branch": "wide"}, ["branch='wide'", "one_layer, basic, bottleneck"]),
        ({"depth": 20, "family": "mnist"}, ["family='mnist'", "cifar, imagenet"]),
    ],
)
def test_what_is_no_depth_is_refused_in_one_line(arguments, words):
    with pytest.raises(ValueError, match=r"=") as error:
        ResidualNetwork(**arguments)
    assert_one_line(error, *words)


@pytest.mark.parametrize("units", [(), 3])
def test_units_that_are_no_list_of_stages_are_refused_in_one_line(units):
    with pytest.raises(ValueError, match="units") as error:
        ResidualNetwork(units=units)
    assert_one_line(error, f"units={units}")


@pytest.mark.parametrize(("depth", "branch"), [(50, "basic"), (18, "bottleneck"), (34, "one_layer")])
def test_an_imagenet_depth_keeps_its_branch(depth, branch):
    """Fifty layers of basic units would be 34: the depths are the paper's names."""
    with pytest.raises(ValueError, match="branch") as error:
        ResidualNetwork(depth, family="imagenet", branch=branch)
    assert_one_line(error, str(depth), repr(branch))


def test_the_smallest_nets_are_those_of_a_unit_a_stage_and_the_smallest_of_the_paper():
    cifar = [smallest_depth("cifar", branch) for branch in ("one_layer", "basic", "bottleneck")]
    assert cifar == [3 * 1 + 2, 3 * 2 + 2, 3 * 3 + 2]
    assert [smallest_depth("imagenet", branch) for branch in ("basic", "bottleneck")] == [18, 50]
