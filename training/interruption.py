"""A run that is told to stop saves a checkpoint first."""

import signal
from types import FrameType

STOPPED = 75  # Exit code: told to stop, saved, go on with the same command. EX_TEMPFAIL of sysexits.h.


class Stopped(Exception):  # noqa: N818 - no error: the user has asked for it.
    """A run was told to stop and has saved its state."""


class StopSignal:
    """A context in which SIGTERM and Ctrl-C set `received`; a second Ctrl-C interrupts at once.

    One within another knows what the outer one has received, and tells it what it receives itself.
    """

    def __init__(self):
        self.received = False
        self._before = {}
        self._outer = None

    def __enter__(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._receive)
        outer = getattr(self._before[signal.SIGTERM], "__self__", None)
        if isinstance(outer, StopSignal):
            self._outer, self.received = outer, outer.received
        return self

    def __exit__(self, *_):
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, _: FrameType | None) -> None:
        if self.received and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = True
        if self._outer:
            self._outer._receive(signal.SIGTERM, None)  # Which never interrupts.
