"""Progress of a run: a bar on a terminal, plain lines otherwise."""

import os
import sys
import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

LINE_SECONDS = 15  # Between two plain lines.
WIDE = 1000  # Columns where there is no terminal: names in a file or a pipe are not to be broken.


def plain_console() -> Console:
    """Returns standard output, to which text goes as it is."""
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = WIDE
    return console


class ProgressReport:
    """A context that is told of every so many steps.

    Args:
        start: Steps done before, for the bar.
        total: Steps in all.
        silent: Whether it says nothing: in the processes that are not the chief.
    """

    def __init__(self, start: int, total: int, silent: bool = False):
        self.silent = silent
        self.total = total
        self.began: tuple[int, float] | None = None
        self.spoken = 0.0
        self.console = Console(highlight=False)
        self.bar = None
        if self.console.is_terminal and not silent:
            columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
            self.bar = Progress(*columns, console=self.console)
            self.task = self.bar.add_task("", total=total, completed=start)

    def __enter__(self):
        if self.bar:
            self.bar.start()
        return self

    def __exit__(self, *_):
        if self.bar:
            self.bar.stop()

    def update(
        self,
        step: int,
        since: int,
        loss: float,
        accuracy: float,
        learning_rate: float,
        images_per_second: float,
        waiting_share: float,
    ) -> None:
        """Shows the state after `step` steps; as a plain line only every `LINE_SECONDS`, and at the end.

        Loss and accuracy are means over the steps after `since`, that of the test before. The time left is reckoned
        from the first call on: what came before it was the tracing of the step.
        """
        window = f" since step {since}" if since else ""
        state = f"loss {loss:.3f}  accuracy {100 * accuracy:.1f} %{window}  rate {learning_rate:.4g}"
        state = f"{state}  {images_per_second:.0f} images/s ({100 * waiting_share:.0f} % waiting for data)"
        if self.bar:
            self.bar.update(self.task, completed=step, description=state)
            return
        now = time.monotonic()
        self.began = self.began or (step, now)
        if now - self.spoken >= LINE_SECONDS or step == self.total:
            self.spoken = now
            self.say(f"step {step}/{self.total}  {state}{self._time_left(step, now)}")

    def _time_left(self, step, now):
        first, began = self.began
        if step == first:
            return ""
        return f"  {(now - began) / (step - first) * (self.total - step) / 60:.1f} min left"

    def say(self, text: str) -> None:
        """Prints a line, above the bar if there is one."""
        if self.bar:
            self.console.print(text)
        elif not self.silent:
            print(text, file=sys.stdout, flush=True)
