import warnings

import numpy as np
import pytest
import tensorflow as tf

from keras_preresnet.preprocessing import CIFAR10, Preprocessing, preprocess_input


def test_hand_computed_pixels():
    images = np.array([[[[0, 255, 130]]]], np.uint8)
    expected = [[[[-125.3 / 63.0, (255 - 123.0) / 62.1, (130 - 113.9) / 66.7]]]]
    np.testing.assert_allclose(CIFAR10(images), expected, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float32", "float64"])
def test_any_number_type_becomes_float32(dtype):
    made = CIFAR10(np.full((1, 2, 2, 3), 7, dtype))
    assert made.dtype == "float32"
    np.testing.assert_array_equal(made, CIFAR10(np.full((1, 2, 2, 3), 7, "uint8")))


def test_round_trips_through_a_dict():
    assert Preprocessing(**Preprocessing([1.0, 2.0], [3.0, 4.0]).to_dict()) == Preprocessing([1.0, 2.0], [3.0, 4.0])


@pytest.mark.parametrize(("mean", "deviation"), [((1.0,), (1.0, 2.0)), ((1.0,), (0.0,)), ((), ())])
def test_what_cannot_normalize_is_refused(mean, deviation):
    with pytest.raises(ValueError, match="are refused: one mean and one positive deviation"):
        Preprocessing(mean, deviation)


def test_preprocess_input_takes_the_name_of_weights(packaged):
    images = np.array([[[[0, 255, 130]]]], np.uint8)
    expected = [[[[-100 / 50, (255 - 110) / 60, (130 - 120) / 70]]]]
    made = preprocess_input(images, "pets")
    assert made.dtype == "float32"
    np.testing.assert_allclose(made, expected, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float16", "float64"])
@pytest.mark.parametrize("shape", [(2, 2, 2, 3), (2, 2, 3)])
def test_preprocess_input_takes_a_preprocessing(dtype, shape):
    images = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(preprocess_input(images, CIFAR10), CIFAR10(images))


# A uint8 image may be dark, and a black or white one says nothing.
@pytest.mark.parametrize(
    ("images", "warns"),
    [
        (np.linspace(0, 1, 12), True),
        (np.linspace(0.2, 0.9, 12), True),
        (np.linspace(0, 1.5, 12), False),
        (np.linspace(-1, 1, 12), False),
        (np.zeros(12), False),
        (np.ones(12), False),
        (np.array([0, 1] * 6, np.uint8), False),
    ],
    ids=["0 to 1", "within", "above", "below", "black", "ones", "integers"],
)
def test_images_that_look_divided_by_255_warn(images, warns):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        preprocess_input(images.reshape(1, 2, 2, 3), CIFAR10)
    assert ["0 to 255 is needed" in str(warning.message) for warning in caught] == [True] * warns


def test_no_images_are_no_cause_to_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert preprocess_input(np.zeros((0, 2, 2, 3), "float32"), CIFAR10).shape == (0, 2, 2, 3)


def test_preprocess_input_works_in_a_data_set():
    images = np.arange(24).reshape(2, 2, 2, 3)
    (made,) = tf.data.Dataset.from_tensors(images).map(lambda batch: preprocess_input(batch, CIFAR10))
    np.testing.assert_allclose(made, CIFAR10(images), rtol=1e-6)


@pytest.mark.parametrize("shape", [(2, 2, 2, 1), (2, 2), (1, 1, 2, 2, 3)])
def test_images_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"height, width, 3\) is needed"):
        preprocess_input(np.zeros(shape, np.uint8), CIFAR10)


def test_weights_that_there_are_not_are_refused(packaged):
    with pytest.raises(ValueError, match="weights='birds' names no packaged weights; packaged are: Tiny 'pets'"):
        preprocess_input(np.zeros((1, 2, 2, 3), np.uint8), "birds")
