"""The register: what it says, and that what it says is so."""

import numpy as np
import pytest
from library_helpers import assert_one_line
from transfer_helpers import PETS

from keras_preresnet import create_model, list_models, register, weights_info
from keras_preresnet.anatomy import describe_net
from keras_preresnet.register import REGISTER, require_whole

ROWS = pytest.mark.parametrize("entry", REGISTER.values(), ids=lambda entry: f"{entry.model}_{entry.weights}")


def test_a_row_is_found_by_its_names_whatever_their_case(packaged):
    entry = weights_info("tiny", "PETS")
    assert (entry.model, entry.weights, entry.class_names, entry.test_error) == ("Tiny", "pets", PETS, 12.5)
    assert entry.file.name == "Tiny_pets.weights.h5"
    assert weights_info("Tiny") == weights_info(weights="pets") == weights_info() == [entry]
    assert weights_info("PreResNet110") == []


def test_a_row_is_shown_line_by_line(packaged):
    shown = str(weights_info("Tiny", "pets"))
    assert "test_error   12.5\n" in shown
    assert "licence      MIT\n" in shown
    assert shown.splitlines()[-1].endswith("Tiny_pets.weights.h5")


def test_what_is_not_packaged_is_refused_and_what_is_is_named(packaged):
    with pytest.raises(ValueError, match="PreResNet20") as error:
        weights_info("PreResNet20", "birds")
    assert_one_line(error, "'birds'", "Tiny 'pets'")


def test_a_missing_file_is_refused_in_one_line(packaged):
    entry = weights_info("Tiny", "pets")
    entry.file.unlink()
    with pytest.raises(ValueError, match="is missing") as error:
        require_whole(entry)
    assert_one_line(error, str(entry.file), "install")


@ROWS
def test_every_packaged_file_is_whole(entry):
    require_whole(entry)
    assert REGISTER[entry.model, entry.weights] is entry
    assert entry.file.parent == register.FOLDER


@ROWS
def test_every_packaged_net_is_the_one_of_its_name(entry):
    assert entry.model in list_models()
    model = create_model(entry.model, classes=len(entry.class_names), weights=entry.weights)
    assert describe_net(model) == entry.net
    assert sum(int(np.prod(w.shape)) for w in model.trainable_weights) == entry.parameters
    assert model.input_shape[1:] == (*entry.size, len(entry.mean))
    assert {w.dtype for w in model.weights} == {"float32"}


@ROWS
def test_rows_of_one_name_need_one_preprocessing(entry):
    for other in weights_info(weights=entry.weights):
        for fact in ("value_range", "mean", "deviation", "class_names"):
            assert getattr(other, fact) == getattr(entry, fact)
