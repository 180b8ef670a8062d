"""Loading weights: whole and into the net they were saved from, or not at all."""

import keras
import numpy as np
import pytest
from library_helpers import assert_close, assert_one_line, normal, randomize

from keras_preresnet import ResidualNetwork
from keras_preresnet.weights import load_weights


def tiny(**options):
    arguments = {"units": (6, 2), "widths": (4, 8), "stem_width": 4, "input_shape": (8, 8, 3)}
    return ResidualNetwork(**{**arguments, **options})


# What changes no weight: the file fits.
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"name": "another"},
        {"dtype": "mixed_bfloat16"},
        {"unroll": True, "remat": True},
        {"input_shape": (None, None, 3)},
        {"classifier_activation": "softmax"},
        {"shortcut": "constant_scaling"},
        {"shortcut": "dropout"},
    ],
    ids=str,
)
def test_weights_of_the_same_net_are_loaded(options, tmp_path):
    model = randomize(tiny())
    model.save_weights(tmp_path / "net.weights.h5")
    again = tiny(**options, weights=tmp_path / "net.weights.h5")
    assert_close(again.get_weights(), model.get_weights(), 0)


def test_weights_that_training_saved_are_loaded(tmp_path):
    """Those of a compiled model hold its optimizer's state too."""
    model = tiny()
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    keep = keras.callbacks.ModelCheckpoint(tmp_path / "net.weights.h5", save_weights_only=True)
    model.fit(normal(4, 8, 8, 3), normal(4, 10), verbose=0, callbacks=[keep])
    again = tiny(weights=tmp_path / "net.weights.h5")
    assert_close(again.get_weights(), model.get_weights(), 0)


OTHERS = {
    "more units": {"units": (6, 3)},
    "fewer units": {"units": (5, 2)},
    "another width": {"widths": (4, 12)},
    "another design": {"design": "relu_only_preactivation"},
    "original units": {"design": "original"},
    "another branch": {"branch": "one_layer"},
    "a projection": {"widening": "projection"},
    "another shortcut": {"shortcut": "convolution"},
    "other classes": {"classes": 5},
    "other channels": {"input_shape": (8, 8, 1)},
    "a third stage": {"units": (6, 2, 1), "widths": (4, 8, 8)},
    "no second stack": {"units": (6, 1)},
    "no stacks": {"units": (1, 1)},
    "no second stage": {"units": (6,), "widths": (4,)},
}


@pytest.mark.parametrize("options", OTHERS.values(), ids=OTHERS)
def test_weights_of_another_net_are_refused(options, tmp_path):
    tiny().save_weights(tmp_path / "net.weights.h5")
    with pytest.raises(ValueError, match=r"net\.weights\.h5") as error:
        tiny(**options, weights=tmp_path / "net.weights.h5")
    assert_one_line(error)


def test_stacks_at_other_places_do_not_take_each_others_weights(tmp_path):
    """One stack each, of the same shapes: Keras would match them by their order."""
    arguments = {"widths": (4, 4), "stem_width": 4, "input_shape": (8, 8, 3)}
    ResidualNetwork(units=(6, 1), **arguments).save_weights(tmp_path / "net.weights.h5")
    with pytest.raises(ValueError, match=r"net\.weights\.h5"):
        ResidualNetwork(units=(1, 6), **arguments, weights=tmp_path / "net.weights.h5")


@pytest.mark.parametrize("content", [b"", b"no weights", None])
def test_a_damaged_file_is_refused_in_one_line(content, tmp_path):
    file = tmp_path / "net.weights.h5"
    tiny().save_weights(file)
    file.write_bytes(file.read_bytes()[:1000] if content is None else content)
    with pytest.raises(ValueError, match=r"net\.weights\.h5") as error:
        tiny(weights=file)
    assert_one_line(error)


@pytest.mark.parametrize("options", [OTHERS["other classes"], OTHERS["no stacks"]], ids=str)
def test_a_net_that_refuses_a_file_is_as_before(options, tmp_path):
    tiny().save_weights(tmp_path / "net.weights.h5")
    model = randomize(tiny(**options))
    before = model.get_weights()
    with pytest.raises(ValueError, match="another net"):
        load_weights(model, tmp_path / "net.weights.h5")
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), before, strict=True))
