"""The images that could not be decoded: named once, counted against a limit."""

import threading

from training.errors import UserError

SHOWN = 5  # Names in an error line.


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
        names = sorted(self.names)
        if len(names) <= self.limit:
            return
        shown = ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
        count, it = ("1 image", "it") if len(names) == 1 else (f"{len(names)} images", "them")
        raise UserError(
            f"{count} could not be decoded: {shown}; mend or remove {it}, or give --max_bad_images={len(names)}."
        )
