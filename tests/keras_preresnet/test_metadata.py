"""What a net carries: preprocessing and class names, wherever it goes; and what becomes of its outputs."""

import subprocess
import sys

import keras
import numpy as np
import pytest
from library_helpers import assert_one_line, normal
from transfer_helpers import IMAGES, PETS, tiny

from keras_preresnet import (
    ImageInput,
    Preprocessing,
    decode_predictions,
    features,
    model_class_names,
    model_preprocessing,
    reset_classifier,
    set_preprocessing,
)
from keras_preresnet.export import float32_copy

OWN = Preprocessing((1, 2, 3), (4, 5, 6))
READ = """
import sys, keras, keras_preresnet
for path in sys.argv[1:]:
    model = keras.saving.load_model(path)
    facts = keras_preresnet.model_preprocessing(model)
    assert facts == keras_preresnet.Preprocessing((1, 2, 3), (4, 5, 6)), facts
    try:
        print(*keras_preresnet.model_class_names(model))
    except ValueError:
        print("no names")
"""


def carrying(**options):
    model = tiny(**options)
    set_preprocessing(model, OWN, PETS)
    return model


def continued(model):
    """A head of the user's own on the net, in the way of the Keras guides."""
    return keras.Model(model.input, keras.layers.Dense(3, name="own")(model.get_layer("avg_pool").output))


def around(model):
    return keras.Sequential([keras.Input((8, 8, 3)), model, keras.layers.Dense(3)])


def test_it_goes_through_files_into_a_fresh_process(tmp_path):
    model = carrying(dtype="mixed_bfloat16")
    tuned = reset_classifier(model, 2, class_names=("on", "off"))
    nets = [model, float32_copy(model), tuned, continued(model), around(model), features(model)]
    for k, net in enumerate(nets):
        net.save(tmp_path / f"{k}.keras")
    process = subprocess.run(
        [sys.executable, "-c", READ, *sorted(map(str, tmp_path.glob("*.keras")))],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr[-2000:]
    names = " ".join(PETS)
    assert process.stdout.splitlines() == [names, names, "on off", "no names", "no names", "no names"]


def test_it_goes_where_the_input_goes():
    model = carrying()
    for net in (continued(model), around(model), features(model), float32_copy(model), reset_classifier(model, 3)):
        assert model_preprocessing(net) == OWN
    assert model_class_names(float32_copy(model)) == PETS


@pytest.mark.parametrize("make", [continued, around, lambda model: reset_classifier(model, 3)])
def test_names_of_another_classifier_of_as_many_classes_are_void(make):
    with pytest.raises(ValueError, match="carries no class names"):
        model_class_names(make(carrying()))


def test_a_model_that_ends_in_the_net_has_its_names():
    net = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Rescaling(255.0), carrying()])
    assert (model_preprocessing(net), model_class_names(net)) == (OWN, PETS)


def test_a_net_of_ones_own_continued_has_names_of_its_own():
    net = continued(carrying())
    set_preprocessing(net, OWN, "abc")
    assert model_class_names(net) == ("a", "b", "c")


def test_a_clone_is_a_net_without_them_and_can_be_given_them():
    model = keras.models.clone_model(carrying())
    with pytest.raises(ValueError, match="carries no preprocessing") as error:
        model_preprocessing(model)
    assert_one_line(error, "set_preprocessing")
    with pytest.raises(ValueError, match=r"plain keras\.Input") as error:
        set_preprocessing(model, OWN)
    assert_one_line(error, "ImageInput")


def test_a_model_of_ones_own_carries_them():
    images = ImageInput(shape=(4, 4, 3)).output
    model = keras.Model(images, keras.layers.Dense(3)(keras.layers.Flatten()(images)))
    set_preprocessing(model, OWN, PETS)
    assert (model_preprocessing(model), model_class_names(model)) == (OWN, PETS)
    assert model(normal(2, 4, 4, 3)).shape == (2, 3)


def test_a_new_net_carries_nothing():
    with pytest.raises(ValueError, match="carries no preprocessing"):
        model_preprocessing(tiny())
    with pytest.raises(ValueError, match="carries no class names"):
        model_class_names(tiny())


def test_none_leaves_the_names():
    model = carrying()
    set_preprocessing(model, Preprocessing((0, 0, 0), (1, 1, 1)))
    assert model_class_names(model) == PETS


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((Preprocessing((1,), (2,)),), ["1 channels", "the net has 3"]),
        ((OWN, ["cat"]), ["1 class names", "3 classes"]),
        (("cifar10",), ["'cifar10'", "Preprocessing"]),
    ],
    ids=["channels", "classes", "kind"],
)
def test_what_does_not_fit_is_refused_and_nothing_is_set(arguments, words):
    model = tiny()
    with pytest.raises(ValueError, match="refused") as error:
        set_preprocessing(model, *arguments)
    assert_one_line(error, *words)
    with pytest.raises(ValueError, match="carries no preprocessing"):
        model_preprocessing(model)


def test_hand_computed_probabilities():
    """Odds of 1 : 2 : 5."""
    logits = np.log([[2.0, 5.0, 1.0], [1.0, 1.0, 1.0]]).astype("float32")
    first, second = decode_predictions(logits, class_names=PETS)
    assert [entry[:2] for entry in first] == [(1, "dog"), (0, "cat"), (2, "émeu")]
    np.testing.assert_allclose([p for *_, p in first], [5 / 8, 2 / 8, 1 / 8], rtol=1e-6)
    assert [entry[:2] for entry in second] == [(0, "cat"), (1, "dog"), (2, "émeu")]


def test_probabilities_are_left_as_they_are():
    ((best,),) = decode_predictions([[0.25, 0.75, 0.0]], top=1, class_names=PETS, from_logits=False)
    assert best == (1, "dog", 0.75)


def test_huge_logits_do_not_overflow():
    ((best, *_),) = decode_predictions([[1000.0, 0.0, -1000.0]], class_names=PETS)
    assert best == (0, "cat", 1.0)


def test_names_come_from_the_weights_or_the_net(packaged):
    model = carrying()
    predictions = model(IMAGES)
    by_net = decode_predictions(predictions, 2, model=model)
    assert by_net == decode_predictions(predictions, 2, weights="pets")
    assert [len(best) for best in by_net] == [2] * 8


def test_a_model_says_whether_it_gives_logits():
    scores = [[0.25, 0.75, 0.0]]
    for own in (keras.layers.Dense(3, activation="softmax"), keras.layers.Softmax()):
        net = keras.Sequential([ImageInput(shape=(2, 2, 1)).output, keras.layers.Flatten(), keras.layers.Dense(3), own])
        set_preprocessing(net, Preprocessing((0,), (1,)), PETS)
        assert decode_predictions(scores, 1, model=net) == [[(1, PETS[1], 0.75)]]
        ((best,),) = decode_predictions(scores, 1, model=net, from_logits=True)
        assert best[2] < 0.6


def test_what_looks_like_probabilities_and_is_taken_for_logits_is_told():
    with pytest.warns(UserWarning, match="look like probabilities: give from_logits=False"):
        decode_predictions([[0.25, 0.75, 0.0]], class_names=PETS)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"predictions": np.zeros((2, 4)), "class_names": PETS}, ["(2, 4)", "(batch, 3)"]),
        ({"predictions": np.zeros(3), "class_names": PETS}, ["(3,)", "(batch, 3)"]),
        ({"predictions": np.zeros((2, 3)), "class_names": PETS, "top": 0}, ["top=0"]),
        ({"predictions": np.zeros((2, 3))}, ["0 sources", "one is needed", "weights= (there are", "class_names="]),
        ({"predictions": np.zeros((2, 3)), "class_names": PETS, "weights": "pets"}, ["2 sources"]),
    ],
    ids=["classes", "rank", "top", "no names", "two names"],
)
def test_what_cannot_be_decoded_is_refused(arguments, words):
    with pytest.raises(ValueError, match="refused") as error:
        decode_predictions(**arguments)
    assert_one_line(error, *words)


def test_the_net_stays_a_plain_model_of_keras():
    net = tiny()
    assert type(net) is type(keras.Model(net.input, net.output))
