"""The builder's arguments, layer names, shapes, dtypes and errors."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from library_helpers import (
    BRANCH_NAMES,
    DESIGN_NAMES,
    SHORTCUT_NAMES,
    assert_close,
    assert_one_line,
    normal,
    numpy,
)
from undrawn import undrawn

from keras_preresnet import ResidualNetwork

TINY = {"units": (2, 1), "widths": (4, 8), "stem_width": 4, "input_shape": (8, 8, 3), "classes": 5}


def tiny(**options):
    return ResidualNetwork(**{**TINY, **options})


def names(model):
    return [layer.name for layer in model.layers]


@pytest.mark.parametrize("design", DESIGN_NAMES)
def test_layer_names_of_a_cifar_net(design):
    head = ["head_activation"] if design in ("relu_only_preactivation", "full_preactivation") else []
    assert names(ResidualNetwork(20, design=design)) == [
        *("images", "stem_conv", "stem_norm"),
        *("stage1_unit1", "stage1_units", "stage2_unit1", "stage2_units", "stage3_unit1", "stage3_units"),
        *(*head, "avg_pool", "predictions"),
    ]


def test_layer_names_of_an_imagenet_net():
    with undrawn():
        assert names(ResidualNetwork(units=(2, 1, 3, 1), family="imagenet", include_top=False, pooling="max")) == [
            *("images", "stem_pad", "stem_conv", "stem_norm", "stem_pool_pad", "stem_pool"),
            *("stage1_unit1", "stage1_units", "stage2_unit1", "stage3_unit1", "stage3_units", "stage4_unit1"),
            *("head_activation", "max_pool"),
        ]


def test_defaults_of_the_families():
    with undrawn():
        cifar, imagenet = ResidualNetwork(8), ResidualNetwork(18, family="imagenet")
    assert (cifar.input_shape, cifar.output_shape) == ((None, 32, 32, 3), (None, 10))
    assert (imagenet.input_shape, imagenet.output_shape) == ((None, 224, 224, 3), (None, 1000))
    assert cifar.get_layer("stage2_unit1").widening == "zero_padding"
    assert imagenet.get_layer("stage2_unit1").widening == "projection"
    assert cifar.get_layer("predictions").activation is keras.activations.linear


@pytest.mark.parametrize(
    ("arguments", "outputs"),
    [
        ({"depth": 8}, [(32, 16), (16, 32), (8, 64)]),
        ({"depth": 5, "branch": "one_layer"}, [(32, 16), (16, 32), (8, 64)]),
        ({"depth": 11, "branch": "bottleneck"}, [(32, 64), (16, 128), (8, 256)]),
        ({"depth": 18, "family": "imagenet"}, [(56, 64), (28, 128), (14, 256), (7, 512)]),
        ({"depth": 50, "family": "imagenet"}, [(56, 256), (28, 512), (14, 1024), (7, 2048)]),
        ({"units": (1, 1), "widths": (12, 20), "stem_width": 12}, [(32, 12), (16, 20)]),
        ({"units": (1, 1, 1, 1)}, [(32, 16), (16, 32), (8, 64), (4, 128)]),
    ],
)
def test_widths_and_sizes_of_the_stages(arguments, outputs):
    with undrawn():
        model = ResidualNetwork(**arguments)
    units = [model.get_layer(f"stage{stage}_unit1") for stage in range(1, len(outputs) + 1)]
    assert [unit.output.shape[2:] for unit in units] == outputs


@pytest.mark.parametrize(
    ("arguments", "place"),
    [({"depth": 11, "branch": "bottleneck"}, "first"), ({"depth": 50, "family": "imagenet"}, "3x3")],
)
def test_the_stride_place_of_the_families_and_an_own_one(arguments, place):
    with undrawn():
        assert ResidualNetwork(**arguments).get_layer("stage2_unit1").stride_place == place
        other = {"first": "3x3", "3x3": "first"}[place]
        assert ResidualNetwork(**arguments, stride_place=other).get_layer("stage2_unit1").stride_place == other


def test_every_option_reaches_every_unit():
    options = {
        "branch": "bottleneck",
        "design": "relu_only_preactivation",
        "shortcut": "constant_scaling",
        "shortcut_options": {"scale": 0.3, "residual_scale": 0.7},
        "widening": "zero_padding",
        "stride_place": "3x3",
    }
    model = tiny(units=(2, 2), dtype="mixed_bfloat16", unroll=True, remat=True, **options)
    stacks = [model.get_layer(f"stage{stage}_units") for stage in (1, 2)]
    configs = [stack.get_config()["unit"]["config"] for stack in stacks]
    configs += [model.get_layer(f"stage{stage}_unit1").get_config() for stage in (1, 2)]
    assert all({name: config[name] for name in options} == options for config in configs)
    assert all(stack.unroll is True and stack.remat is True for stack in stacks)
    assert model.get_layer("stem_conv").filters == 4
    assert {layer.compute_dtype for layer in model.layers[1:-2]} == {"bfloat16"}


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("design", DESIGN_NAMES)
def test_logits_and_pooled_features_are_float32_whatever_the_policy(design, policy):
    keras.config.set_dtype_policy(policy)
    x = normal(2, 8, 8, 3)
    outputs = [tiny(design=design)(x), tiny(design=design, include_top=False, pooling="avg")(x)]
    assert [y.dtype.name for y in outputs] == ["float32", "float32"]
    feature = tiny(design=design, include_top=False)(x)
    assert feature.dtype.name == policy.removeprefix("mixed_")


def test_logits_are_float64_under_float64():
    assert tiny(dtype="float64")(normal(2, 8, 8, 3)).dtype.name == "float64"


@pytest.mark.parametrize("design", DESIGN_NAMES)
def test_without_a_top_it_ends_in_the_activated_last_feature(design):
    model = tiny(design=design, include_top=False)
    assert model.output_shape == (None, 4, 4, 8)
    y = numpy(model(normal(4, 8, 8, 3), training=True))
    if design != "relu_before_addition":  # Its last feature is a sum of rectified ones and the shortcut's, Fig. 4(c).
        assert y.min() == 0
        assert 0.1 < np.mean(y == 0) < 0.9


@pytest.mark.parametrize("design", DESIGN_NAMES)
def test_pooling_and_top_follow_that_feature(design):
    x = normal(2, 8, 8, 3)
    models = [tiny(design=design, include_top=False, pooling=pooling) for pooling in (None, "avg", "max")]
    for model in models[1:]:
        model.set_weights(models[0].get_weights())
    feature, average, maximum = (numpy(model(x)) for model in models)
    assert_close(average, feature.mean(axis=(1, 2)))
    assert_close(maximum, feature.max(axis=(1, 2)))
    whole = tiny(design=design, classifier_activation="softmax")
    whole.set_weights([*models[0].get_weights(), *whole.get_layer("predictions").get_weights()])
    kernel, bias = map(numpy, whole.get_layer("predictions").weights)
    scores = np.exp(average @ kernel + bias)
    assert_close(whole(x), scores / scores.sum(axis=-1, keepdims=True))


@pytest.mark.parametrize("shape", [(None, None, 3), (12, 20, 3), (8, 8, 1), (9, 7, 6), [8, 8, 3], (None, 16, 3)])
def test_input_shapes(shape):
    model = tiny(input_shape=shape, include_top=False)
    assert model.input_shape == (None, *shape)
    height, width = (side or 11 for side in shape[:2])
    assert model(normal(2, height, width, shape[2])).shape == (2, -(-height // 2), -(-width // 2), 8)


def test_any_image_size_gives_the_same_kind_of_answer():
    model = tiny(input_shape=(None, None, 3))
    run = tf.function(model, input_signature=[tf.TensorSpec([None, None, None, 3])])
    for shape in ((1, 8, 8, 3), (3, 16, 5, 3)):
        assert_close(run(normal(*shape)), model(normal(*shape)))


def check_answers(**options):
    y = numpy(tiny(**options)(normal(4, 8, 8, 3), training=True))
    assert y.shape == (4, 5)
    assert np.isfinite(y).all()
    assert np.ptp(y, axis=0).min() > 0


@pytest.mark.parametrize("shortcut", SHORTCUT_NAMES)
@pytest.mark.parametrize("design", DESIGN_NAMES)
def test_every_design_and_shortcut_makes_a_net(design, shortcut):
    check_answers(design=design, shortcut=shortcut)


@pytest.mark.parametrize("branch", BRANCH_NAMES)
@pytest.mark.parametrize("widening", ["projection", "zero_padding"])
@pytest.mark.parametrize("family", ["cifar", "imagenet"])
def test_every_branch_widening_and_family_makes_a_net(branch, widening, family):
    check_answers(branch=branch, widening=widening, family=family, input_shape=(None, None, 3))


def test_the_classifier_starts_uniform_within_one_over_the_root_of_its_fan():
    kernel, bias = map(numpy, ResidualNetwork(8, classes=400).get_layer("predictions").weights)
    assert kernel.shape == (64, 400)
    assert 0.99 / 8 < np.abs(kernel).max() <= 1 / 8
    assert kernel.std() == pytest.approx(1 / 8 / np.sqrt(3), rel=0.02)
    assert not bias.any()


def test_the_stem_starts_with_its_deviation():
    with_7x7 = ResidualNetwork(units=(1, 1, 1, 1), family="imagenet", widths=(8, 8, 8, 8))
    with_3x3 = ResidualNetwork(units=(1,), stem_width=256, widths=(256,))
    for model, size, width in ((with_3x3, 3, 256), (with_7x7, 7, 64)):
        kernel = numpy(model.get_layer("stem_conv").kernel)
        assert kernel.shape == (size, size, 3, width)
        assert kernel.std() == pytest.approx(np.sqrt(2 / (size**2 * width)), rel=0.05)
        assert model.get_layer("stem_conv").use_bias is False


def test_it_is_a_plain_functional_model():
    x = keras.Input((2,))
    assert type(tiny()) is type(keras.Model(x, keras.layers.ReLU()(x)))


def test_the_name_is_taken():
    assert tiny(name="mine").name == "mine"
    assert tiny().name == "residual_network"


def test_channels_first_is_refused():
    keras.config.set_image_data_format("channels_first")
    with pytest.raises(ValueError, match="channels_last") as error:
        tiny()
    assert_one_line(error, "'channels_first'", "set_image_data_format('channels_last')")


REFUSED = [
    ({"design": "preact"}, ["design='preact'", ", ".join(DESIGN_NAMES)]),
    ({"shortcut": "ident"}, ["shortcut='ident'", ", ".join(SHORTCUT_NAMES), "'identity'"]),
    ({"shortcut_options": {"scale": 1}}, ["'identity'", "scale", "none"]),
    ({"widening": "pad"}, ["widening='pad'", "zero_padding, projection"]),
    ({"stride_place": "second"}, ["stride_place='second'", "first, 3x3"]),
    ({"widths": (4, 8, 16)}, ["widths=(4, 8, 16)", "2 stages"]),
    ({"widths": (4, 0)}, ["=0", "at least 1"]),
    ({"widths": (8, 4), "widening": "zero_padding"}, ["8", "4", "projection"]),
    ({"branch": "bottleneck", "widths": (4, 6)}, ["6", "multiple of 4"]),
    ({"stem_width": -1}, ["stem_width=-1", "at least 1"]),
    ({"classes": 2.5}, ["classes=2.5", "whole number"]),
    ({"input_shape": (8, 8)}, ["input_shape=(8, 8)", "(height, width, channels)"]),
    ({"input_shape": (8, 8, None)}, ["input_shape=(8, 8, None)", "(height, width, channels)"]),
    ({"input_shape": (0, 8, 3)}, ["input_shape=(0, 8, 3)", "(height, width, channels)"]),
    ({"weights": "imagenet"}, ["weights='imagenet'", ".weights.h5"]),
    ({"weights": "/no/such.weights.h5"}, ["/no/such.weights.h5", ".weights.h5"]),
]


@pytest.mark.parametrize(("options", "words"), REFUSED)
def test_bad_arguments_are_refused_in_one_line(options, words):
    with pytest.raises(ValueError, match=r".") as error:
        tiny(**options)
    assert_one_line(error, *words)


@pytest.mark.parametrize("options", [{"classes": 0}, {"stem_width": 0}])
def test_zero_is_not_taken_for_the_default(options):
    with pytest.raises(ValueError, match="at least 1") as error:
        tiny(**options)
    assert_one_line(error, f"{next(iter(options))}=0")


@pytest.mark.parametrize("shape", [(8, 8, -3), 32, (8, "8", 3)])
def test_other_shapes_that_are_no_images_are_refused_in_one_line(shape):
    with pytest.raises(ValueError, match="input_shape") as error:
        tiny(input_shape=shape)
    assert_one_line(error, "(height, width, channels)")


def test_an_unknown_pooling_is_refused_in_one_line():
    with pytest.raises(ValueError, match="pooling='mean'") as error:
        tiny(include_top=False, pooling="mean")
    assert_one_line(error, "avg, max")


def test_numpy_integers_are_whole_numbers():
    assert tiny(classes=np.int64(7)).output_shape == (None, 7)
