"""A run that is broken off and gone on with ends bit for bit where an unbroken one does."""

import dataclasses
from contextlib import closing

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from training_helpers import numbered_data

from keras_preresnet import ResidualNetwork
from training.errors import UserError
from training.loop import Intervals, train
from training.recipes import Recipe
from training.runs import RunFolder
from training.step import TrainingStep, make_optimizer

DATA = numbered_data(40, test_count=11, classes=3)
RECIPE = Recipe(batch_size=8, train_steps=10, warmup_steps=0, learning_rate_drops=(6,), crop_padding=1)
RECORD = {"status": "running", "settings": {"model": "small"}, "data": {"sha256": "0"}}
INTERVALS = Intervals(evaluation=5, checkpoint=3, report=2)


class _BreakingStep(TrainingStep):
    """Breaks off at the call after `calls_left` calls, as Ctrl-C would."""

    calls_left = 10**9

    def __call__(self, images, labels):
        if self.calls_left == 0:
            raise KeyboardInterrupt
        self.calls_left -= 1
        return super().__call__(images, labels)


def _run(path, recipe=RECIPE, stop_after=10**9, precision="float32", intervals=INTERVALS):
    keras.utils.set_random_seed(4)
    net = {"units": (3,), "widths": (8,), "stem_width": 8, "classes": 3, "input_shape": (8, 8, 1)}
    step = _BreakingStep(ResidualNetwork(**net, shortcut="dropout", dtype=precision), make_optimizer(recipe, precision))
    step.calls_left = stop_after
    with closing(RunFolder(path)) as folder:
        folder.open(RECORD)
        return step, folder, train(step, DATA, recipe, 7, folder, intervals)


def _state(step):
    return {name: np.array(variable) for name, variable in step.variables_to_save().items()}


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("stop_after", [2, 8])
def test_a_broken_run_ends_as_an_unbroken_one(tmp_path, stop_after, precision):
    whole, whole_folder, whole_score = _run(tmp_path / "whole", precision=precision)
    with pytest.raises(KeyboardInterrupt):
        _run(tmp_path / "broken", stop_after=stop_after, precision=precision)
    again, again_folder, again_score = _run(tmp_path / "broken", precision=precision)
    assert again_score == whole_score
    states = _state(whole), _state(again)
    assert any("seed" in name for name in states[0])
    for name, value in states[0].items():
        assert np.isfinite(value).all(), name
        np.testing.assert_array_equal(value, states[1][name], err_msg=name)
    untimed = [
        folder.metrics().drop(columns=["images_per_second", "seconds"]) for folder in (whole_folder, again_folder)
    ]
    pd.testing.assert_frame_equal(*untimed)


def test_metrics_have_a_row_for_each_evaluation_and_one_for_the_end(tmp_path):
    _, folder, score = _run(tmp_path, dataclasses.replace(RECIPE, train_steps=12))
    rows = folder.metrics()
    assert rows["step"].tolist() == [5, 10, 12]
    assert rows["epoch"].tolist() == [1.0, 2.0, 2.4]
    assert rows["learning_rate"].tolist() == pytest.approx([0.1, 0.01, 0.01])
    assert rows["test_error"].iloc[-1] == pytest.approx(score.error)
    assert (tmp_path / "learning_curve.png").read_bytes().startswith(b"\x89PNG")


def test_a_finished_run_is_only_evaluated(tmp_path):
    first, _, score = _run(tmp_path)
    again, folder, same = _run(tmp_path)
    assert same == score
    assert len(folder.metrics()) == 2
    np.testing.assert_array_equal(first.model.get_weights()[0], again.model.get_weights()[0])


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    with pytest.raises(
        UserError, match=r"(loss|weights) became infinite or NaN by step \d+\. .* lower --learning_rate"
    ):
        _run(tmp_path, dataclasses.replace(RECIPE, learning_rate=1e30))


def test_no_checkpoint_holds_weights_that_are_not_finite(tmp_path):
    """The first step has a finite loss and ruins the weights: the next look at the loss would come too late."""
    with pytest.raises(UserError, match=r"the weights became infinite or NaN by step \d+\. .* another --run_dir"):
        _run(
            tmp_path,
            dataclasses.replace(RECIPE, learning_rate=1e30),
            intervals=Intervals(100, checkpoint=1, report=100),
        )
    for checkpoint in tf.train.get_checkpoint_state(tmp_path / "checkpoints").all_model_checkpoint_paths:
        reader = tf.train.load_checkpoint(checkpoint)
        values = [reader.get_tensor(key) for key in reader.get_variable_to_shape_map() if "VARIABLE_VALUE" in key]
        assert values
        assert all(np.isfinite(value).all() for value in values)


def test_seconds_go_on_after_a_break(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        _run(tmp_path, stop_after=8)
    before = RunFolder(tmp_path).metrics()["seconds"].iloc[0]
    _, folder, _ = _run(tmp_path)
    assert folder.metrics()["seconds"].is_monotonic_increasing
    assert folder.metrics()["seconds"].iloc[0] == before
