"""One-line errors: what was received, what is allowed, what comes near."""

import difflib
from collections.abc import Iterable
from numbers import Integral


def near(name: str, allowed: Iterable[str]) -> list[str]:
    """Returns the entries of `allowed` that look like `name`, the likest first, whatever their case."""
    spelling = {entry.lower(): entry for entry in allowed}
    return [spelling[hit] for hit in difflib.get_close_matches(str(name).lower(), spelling, n=5, cutoff=0.5)]


def require_choice(argument: str, value: object, allowed: Iterable[str]) -> None:
    """Raises ValueError unless `value` is one of the `allowed` names of `argument`."""
    allowed = list(allowed)
    if value not in allowed:
        hits = near(str(value), [name for name in allowed if name is not None])
        hint = f" Did you mean {' or '.join(map(repr, hits))}?" if hits else ""
        raise ValueError(f"{argument}={value!r} is unknown; allowed: {', '.join(map(str, allowed))}.{hint}")


def require_positive_integer(argument: str, value: object) -> None:
    """Raises ValueError unless `value` is a whole number of at least 1."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{argument}={value!r} is refused: a whole number of at least 1 is needed.")


def require_images(layer: str, shape: tuple) -> None:
    """Raises ValueError unless `shape` is that of a batch of images with a known number of channels."""
    if len(shape) != 4 or shape[-1] is None:
        raise ValueError(
            f"{layer} received an input of shape {tuple(shape)}; "
            "(batch, height, width, channels) with a known number of channels is needed."
        )
