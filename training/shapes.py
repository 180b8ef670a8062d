"""Shapes of images in words."""

from training.errors import UserError

Shape = tuple[int | None, int | None, int]  # Height, width, channels; a side that is None is free.


def describe(shape: Shape) -> str:
    """Returns for example "32x32x3", a free side as "any"."""
    return "x".join("any" if side is None else str(side) for side in shape)


def require_side(name: str, shape: Shape, side: int) -> None:
    """Raises UserError unless an export that takes images of this shape takes squares of this side."""
    if any(known not in (None, side) for known in shape[:2]):
        raise UserError(
            f"--crop={side} is refused: {name} takes images of {describe(shape)} only; give the run folder or the "
            ".keras file, which can be built for another size."
        )
