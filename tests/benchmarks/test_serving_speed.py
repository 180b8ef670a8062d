"""The benchmark of exported nets: what it says of what it measured."""

import keras
import numpy as np
import tensorflow as tf

from benchmarks import serving
from keras_preresnet import ResidualNetwork
from keras_preresnet.preprocessing import CIFAR10


def test_every_contestant_answers_like_the_net(tmp_path, monkeypatch):
    """LiteRT's place is taken by a runtime that is not installed."""

    def absent(path):
        raise ImportError("the package of x is needed")

    monkeypatch.setitem(serving.FILES, "LiteRT", ("onnx", absent))
    model = ResidualNetwork(units=(2,), widths=(8,), stem_width=8, input_shape=(8, 8, 3))
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    found = serving.contestants(model, images, tmp_path)
    assert list(found) == ["SavedModel", "ONNX Runtime", "OpenVINO", "LiteRT"]
    assert isinstance(found["LiteRT"], str)
    for answer in found.values():
        if callable(answer):
            np.testing.assert_allclose(answer(images), model(CIFAR10(images)), atol=1e-4)


def test_ratios_are_of_speeds_turn_by_turn():
    times = {serving.OURS: [0.5, 1.0, 2.0], "OpenVINO": [0.25, 1.0, 1.0]}
    first, ours, theirs, absent = serving.report("Net", 128, times, {"LiteRT": "not installed"})
    assert first.startswith("Net, batch 128: images/s, median (lowest to highest)")
    assert "128.00 (64.00 to 256.00)" in ours
    assert ours.endswith("1.00 (1.00 to 1.00)")
    assert "128 (128 to 512)" in theirs
    assert theirs.endswith("0.50 (0.50 to 1.00)")
    assert absent.split(maxsplit=1) == ["LiteRT", "not measured: not installed"]
    assert "500 (500 to 500)" in serving.report("Net", 1, {serving.OURS: [0.5]}, {})[1]


def test_every_contestant_has_as_many_turns():
    calls = []
    answers = {name: (lambda images, name=name: calls.append(name)) for name in "ab"}
    times = serving.measure(answers, np.zeros((1, 2, 2, 3), np.uint8), turns=3, seconds=0.0)
    assert {name: len(values) for name, values in times.items()} == {"a": 3, "b": 3}
    assert "".join(calls) == "aaabbb" * 3


def test_a_settled_net_has_small_logits():
    images = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    model = serving.settled_net("PreResNet20", images)
    assert float(tf.reduce_max(tf.abs(model(CIFAR10(images))))) < 20
    assert isinstance(model, keras.Model)
