"""The same training on one device, on two replicas of one process, and in two processes on this machine.

Each replica normalizes its own share of the batch, so the reference for two replicas is one device that computes a
batch in two parts, one after another; with synchronised batch norm it is the plain batch. What the two parts do to the
moving statistics is recomputed here: one device moves them twice, two replicas by the mean.

Tolerance in float32, of losses and weights after ten steps: 1e-5; of losses under XLA: 1e-3.
"""

import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from device_helpers import Found, read, run_workers, start
from programs import environment

from training import devices
from training.devices import choose_strategy, is_chief, steps_per_call, usable_cores, uses_xla, workers
from training.errors import UserError

PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
FLOAT32_QUICK = ["float32", *(pytest.param(precision, marks=pytest.mark.slow) for precision in PRECISIONS[1:])]
TOLERANCE = {"float32": 1e-5, "mixed_bfloat16": 0.05, "mixed_float16": 0.02}  # Of losses, against float32.
XLA = {"float32": 1e-3, "mixed_bfloat16": 0.05, "mixed_float16": 0.02}  # Of losses, against the same without XLA.
IN_PARTS = {"recipe": {"accumulation_steps": 2}}
SYNCHRONISED = {"sync_batch_norm": True, "net": {"unroll": True}}
SLOW_HERE = {
    **{f"one {precision}": {"precision": precision} for precision in PRECISIONS[1:]},
    **{f"mirrored XLA {p}": {"cpu_replicas": 2, "precision": p, "jit_compile": True} for p in PRECISIONS[1:]},
    **{f"in parts {precision}": {**IN_PARTS, "precision": precision} for precision in PRECISIONS[1:]},
    "one XLA float32": {"jit_compile": True},
    "mirrored mixed_float16": {"cpu_replicas": 2, "precision": "mixed_float16"},
    "mirrored parts": {"cpu_replicas": 2, **IN_PARTS},
    "in four parts": {"recipe": {"accumulation_steps": 4}},
    "slow data": {"seconds": 0.1},
    "mirrored as if large": {"large": 0, "cpu_replicas": 2},
}
HERE = {
    "one float32": {},
    "in parts float32": IN_PARTS,
    **{f"mirrored {precision}": {"cpu_replicas": 2, "precision": precision} for precision in PRECISIONS[:2]},
    "mirrored XLA float32": {"cpu_replicas": 2, "jit_compile": True},
    "one as if large": {"large": 0},
    "several steps a call": {"steps_per_call": 5},
    "mirrored several steps a call": {"cpu_replicas": 2, "steps_per_call": 5},
    "synchronised": {"cpu_replicas": 2, **SYNCHRONISED},
    "dropout mirrored": {"cpu_replicas": 2, "net": {"shortcut": "dropout", "shortcut_options": {"seed": 3}}},
    "dropout in parts": {**IN_PARTS, "net": {"shortcut": "dropout", "shortcut_options": {"seed": 3}}},
    "slow data mirrored": {"cpu_replicas": 2, "seconds": 0.1},
    "average mirrored": {"cpu_replicas": 2, "recipe": {"ema_momentum": 0.5, "clip_norm": 0.1}},
    "average in parts": {"recipe": {"ema_momentum": 0.5, "clip_norm": 0.1, "accumulation_steps": 2}},
}
SLOW_WORKERS = {"XLA float32": {"jit_compile": True}, **{p: {"precision": p} for p in PRECISIONS[1:]}}
WORKERS = {
    "float32": {"stops": True},
    "synchronised": SYNCHRONISED,
}


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    def make(runs):
        file = tmp_path_factory.mktemp("here") / "found.npz"
        return read(start(runs, file), file)

    return Found(make, HERE, SLOW_HERE)


@pytest.fixture(scope="module")
def both_workers(tmp_path_factory):
    """Of each run what the first and the second process have found."""
    return Found(lambda runs: run_workers(runs, tmp_path_factory.mktemp("workers")), WORKERS, SLOW_WORKERS)


def _require_equal(ours, reference, tolerance, kinds=("losses", "weight/", "totals", "norms")):
    keys = [key for key in reference if key.startswith(kinds)]
    assert keys
    for key in keys:
        assert np.isfinite(ours[key]).all(), key
        np.testing.assert_allclose(ours[key], reference[key], rtol=tolerance, atol=tolerance, err_msg=key)


@pytest.mark.parametrize("precision", FLOAT32_QUICK)
def test_two_replicas_do_what_one_device_does_in_two_parts(here, precision):
    _require_equal(here[f"mirrored {precision}"], here[f"in parts {precision}"], 1e-6)


def test_the_replicas_of_a_split_cpu_share_its_cores(here):
    assert here["mirrored float32"]["threads"] == max(1, usable_cores() // 2)


@pytest.mark.parametrize("precision", FLOAT32_QUICK)
def test_parts_are_normalized_separately(here, precision):
    assert abs(here[f"one {precision}"]["losses"] - here[f"in parts {precision}"]["losses"]).max() > 1e-3


@pytest.mark.parametrize("precision", ["mixed_bfloat16", pytest.param("mixed_float16", marks=pytest.mark.slow)])
def test_half_precision_is_near_float32(here, precision):
    ours, reference = here[f"mirrored {precision}"]["losses"], here["mirrored float32"]["losses"]
    assert np.isfinite(ours).all()
    np.testing.assert_allclose(ours, reference, atol=TOLERANCE[precision])


def _require_the_steps_of_xla(here, kind, precision):
    """It rounds elsewhere, and a ReLU that opens by a rounding error changes the gradient of that step."""
    ours, reference = here[f"{kind} XLA {precision}"]["losses"], here[f"{kind} {precision}"]["losses"]
    np.testing.assert_allclose(ours, reference, atol=XLA[precision])


@pytest.mark.parametrize("precision", FLOAT32_QUICK)
def test_replicas_make_the_same_steps_under_xla(here, precision):
    _require_the_steps_of_xla(here, "mirrored", precision)


@pytest.mark.parametrize("kind", ["one", pytest.param("mirrored", marks=pytest.mark.slow)])
def test_the_gradient_that_large_tensors_have_makes_the_same_steps(here, kind):
    _require_equal(here[f"{kind} as if large"], here[f"{kind} float32"], 1e-5)


@pytest.mark.slow
def test_one_device_makes_the_same_steps_under_xla(here):
    _require_the_steps_of_xla(here, "one", "float32")


def test_statistics_move_by_the_mean_over_the_replicas(here):
    """The mean of the first layer's means over two halves is that over the batch; one after the other it is not."""
    key = "first/stem_norm/moving_mean"
    mirrored, one, in_parts = (here[f"{name} float32"][key] for name in ("mirrored", "one", "in parts"))
    np.testing.assert_allclose(mirrored, one, rtol=1e-5, atol=1e-7)
    assert abs(in_parts - one).max() > 1e-3
    for name, value in here["mirrored float32"].items():
        if name.startswith("statistic/"):  # Every replica's copy has moved, and none but by its share.
            assert np.isfinite(value).all()
            assert np.any(value != here["mirrored float32"].get(f"first/{name.split('/', 2)[2]}")), name


def test_synchronised_replicas_do_what_one_device_does_with_the_batch(here):
    kinds = ("losses", "weight/", "totals", "norms", "statistic/")
    _require_equal(here["synchronised"], here["one float32"], TOLERANCE["float32"], kinds)


@pytest.mark.parametrize("kind", ["", "mirrored "])
def test_several_steps_a_call_are_the_same_steps(here, kind):
    one_by_one, at_once = here[f"{kind or 'one '}float32"], here[f"{kind}several steps a call"]
    np.testing.assert_array_equal(one_by_one["losses"][4::5], at_once["losses"])
    _require_equal(at_once, one_by_one, 0, ("weight/", "statistic/", "totals"))


def test_replicas_draw_numbers_of_their_own_and_go_on_from_the_same_state(here):
    mirrored, in_parts = here["dropout mirrored"], here["dropout in parts"]
    assert np.isfinite(mirrored["losses"]).all()
    assert len(set(mirrored["offsets"].tolist())) == 2
    states = ("statistic/", "seed_generator_state")
    seeds = [
        [value for key, value in found.items() if key.startswith(states[0]) and key.endswith(states[1])]
        for found in (mirrored, in_parts)
    ]
    assert len(seeds[0]) == len(seeds[1]) == 2
    for ours, theirs in zip(*seeds, strict=True):  # After ten draws and after twenty, and from no shifted state.
        assert ours[0] == theirs[0]
        assert ours[1] * 2 == theirs[1]


@pytest.mark.slow
def test_parts_within_replicas_are_the_parts_of_one_device(here):
    _require_equal(here["mirrored parts"], here["in four parts"], 1e-6)


@pytest.mark.parametrize("name", [pytest.param("slow data", marks=pytest.mark.slow), "slow data mirrored"])
def test_waiting_for_data_is_counted(here, name):
    """The first batch but one on takes 0.1 s for each replica, which the steps are too short to hide."""
    assert here[name]["waits"][2:].mean() > 0.04
    for quick in ("one float32", "mirrored float32"):
        assert here[quick]["waits"][2:].mean() < 0.02


def test_averages_and_clipping_are_those_of_the_whole_gradient(here):
    """The average after two steps at least; what the statistics make of it differs, as above."""
    mirrored, in_parts = here["average mirrored"], here["average in parts"]
    _require_equal(mirrored, in_parts, 1e-6)
    averages = [key for key in mirrored if key.startswith("average/")]
    weights = {mirrored[key].shape for key in mirrored if key.startswith("weight/")}
    assert len(averages) > len(weights)
    assert any(np.any(mirrored[a] != here["mirrored float32"][a]) for a in averages)


@pytest.mark.parametrize("name", [*FLOAT32_QUICK, "synchronised"])
def test_two_processes_do_what_two_replicas_of_one_do(here, both_workers, name):
    reference = here[name if name == "synchronised" else f"mirrored {name}"]
    for found in both_workers[name]:
        kinds = ("losses", "weight/", "totals", "norms", "statistic/")
        _require_equal(found, reference, TOLERANCE["float32"], kinds)


@pytest.mark.slow
def test_two_processes_under_xla(here, both_workers):
    for found in both_workers["XLA float32"]:
        losses, reference = found["losses"], here["mirrored float32"]["losses"]
        np.testing.assert_allclose(losses, reference, atol=XLA["float32"])


def test_the_word_to_stop_reaches_every_process_in_the_same_step(both_workers):
    """Only the second process was told, in its fourth call."""
    for found in both_workers["float32"]:
        assert found["stops"].tolist() == [0, 0, 0, 1, 0, 0, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("mirrored",), "--distribute=mirrored needs two GPUs, and 0 are here; --cpu_replicas=2 tries it"),
        (("multi_worker",), "--distribute=multi_worker needs the environment variable TF_CONFIG"),
        (("none", 2), "--cpu_replicas=2 and --distribute=none exclude each other"),
        (("multi_worker", 2), "--cpu_replicas=2 and --distribute=multi_worker exclude each other"),
    ],
)
def test_devices_that_are_not_there_are_refused(monkeypatch, arguments, words):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(UserError, match=words):
        choose_strategy(*arguments)


def test_the_processes_of_a_cluster_do_not_split_their_cpu(monkeypatch):
    cluster = {"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(cluster))
    with pytest.raises(UserError, match="--cpu_replicas=2 is refused, for TF_CONFIG names 2 processes"):
        choose_strategy("auto", 2)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "3",
        '{"cluster": []}',
        "{}",
        '{"cluster": {"worker": ["a:1", "b:2"]}}',
        '{"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 7}}',
        '{"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "boss", "index": 0}}',
    ],
)
def test_a_cluster_that_cannot_be_read_is_refused(monkeypatch, text):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(UserError, match="TF_CONFIG is no JSON like"):
        choose_strategy("auto")


def test_runs_of_one_process_share_their_strategy(monkeypatch):
    """Two over the same devices give their reductions the same numbers; the three runs below show what comes of it."""
    monkeypatch.delenv("TF_CONFIG", raising=False)
    monkeypatch.setattr(devices, "_split_cpu", lambda *_: None)
    monkeypatch.setattr(tf.distribute, "MirroredStrategy", lambda places: [*places])
    devices._mirrored.cache_clear()
    try:
        two, again, three = (choose_strategy("auto", count) for count in (2, 2, 3))
    finally:
        devices._mirrored.cache_clear()
    assert two is again
    assert (two, three) == (["CPU:0", "CPU:1"], ["CPU:0", "CPU:1", "CPU:2"])


THREE_RUNS = """
from training.job import Job, run

for number, (batch_size, steps) in enumerate(((64, 2), (32, 3), (48, 4))):
    overrides = {"train_steps": 6, "batch_size": batch_size}
    settings = {"model_options": {"depth": 8}, "recipe_overrides": overrides, "precision": "mixed_bfloat16"}
    settings |= {"steps_per_evaluation": steps, "cpu_replicas": 2, "run_dir": f"run{number}", "export": False}
    run(Job("digits", "PreResNet20", **settings))
"""


@pytest.mark.slow
def test_runs_of_one_process_follow_one_another_on_two_replicas(tmp_path):
    command = [sys.executable, "-c", THREE_RUNS]
    process = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr[-3000:]
    assert process.stdout.count("test accuracy") == 3


def test_one_device_is_the_default(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    strategy = choose_strategy()
    assert (strategy.num_replicas_in_sync, workers(strategy), is_chief(strategy)) == (1, 1, True)
    assert (uses_xla("auto"), uses_xla("on"), uses_xla("off")) == (False, True, False)
    assert (steps_per_call(None), steps_per_call(7)) == (1, 7)
