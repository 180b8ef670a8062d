"""The process of a contestant, seen from the one that measures."""

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.worker import Job


@dataclass
class Measured:
    """What is known of a contestant after its turns."""

    job: Job
    start: float | None = None  # Seconds from the start of the process to the end of the first step.
    seconds: dict[str, float] = field(default_factory=dict)  # Of the parts of that which the process has timed.
    facts: dict = field(default_factory=dict)
    rates: list[float] = field(default_factory=list)  # Steps a second, turn by turn.
    beside: list[float | None] = field(default_factory=list)  # Those of the first contestant in the same turns.
    peak_memory: int | None = None  # Bytes.
    absent: str | None = None  # Why there are no figures.


class ContestantProcess:
    """Runs `benchmarks.worker`. Whatever goes wrong there is the reason of an absence, not an error here.

    Args:
        job: What the process is asked for.
        logs: Folder for the file of everything that it prints.
        start_limit: Seconds in which its first step must have ended.
    """

    def __init__(self, job: Job, logs: Path, start_limit: float):
        self.measured = Measured(job)
        self._log = logs / job.file_name  # Of its own: its last line is the reason of an absence.
        self._start_limit = start_limit
        self._process = None

    def start(self) -> None:
        """Starts the process and waits for the end of its first step."""
        began = time.perf_counter()
        with self._log.open("wb") as log:
            command = [sys.executable, "-m", "benchmarks.worker", json.dumps(self.measured.job._asdict())]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": log}
            environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "1"}
            self._process = subprocess.Popen(command, **pipes, env=environment, text=True, bufsize=1)
        timer = threading.Timer(self._start_limit, self._process.kill)
        timer.start()
        answer = self._answer()
        timer.cancel()
        if answer is None:
            late = time.perf_counter() - began >= self._start_limit
            reason = f"no first step within {self._start_limit:.0f} s" if late else self._last_words()
            self.measured.absent = reason
            return
        self.measured.start = time.perf_counter() - began
        self.measured.seconds = answer["seconds"]

    def turn(self, seconds: float, beside: float | None = None) -> float | None:
        """Lets it run for so long; returns its steps a second.

        Args:
            seconds: Of the turn.
            beside: The rate that the first contestant had in the same turn; None for itself, or if it has failed.
        """
        if self.measured.absent is not None:
            return None
        answer = self._answer_to(f"{seconds}\n")
        if answer is None:
            self.measured.absent = self._last_words()
            return None
        self.measured.rates.append(answer["rate"])
        self.measured.beside.append(beside)
        return answer["rate"]

    def end(self) -> Measured:
        """Ends it, and returns what was measured."""
        if self.measured.absent is None:
            self._process.stdin.close()
            answer = self._answer()
            if answer is None:
                self.measured.absent = self._last_words()
            else:
                self.measured.peak_memory, self.measured.facts = answer["peak_memory"], answer["facts"]
            self._process.wait()
        return self.measured

    def kill(self) -> None:
        """Ends it in any case."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process.stdout.close()
            with contextlib.suppress(BrokenPipeError):  # A line that it has not read.
                self._process.stdin.close()

    def _answer_to(self, line):
        try:
            self._process.stdin.write(line)
        except BrokenPipeError:  # It has gone since its last turn: so ends who needs more memory than there is.
            return None
        return self._answer()

    def _answer(self):
        line = self._process.stdout.readline()
        return json.loads(line) if line else None

    def _last_words(self):
        code = self._process.wait()
        lines = self._log.read_text(errors="replace").rstrip().splitlines()
        return f"ended with code {code}: {lines[-1].strip() if lines else 'nothing was printed'}"
