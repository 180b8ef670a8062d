import numpy as np
import pytest

from keras_preresnet.preprocessing import CIFAR10, Preprocessing


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
