"""The endpoints of a SavedModel, as a server calls them: bad rows, odd files, empty batches, parallel calls."""

from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest
import tensorflow as tf
from image_files import encode, png
from seeds import draw_anew

from keras_preresnet import ResidualNetwork
from keras_preresnet.export import export_saved_model
from keras_preresnet.preprocessing import Preprocessing

DRAW = np.random.default_rng(0)
NAMES = ("cat", "dog", "émeu")
PREPROCESSING = Preprocessing((100.0, 110.0, 120.0), (50.0, 60.0, 70.0))
SQUARES = DRAW.integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
PHOTO = DRAW.integers(0, 256, (40, 50, 3), dtype=np.uint8)
BAD = {
    "nothing": (b"", "no JPEG, PNG, GIF or BMP"),
    "text": (b"hello", "no JPEG, PNG, GIF or BMP"),
    "a page of text": (b"<html><body>Not found</body></html>", "no JPEG, PNG, GIF or BMP"),
    "cut off": (encode(PHOTO, "JPEG")[:300], "damaged or cut off"),
    "a PNG cut off": (encode(PHOTO, "PNG")[:300], "damaged or cut off"),
    "a GIF cut off": (encode(PHOTO, "GIF")[:8], "damaged or cut off"),
    "a header alone": (b"\xff\xd8\xff", "damaged or cut off"),
    "a huge header": (png(20_000, 20_000, 8, 2, b"\0"), "400000000 pixels are more than the limit of 50000000"),
}
ODD = {
    "one pixel": encode(PHOTO[:1, :1], "PNG"),
    "a long thin one": encode(PHOTO[:1], "PNG"),
    "grey": encode(PHOTO[..., 0], "PNG"),
    "transparent": encode(PHOTO, "PNG", "RGBA"),
    "16 bits": png(2, 2, 16, 0, b"\0\xff\xff\x00\x00" * 2),
    "palette": encode(PHOTO, "PNG", "P"),
    "CMYK": encode(PHOTO, "JPEG", "CMYK"),
    "BMP": encode(PHOTO, "BMP"),
    "GIF": encode(PHOTO, "GIF"),
}


def _net(channels=3, side=8, **options):
    draw_anew(2)
    settings = {"units": (2,), "widths": (8,), "stem_width": 8, "classes": 3, "input_shape": (side, side, channels)}
    return ResidualNetwork(**{**settings, **options})


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    model = _net()
    path = export_saved_model(model, tmp_path_factory.mktemp("net"), PREPROCESSING, NAMES)
    return model, tf.saved_model.load(str(path))


def _ask(served, name, value):
    answers = served[1].signatures[name](**{"image_bytes" if name == "predict_bytes" else "images": tf.constant(value)})
    return {name: answer.numpy() for name, answer in answers.items()}


def _require_same(answers, reference, rows, tolerance=0.0):
    for name in ("logits", "probabilities"):
        np.testing.assert_allclose(answers[name][rows], reference[name], rtol=tolerance, atol=tolerance)
    assert answers["label"][rows].tolist() == reference["label"].tolist()


def test_files_are_answered_like_their_pixels(served):
    files = [encode(square, "PNG") for square in SQUARES]
    answers = _ask(served, "predict_bytes", files)
    _require_same(answers, _ask(served, "predict", SQUARES), slice(None))
    assert answers["valid"].tolist() == [True] * 4
    assert answers["error"].tolist() == [b""] * 4


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_row_is_answered_as_such_and_the_others_bit_for_bit_as_with_a_good_one_in_its_place(served, kind):
    bad, reason = BAD[kind]
    good = [encode(SQUARES[0], "PNG"), encode(PHOTO, "JPEG")]
    answers = _ask(served, "predict_bytes", [good[0], bad, good[1]])
    reference = _ask(served, "predict_bytes", [good[0], good[0], good[1]])
    _require_same(answers, {name: value[[0, 2]] for name, value in reference.items()}, [0, 2])
    without = _ask(served, "predict_bytes", good)
    _require_same(answers, without, [0, 2], 1e-6)
    assert answers["valid"].tolist() == [True, False, True]
    assert answers["error"][1].decode() == reason
    assert np.isnan(answers["probabilities"][1]).all()
    assert np.isnan(answers["logits"][1]).all()
    assert (answers["class_id"][1], answers["label"][1]) == (-1, b"")


@pytest.mark.parametrize("kind", ODD)
def test_odd_files_are_images_too(served, kind):
    answers = _ask(served, "predict_bytes", [ODD[kind]])
    assert answers["valid"].tolist() == [True]
    assert np.isfinite(answers["probabilities"]).all()


def test_a_batch_of_bad_rows_alone(served):
    answers = _ask(served, "predict_bytes", [bad for bad, _ in BAD.values()])
    assert not answers["valid"].any()
    assert [text.decode() for text in answers["error"]] == [reason for _, reason in BAD.values()]


@pytest.mark.parametrize(
    ("name", "empty"),
    [
        ("predict", np.zeros((0, 8, 8, 3), np.uint8)),
        ("embed", np.zeros((0, 8, 8, 3), np.uint8)),
        ("predict_bytes", np.zeros((0,), object)),
    ],
)
def test_an_empty_batch_has_empty_answers(served, name, empty):
    value = tf.zeros([0], tf.string) if name == "predict_bytes" else empty
    answers = _ask(served, name, value)
    assert {len(answer) for answer in answers.values()} == {0}


def test_the_embedding_is_the_pooled_last_feature(served):
    model = served[0]
    pooled = keras.Model(model.inputs, model.get_layer("avg_pool").output)
    expected = pooled(PREPROCESSING(SQUARES), training=False)
    np.testing.assert_allclose(_ask(served, "embed", SQUARES)["embedding"], expected, rtol=1e-4, atol=1e-5)


def test_parallel_calls_with_bad_rows_among_them_do_not_disturb_each_other(served):
    good = [encode(square, "PNG") for square in SQUARES]
    reference = _ask(served, "predict_bytes", [good[1], good[1]])
    bad = [bad for bad, _ in BAD.values()]

    def call(turn):
        return _ask(served, "predict_bytes", [good[1], bad[turn % len(bad)]])

    with ThreadPoolExecutor(8) as pool:
        for answers in pool.map(call, range(60)):
            np.testing.assert_array_equal(answers["probabilities"][0], reference["probabilities"][0])
            assert answers["valid"].tolist() == [True, False]


def test_a_wrong_type_or_rank_is_refused_and_the_next_call_served(served):
    for wrong in (SQUARES.astype("float32") * np.nan, SQUARES.astype("int32"), SQUARES[0]):
        with pytest.raises((TypeError, ValueError, tf.errors.InvalidArgumentError)):
            served[1].signatures["predict"](images=tf.constant(wrong))
    assert np.isfinite(_ask(served, "predict", SQUARES)["probabilities"]).all()


def test_a_file_is_resized_and_cropped_as_in_evaluation(tmp_path):
    """Shorter side 12 of a 24 x 36 image of one colour a quarter: the central 8 x 8 of the 12 x 18."""
    model = _net()
    path = export_saved_model(model, tmp_path, PREPROCESSING, NAMES, short_side=12)
    module = tf.saved_model.load(str(path))
    pixels = np.kron(DRAW.integers(0, 256, (12, 18, 3), dtype=np.uint8), np.ones((2, 2, 1), np.uint8))
    resized = pixels[::2, ::2]
    expected = module.signatures["predict"](images=tf.constant(resized[None, 2:10, 5:13]))
    answers = module.signatures["predict_bytes"](image_bytes=tf.constant([encode(resized, "PNG")]))
    np.testing.assert_allclose(answers["probabilities"], expected["probabilities"], atol=1e-6)


def test_grey_nets_take_coloured_files(tmp_path):
    path = export_saved_model(_net(channels=1), tmp_path, Preprocessing((100.0,), (50.0,)), NAMES)
    module = tf.saved_model.load(str(path))
    grey = tf.cast(tf.round(tf.image.rgb_to_grayscale(tf.cast(SQUARES, tf.float32))), tf.uint8)
    expected = module.signatures["predict"](images=grey)["probabilities"]
    answers = module.signatures["predict_bytes"](image_bytes=tf.constant([encode(s, "PNG") for s in SQUARES]))
    np.testing.assert_allclose(answers["probabilities"], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "endpoints"),
    [
        ({"input_shape": (None, None, 3)}, {"predict", "serving_default", "embed"}),
        ({"input_shape": (8, 12, 3)}, {"predict", "serving_default", "embed"}),
        ({}, {"predict", "serving_default", "embed", "predict_bytes"}),
    ],
)
def test_which_endpoints_a_net_has(tmp_path, options, endpoints):
    path = export_saved_model(_net(**options), tmp_path, PREPROCESSING, NAMES)
    assert set(tf.saved_model.load(str(path)).signatures) == endpoints


def test_the_file_holds_the_weights_once_and_as_constants(tmp_path):
    model = _net(widths=(64,))
    path = export_saved_model(model, tmp_path, PREPROCESSING, NAMES)
    weights = 4 * model.count_params()
    assert weights < (path / "saved_model.pb").stat().st_size < 2 * weights
    assert (path / "variables" / "variables.data-00000-of-00001").stat().st_size < 0.01 * weights
    assert tf.saved_model.load(str(path)).signatures["predict"].variables == ()


def test_a_short_side_within_the_crop_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="short_side=7 is refused: the net's crop of 8 does not fit in"):
        export_saved_model(_net(), tmp_path / "net", PREPROCESSING, NAMES, short_side=7)
    assert not (tmp_path / "net").exists()
