"""Options that cannot work are refused when the unit or net is made, in one line; seeds differ from layer to layer."""

import numpy as np
import pytest

from keras_preresnet import FusedBatchNormalization, ResidualNetwork, ResidualUnit, create_model
from keras_preresnet.zoo import canonical_name


@pytest.mark.parametrize(
    ("shortcut", "options", "words"),
    [
        ("dropout", {"rate": 2}, "rate=2 is refused: a dropout rate in"),
        ("dropout", {"rate": "x"}, "rate='x' is refused: a finite number"),
        ("dropout", {"rate": float("nan")}, "rate=nan is refused: a finite number"),
        ("dropout", {"seed": 1.5}, "seed=1.5 is refused: a whole number or None"),
        ("dropout", ["rate"], "shortcut_options=.'rate'. is refused: a dict"),
        ("constant_scaling", {"scale": None}, "scale=None is refused"),
        ("identity", {"scale": 1}, "shortcut_options of 'identity' got 'scale'; allowed: none"),
    ],
)
@pytest.mark.parametrize("make", [lambda **kw: ResidualUnit(8, **kw), lambda **kw: ResidualNetwork(8, **kw)])
def test_shortcut_options_are_checked_at_once(make, shortcut, options, words):
    with pytest.raises(ValueError, match=words) as caught:
        make(shortcut=shortcut, shortcut_options=options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"widths": 16}, "widths=16 is refused: one width for each of the 3 stages"),
        ({"widths": (16, 32)}, "one width for each of the 3 stages"),
        ({"widening": ""}, "widening='' is unknown"),
        ({"stride_place": ""}, "stride_place='' is unknown"),
    ],
)
def test_empty_and_single_values_are_not_the_default(options, words):
    with pytest.raises(ValueError, match=words):
        ResidualNetwork(8, **options)


@pytest.mark.parametrize("options", [{"momentum": 5}, {"momentum": float("nan")}, {"epsilon": 0}, {"epsilon": -1.0}])
def test_batch_normalization_refuses_what_is_out_of_range(options):
    with pytest.raises(ValueError, match=r"momentum in \[0, 1\] and epsilon > 0 are needed"):
        FusedBatchNormalization(**options)


def test_a_given_seed_is_another_in_every_layer_and_the_same_in_every_net():
    def seeds(seed):
        net = ResidualNetwork(14, shortcut="dropout", shortcut_options={"seed": seed}, unroll=False)
        return [tuple(np.array(v)) for v in net.variables if "seed_generator_state" in v.path]

    first = seeds(3)
    assert len(set(first)) == len(first) == 6
    assert seeds(3) == first
    assert seeds(90) != first


def test_the_canonical_name_ignores_case_and_create_model_uses_it():
    assert canonical_name("preRESNET20") == "PreResNet20"
    assert create_model("RESNET20").name == "resnet20"
