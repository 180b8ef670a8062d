"""Splits in memory with the interface of `training.data`, a small net, and jobs that test it on them."""

import json
from types import SimpleNamespace

import numpy as np
import tensorflow as tf
from seeds import draw_anew

from keras_preresnet import ResidualNetwork
from keras_preresnet.preprocessing import Preprocessing
from training import evaluation_job
from training.errors import UserError
from training.evaluation_job import EvaluationJob, run

NAMES = tuple("abcdef")
DRAW = np.random.default_rng(0)
IMAGES = DRAW.integers(0, 256, (11, 12, 12, 3), dtype=np.uint8)
LABELS = np.arange(11) % 6
PREPROCESSING = Preprocessing((100.0,) * 3, (60.0,) * 3)  # That of the stand-in.
RECORD = {
    "settings": {"model": "Tiny", "data": "numbered", "test_split": "test[:9]", "seed": 5, "image_size": 8},
    "data": {"preprocessing": {"mean": [90.0] * 3, "deviation": [30.0] * 3}},
    "class_names": list(NAMES),
}


class ArraySplit:
    """Images and labels as arrays; those whose index is in `bad` cannot be decoded."""

    def __init__(self, images, labels, bad=()):
        self.images, self.labels, self.bad = images, labels, bad

    def __len__(self):
        return len(self.images)

    @property
    def image_shape(self):
        return self.images.shape[1:]

    def dataset(self, rows, training=False):
        assert not training
        good = np.array([index not in self.bad for index in range(len(self))], np.float32)

        def read(index, draws):
            weights = tf.gather(good, tf.maximum(index, 0)) * tf.cast(index >= 0, tf.float32)
            return tf.gather(self.images, tf.maximum(index, 0)), tf.gather(self.labels, tf.maximum(index, 0)), weights

        return rows.map(read)


class EncodedSplit(ArraySplit):
    """One whose images are cut from larger ones."""

    def with_evaluation_size(self, side, short_side):
        assert side == short_side
        return EncodedSplit(self.images[:, :side, :side], self.labels, self.bad)


class BadImages:
    """More than `limit` are refused, as in `training.bad_images`."""

    def __init__(self, count=0, limit=0):
        self.count, self.limit = count, limit

    def check(self):
        if self.count > self.limit:
            raise UserError(f"{self.count} images could not be decoded; give --max_bad_images={self.count}.")


def stand_in_data(split, class_names, name="numbered", limit=0):
    """Data to test on, without a training split."""
    channels = split.image_shape[-1]
    return SimpleNamespace(
        name=name,
        class_names=class_names,
        preprocessing=Preprocessing((100.0,) * channels, (60.0,) * channels),
        test=split,
        bad_images=BadImages(len(split.bad), limit),
    )


def small_net(side=8, dtype="float32", **options):
    draw_anew(3)
    settings = {"units": (1, 2), "widths": (8, 16), "stem_width": 8, "classes": 6, "input_shape": (side, side, 3)}
    return ResidualNetwork(dtype=dtype, **{**settings, **options})


def run_job(monkeypatch, tmp_path, net, split, limit=0, **settings):
    """Runs a job on stand-in data; returns what it wrote to evaluation.json and what the data were loaded with."""
    loaded = {}

    def load(name, data_dir=None, **given):
        loaded.update(given)
        return stand_in_data(split, NAMES, name, limit)

    monkeypatch.setattr(evaluation_job, "load_data", load)
    run(
        EvaluationJob(
            str(net), **{"data": "numbered", "output_dir": str(tmp_path / "out"), "batch_size": 4, **settings}
        )
    )
    return json.loads((tmp_path / "out" / "evaluation.json").read_text()), loaded


def save_run(model, folder, record=None):
    folder.mkdir()
    model.save(folder / "model.keras")
    if record is not None:
        (folder / "run.json").write_text(json.dumps(record))
    return folder
