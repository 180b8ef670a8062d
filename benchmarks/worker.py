"""A contestant in a process of its own: makes its step, then runs it for as long as it is told, turn by turn.

Its argument is the JSON of a `Job`. It reads lines from standard input, each the seconds of a turn, and writes JSON
lines: the seconds to the end of the first step, the rate of each turn, and at the end of its input memory and facts.
"""

import importlib
import json
import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple


class Job(NamedTuple):
    """What a process is asked for."""

    module: str  # Its `prepare(job)` returns `Prepared`.
    package: str
    precision: str
    setting: str
    task: str
    net: str  # A key of `benchmarks.contestants.NETS`, or of `PEAKS` there.
    batch_size: int

    @property
    def file_name(self) -> str:
        """For the log: no two jobs that are measured together share it."""
        _, *parts = self
        return "_".join(str(part).replace(" ", "-") for part in parts if part) + ".txt"


class Prepared(NamedTuple):
    """A contestant that is ready to begin."""

    step: Callable[[], object]  # One batch; returns when it is done.
    seconds: dict[str, float]  # Of the construction of the net, and of the trace where there is one.
    facts: Callable[[], dict]  # Versions, threads, work; asked for when nothing is measured any more.
    others: Sequence[multiprocessing.Process] = ()  # That make the step with this one, alike; they never end.


def share_of(batch_size: int, count: int, has_gpu: bool) -> int:
    """Returns the images of each of `count` cores; raises ValueError where that is no way to train."""
    if count > 1 and (has_gpu or batch_size % count):
        reason = "there is a GPU" if has_gpu else f"{batch_size} images do not divide among {count} cores"
        raise ValueError(f"left out: {reason}")
    return batch_size // count


def measured_rate(step: Callable[[], object], seconds: float) -> float:
    """Returns steps a second, after one that is not counted."""
    step()
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < seconds or count < 2:
        step()
        count += 1
    return count / (time.perf_counter() - began)


def main() -> None:
    """Answers until the input ends."""
    with os.fdopen(os.dup(1), "w", buffering=1) as answers:
        os.dup2(2, 1)  # What libraries print is no answer.
        job = Job(**json.loads(sys.argv[1]))
        prepared = importlib.import_module(job.module).prepare(job)
        began = time.perf_counter()
        prepared.step()
        seconds = {**prepared.seconds, "first step": time.perf_counter() - began}
        print(json.dumps({"seconds": seconds}), file=answers)
        for line in sys.stdin:
            print(json.dumps({"rate": measured_rate(prepared.step, float(line))}), file=answers)
        print(json.dumps({"peak_memory": _peak_memory(prepared.others), "facts": prepared.facts()}), file=answers)


def _peak_memory(others):
    """Resident bytes of this process and of the others, which it ends: each counts as much as the largest."""
    for process in others:
        process.kill()
        process.join()
    own, largest = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return 1024 * (own + len(others) * largest)


if __name__ == "__main__":
    main()
