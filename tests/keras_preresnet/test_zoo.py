"""The named nets."""

import inspect

import keras
import pytest
from library_helpers import assert_close, assert_one_line, normal
from undrawn import undrawn

import keras_preresnet
from keras_preresnet import create_model, list_models
from keras_preresnet.zoo import net_facts

CIFAR = (20, 32, 44, 56, 110, 164, 1001, 1202)
IMAGENET = (18, 34, 50, 101, 152, 200)
NAMES = [f"{prefix}{depth}" for prefix in ("PreResNet", "ResNet") for depth in CIFAR + IMAGENET]
# Of the original nets a few quickly; test_depths.py builds the others.
BUILT = [
    pytest.param(
        name, marks=() if name.startswith("Pre") or name[6:] in ("20", "164", "18", "50") else pytest.mark.slow
    )
    for name in NAMES
]
BOTTLENECKS = (164, 1001, 50, 101, 152, 200)


def test_the_names():
    assert list_models() == NAMES
    assert all(callable(getattr(keras_preresnet, name)) for name in NAMES)


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("PreResNet1*", [f"PreResNet{depth}" for depth in (110, 164, 1001, 1202, 18, 101, 152)]),
        ("preresnet20", ["PreResNet20"]),
        ("resnet?01", ["ResNet101"]),
        ("*ResNet[23]4", ["PreResNet34", "ResNet34"]),
        ("*1001", ["PreResNet1001", "ResNet1001"]),
        ("*net", []),
        ("", []),
    ],
)
def test_list_models_matches_patterns(pattern, names):
    assert list_models(pattern) == names


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("PreResNet20", (20, "cifar", "basic")),
        ("resnet1001", (1001, "cifar", "bottleneck")),
        ("ResNet34", (34, "imagenet", "basic")),
        ("PreResNet200", (200, "imagenet", "bottleneck")),
    ],
)
def test_a_name_says_depth_family_and_branch(name, facts):
    assert net_facts(name) == facts


@pytest.mark.parametrize("name", BUILT)
def test_every_name_builds_its_net(name):
    depth = int(name.split("Net")[1])
    with undrawn():
        model = getattr(keras_preresnet, name)()
    unit = model.get_layer("stage2_unit1")
    assert model.name == name.lower()
    assert unit.design == ("full_preactivation" if name.startswith("Pre") else "original")
    assert unit.branch == ("bottleneck" if depth in BOTTLENECKS else "basic")
    shapes = (model.input_shape, model.output_shape)
    assert shapes == (((None, 32, 32, 3), (None, 10)) if depth in CIFAR else ((None, 224, 224, 3), (None, 1000)))
    expected = "zero_padding" if depth in CIFAR and depth not in BOTTLENECKS else "projection"
    assert unit.widening == expected
    assert unit.stride_place == ("first" if depth in CIFAR else "3x3")


@pytest.mark.parametrize("name", NAMES)
def test_every_net_says_what_it_is(name):
    net = getattr(keras_preresnet, name)
    assert net.__name__ == name
    first = net.__doc__.splitlines()[0]
    assert first.startswith(f"{name}: {name.split('Net')[1]} layers of ")
    arguments = [
        *("include_top", "weights", "input_shape", "pooling"),
        *("classes", "classifier_activation", "name", "options"),
    ]
    assert list(inspect.signature(net).parameters) == arguments
    assert all(f"{argument}:" in net.__doc__ for argument in arguments)


def by_its_factory(net, /, **overrides):
    return getattr(keras_preresnet, net)(**overrides)


@pytest.mark.parametrize("create", [create_model, by_its_factory])
def test_overrides_reach_the_net(create):
    overrides = {
        "design": "relu_before_addition",
        "shortcut": "shortcut_only_gating",
        "shortcut_options": {"gate_bias": -2},
        "widths": (4, 8, 16),
        "stem_width": 4,
        "classes": 3,
        "input_shape": (16, 16, 1),
        "classifier_activation": "softmax",
        "name": "mine",
        "unroll": True,
        "dtype": "mixed_bfloat16",
    }
    model = create("PreResNet20", **overrides)
    unit = model.get_layer("stage1_unit1")
    assert (unit.design, unit.shortcut, unit.shortcut_options) == tuple(overrides[k] for k in list(overrides)[:3])
    assert (unit.filters, unit.compute_dtype, model.name) == (4, "bfloat16", "mine")
    assert (model.input_shape, model.output_shape) == ((None, 16, 16, 1), (None, 3))
    assert_close(keras.ops.sum(model(normal(2, 16, 16, 1)), axis=-1), keras.ops.ones(2))


def test_create_model_ignores_case():
    assert create_model("preresNET20").name == create_model("PreResNet20").name == "preresnet20"


def test_weights_are_loaded(tmp_path):
    options = {"widths": (4, 8, 16), "stem_width": 4, "input_shape": (8, 8, 3)}
    model = create_model("PreResNet20", **options)
    model.save_weights(tmp_path / "net.weights.h5")
    again = create_model("PreResNet20", weights=tmp_path / "net.weights.h5", **options)
    assert_close(again(normal(2, 8, 8, 3)), model(normal(2, 8, 8, 3)), 0)
    with_string = create_model("PreResNet20", weights=str(tmp_path / "net.weights.h5"), **options)
    assert_close(with_string.get_weights(), model.get_weights(), 0)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("PreResNet21", ["PreResNet20"]),
        ("PreResNet1000", ["PreResNet1001"]),
        ("preresnt110", ["PreResNet110"]),
        ("ResNet51", ["ResNet50"]),
        ("PreActResNet18", ["PreResNet18"]),
        ("VGG16", ["PreResNet20", "ResNet200"]),
        (110, ["ResNet110"]),
        (None, ["PreResNet20"]),
    ],
)
def test_an_unknown_name_lists_the_near_ones(name, near):
    with pytest.raises(ValueError, match="unknown") as error:
        create_model(name)
    assert_one_line(error, repr(name), *near)


def test_a_depth_may_be_overridden_only_by_one_of_the_family():
    with pytest.raises(ValueError, match="depth=21") as error:
        create_model("PreResNet20", depth=21)
    assert_one_line(error, "20 and 26")


def test_an_unknown_option_is_refused():
    for option, words in (
        ("wideness", "did you mean widening"),
        ("num_classes", "did you mean classes"),
        ("zzz", "there are depth, family, "),
        ("input_tensor", "call the model on the tensor"),
    ):
        with pytest.raises(TypeError, match=f"^PreResNet20 (has no argument|takes no) {option}[;:] .*{words}"):
            create_model("PreResNet20", **{option: 2})


def test_channels_ahead_of_the_sides_are_told():
    with pytest.warns(UserWarning, match=r"a height of 3, a width of 32 and 32 channels: \(height, width, channels\)"):
        create_model("PreResNet20", input_shape=(3, 32, 32))
