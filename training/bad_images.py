"""The images that could not be decoded: named once, counted against a limit."""

import threading

from training.errors import UserError
from training.files import printable

SHOWN = 20  # Names in a line.


class BadImages:
    """Distinct names in the order in which they were found, by whatever thread.

    Args:
        limit: How many there may be before `check` refuses.
    """

    def __init__(self, limit: int = 0):
        self.limit = limit
        self._names: dict[str, None] = {}
        self._lock = threading.Lock()

    @property
    def names(self) -> tuple[str, ...]:
        """A copy of the list as it is now."""
        with self._lock:
            return tuple(self._names)

    def record(self, name: str) -> None:
        """Notes an image; one that is noted already counts once."""
        with self._lock:
            self._names[name] = None

    def check(self) -> None:
        """Raises UserError, naming the images, if there are more than `limit`."""
        count = len(self.names)
        if count > self.limit:
            it = "it" if count == 1 else "them"
            raise UserError(f"{self}; mend or remove {it}, or give --max_bad_images={count}.")

    def __str__(self):
        names = sorted(map(printable, self.names))
        shown = ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
        return f"{len(names)} image{'s' if len(names) != 1 else ''} could not be decoded: {shown}"
