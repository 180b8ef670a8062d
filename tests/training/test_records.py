import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from training_helpers import ManySquares, NestedSquares, rows_of

from training.bad_images import BadImages
from training.encoded import EncodedImages
from training.errors import UserError
from training.records import RecordSource, record_places
from training.tfds_data import find_tfds


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A hundred squares in seven files."""
    folder = tmp_path_factory.mktemp("tfds")
    builder = ManySquares(data_dir=folder)
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(num_shards=7))
    assert builder.info.splits["train"].num_shards == 7
    return folder


def _by_tfds(folder, split):
    """The greys and labels that TFDS reads, file by file."""
    config = tfds.ReadConfig(interleave_cycle_length=1)
    examples = ManySquares(data_dir=folder).as_dataset(split=split, read_config=config).as_numpy_iterator()
    return zip(*((int(example["image"][0, 0, 0]), int(example["label"])) for example in examples), strict=True)


def _source(folder, split):
    return find_tfds("many_squares", str(folder), split, None).train


def _read(source, *indexes):
    images = EncodedImages(source, 4, "scale", True, BadImages())
    return list(images.dataset(rows_of(*indexes), training=False).as_numpy_iterator())


@pytest.mark.parametrize(
    "split", ["train", "train[:10%]", "train[13:57]", "train[-20:]", "train[:20]+train[90:]", "test", "train[14:15]"]
)
def test_every_image_is_found_where_tfds_finds_it(folder, split):
    greys, labels = _by_tfds(folder, split)
    source = _source(folder, split)
    assert len(source) == len(greys)
    order = np.random.default_rng(0).permutation(len(source))
    ((images, found, weights),) = _read(source, order)
    assert images[:, 0, 0, 0].tolist() == [greys[k] for k in order]
    assert found.tolist() == [labels[k] for k in order]
    assert weights.all()


def test_two_slices_share_no_image(folder):
    first, second = (_source(folder, split) for split in ("train[:45]", "train[45:]"))
    records = [source.records(tf.range(len(source), dtype=tf.int64)).numpy().tolist() for source in (first, second)]
    assert (len(records[0]), len(records[1])) == (45, 55)
    assert len({*records[0], *records[1]}) == 100


def test_an_image_is_named_by_its_split_and_place(folder):
    assert _source(folder, "train[:45]").name_of(3) == "train[:45]#3"


def test_features_may_be_nested(tmp_path):
    NestedSquares(data_dir=tmp_path).download_and_prepare()
    found = find_tfds("nested_squares", str(tmp_path), None, None)
    ((images, labels, _),) = _read(found.train, range(10))
    np.testing.assert_array_equal(images[:, 0, 0, 0] > 127, labels == 1)
    assert found.class_names == ("dark", "light")


def test_a_bad_record_is_a_bad_image(tmp_path):
    path = tmp_path / "set.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(b"no example")
        writer.write(_example(b"no image"))
        writer.write(_example(tf.io.encode_png(np.full((4, 4, 3), 9, np.uint8)).numpy()))
    bad = BadImages()
    source = RecordSource("train", [(str(path), 0, 3)], "image", "label", (4, 4, 3))
    images = EncodedImages(source, 4, "scale", True, bad)
    ((pixels, labels, weights),) = images.dataset(rows_of([0, 1, 2]), training=False).as_numpy_iterator()
    assert weights.tolist() == [0, 0, 1]
    assert labels.tolist() == [0, 0, 7]
    assert (pixels[2] == 9).all()
    assert sorted(bad.names) == ["train#0", "train#1"]


def _example(image):
    features = {
        "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[image])),
        "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[7])),
    }
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def test_places_are_those_of_the_data(tmp_path):
    path = tmp_path / "set.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for content in (b"abc", b"", b"defgh"):
            writer.write(content)
    assert record_places(path, 3).tolist() == [[12, 3], [31, 0], [47, 5]]  # 8 + 4 before each, 4 after.
    assert path.read_bytes()[47:52] == b"defgh"


@pytest.mark.parametrize("left", [0, 5, 30, 55])
def test_a_file_that_is_cut_off_is_refused(tmp_path, left):
    path = tmp_path / "set.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for content in (b"abc", b"", b"defgh"):
            writer.write(content)
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(UserError, match=r"set.tfrecord is cut off: it holds \d whole records of 3; prepare the set"):
        record_places(path, 3)


def test_a_file_that_is_not_there_is_refused_in_one_line(tmp_path):
    with pytest.raises(UserError, match="No such file") as caught:
        record_places(tmp_path / "gone", 1)
    assert "\n" not in str(caught.value)
