"""How fast a training is, and what it waits for."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Meter:
    """Images a second and the share of the time spent waiting for data; seconds of training, those before a break too.

    Args:
        batch_size: Images in a step.
        seconds_before: Of training before this start.
    """

    def __init__(self, batch_size: int, seconds_before: float):
        self.batch_size = batch_size
        self.began = time.monotonic() - seconds_before
        self.calls = 0
        self._restart()

    def add(self, steps: int, waited: float) -> None:
        """Counts a call. The first one was spent on building the graph."""
        self.calls += 1
        if self.calls == 1:
            self._restart()
            return
        self.steps += steps
        self.waited += waited

    @contextmanager
    def paused(self) -> Iterator[None]:
        """A context after which the rate starts anew: the time of an evaluation is none of training."""
        yield
        self._restart()

    @property
    def rate(self) -> float:
        """Images a second since the last evaluation."""
        return self.steps * self.batch_size / max(time.monotonic() - self.time, 1e-9)

    @property
    def seconds(self) -> float:
        """Of training, evaluations included."""
        return time.monotonic() - self.began

    def columns(self) -> dict[str, float]:
        """Returns the columns of time of a table."""
        share = self.waited / max(time.monotonic() - self.time, 1e-9)
        return {"images_per_second": round(self.rate, 1), "waiting_share": round(share, 4)}

    def _restart(self):
        self.steps, self.waited, self.time = 0, 0.0, time.monotonic()
