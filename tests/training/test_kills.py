"""A run that is killed at any moment, or whose newest checkpoint is damaged, ends in the bits of an unbroken one."""

import random
import signal
import time

import kills
import numpy as np
import pytest

STEPS = 90


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    kills.finish(folder, STEPS)
    return folder


def _kill_again_and_again(folder, steps, count):
    seed = random.SystemRandom().randrange(10**9)
    draw = random.Random(seed)
    moments = []
    while len(moments) < count:
        moment = kills.break_off(folder, steps, while_saving=len(moments) % 2 == 1, draw=draw)
        if moment is None:
            break
        moments.append(moment)
    print(f"seed {seed}: killed {'; '.join(moments)}")
    return moments


def test_two_kills(whole, tmp_path):
    """One at any moment, one while a checkpoint is written."""
    moments = _kill_again_and_again(tmp_path, STEPS, 2)
    assert len(moments) == 2
    kills.finish(tmp_path, STEPS)
    kills.require_same_end(tmp_path, whole)


def test_sigterm_saves_and_a_damaged_checkpoint_is_gone_back_behind(whole, tmp_path):
    """Told to stop off the grid of checkpoints; then the checkpoint of that moment loses a bit."""
    process = kills.start(tmp_path, STEPS)
    while kills.newest_step(tmp_path) < 20:
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=200)
    assert process.returncode == 75, errors
    stopped = kills.newest_step(tmp_path)
    assert f"stopped after step {stopped} and saved; the same command goes on from there" in output
    file = tmp_path / "run" / "checkpoints" / f"step_{stopped:08d}" / "variables.data-00000-of-00001"
    data = bytearray(file.read_bytes())
    data[1000] ^= 1
    file.write_bytes(data)
    again = kills.finish(tmp_path, STEPS)
    assert f"step_{stopped:08d} is damaged (wrong checksum of variables.data-00000-of-00001)" in again.stderr
    assert "going on after step" in again.stdout
    kills.require_same_end(tmp_path, whole)


def test_the_comparison_sees_a_single_bit(whole, tmp_path, monkeypatch):
    state = kills.end_state(whole)
    key = next(key for key in state if "velocity" in key)
    other = {**state, key: np.nextafter(state[key], np.float32(1))}
    states = iter([other, state])
    monkeypatch.setattr(kills, "end_state", lambda folder: next(states))
    with pytest.raises(AssertionError, match="velocity"):
        kills.require_same_end(whole, whole)


@pytest.mark.slow
def test_twenty_kills(tmp_path):
    steps = 400
    (tmp_path / "whole").mkdir()
    (tmp_path / "broken").mkdir()
    kills.finish(tmp_path / "whole", steps)
    assert len(_kill_again_and_again(tmp_path / "broken", steps, 20)) == 20
    kills.finish(tmp_path / "broken", steps)
    kills.require_same_end(tmp_path / "broken", tmp_path / "whole")
