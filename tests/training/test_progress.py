"""What a run says of its progress where there is no terminal."""

import pytest

from training import progress
from training.progress import ProgressReport

STATE = {"loss": 0.5, "accuracy": 0.25, "learning_rate": 0.1, "images_per_second": 1234.4, "waiting_share": 0.02}
SAID = "loss 0.500  accuracy 25.0 %{}  rate 0.1  1234 images/s (2 % waiting for data)"


@pytest.fixture
def clock(monkeypatch):
    """Seconds that a test sets."""
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_lines_have_a_distance_and_the_first_no_time_left(clock, capsys):
    """Of 1010 steps the first ten, with the tracing, take 40 s, and each further ten one second."""
    with ProgressReport(start=0, total=1010) as report:
        clock[0] += 40
        report.update(10, 0, **STATE)
        for step in range(20, 401, 10):
            clock[0] += 1
            report.update(step, 0, **STATE)
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        f"step 10/1010  {SAID.format('')}",
        f"step 160/1010  {SAID.format('')}  1.4 min left",
        f"step 310/1010  {SAID.format('')}  1.2 min left",
    ]


def test_means_say_since_which_step_they_are_and_the_last_step_is_always_told(clock, capsys):
    with ProgressReport(start=500, total=520) as report:
        report.update(510, 400, **STATE)
        clock[0] += 1
        report.update(520, 400, **STATE)
    assert capsys.readouterr().out.splitlines() == [
        f"step 510/520  {SAID.format(' since step 400')}",
        f"step 520/520  {SAID.format(' since step 400')}  0.0 min left",
    ]


def test_silence(clock, capsys):
    with ProgressReport(start=0, total=10, silent=True) as report:
        report.update(10, 0, **STATE)
        report.say("a line")
    assert capsys.readouterr().out == ""
