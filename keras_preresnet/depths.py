"""Which depths there are, and how many units they have in each stage."""

from collections.abc import Iterable, Sequence

from keras_preresnet.units import BRANCHES
from keras_preresnet.validation import require_choice, require_positive_integer

CIFAR_STAGES = 3
IMAGENET_UNITS = {
    18: ("basic", (2, 2, 2, 2)),
    34: ("basic", (3, 4, 6, 3)),
    50: ("bottleneck", (3, 4, 6, 3)),
    101: ("bottleneck", (3, 4, 23, 3)),
    152: ("bottleneck", (3, 8, 36, 3)),
    200: ("bottleneck", (3, 24, 36, 3)),
}


def units_per_stage(
    family: str, depth: int | None, units: Sequence[int] | None, branch: str | None
) -> tuple[str, tuple[int, ...]]:
    """Returns the branch and the number of units in each stage of a net given by its depth, or by its units.

    Raises:
        ValueError: if both or neither of `depth` and `units` are given, or the family has no such depth.
    """
    if branch is not None:
        require_choice("branch", branch, BRANCHES)
    if (depth is None) == (units is None):
        raise ValueError(f"depth={depth} and units={units} are refused: exactly one of the two is needed.")
    if units is not None:
        return branch or "basic", _checked(units)
    require_positive_integer("depth", depth)
    if family == "imagenet":
        return _imagenet_units(depth, branch)
    return branch or "basic", _cifar_units(depth, branch or "basic")


def smallest_depth(family: str, branch: str) -> int:
    """Returns the depth of the smallest net of the family with this branch."""
    if family == "imagenet":
        return min(depth for depth, (own, _) in IMAGENET_UNITS.items() if own == branch)
    return CIFAR_STAGES * len(BRANCHES[branch]) + 2


def _checked(units):
    counts = tuple(units) if isinstance(units, Iterable) else ()
    if not counts:
        raise ValueError(f"units={units} is refused: the number of units in each stage is needed, like (3, 4, 6, 3).")
    for count in counts:
        require_positive_integer("units", count)
    return tuple(map(int, counts))


def _cifar_units(depth, branch):
    """depth = 3n + 2 (one layer a unit), 6n + 2 (basic) or 9n + 2 (bottleneck): 2 are the stem and the classifier."""
    step = CIFAR_STAGES * len(BRANCHES[branch])
    n, rest = divmod(depth - 2, step)
    if rest or n < 1:
        below = max(n, 1) * step + 2
        raise ValueError(
            f"depth={depth} fits no CIFAR net of {branch} units, whose depth is {step}n + 2; "
            f"the nearest are {below} and {below + step}."
        )
    return (n,) * CIFAR_STAGES


def _imagenet_units(depth, branch):
    if depth not in IMAGENET_UNITS:
        nearest = sorted(sorted(IMAGENET_UNITS, key=lambda known: abs(known - depth))[:2])
        known = ", ".join(map(str, IMAGENET_UNITS))
        raise ValueError(
            f"depth={depth} is no ImageNet net; there are {known}; the nearest are {nearest[0]} and {nearest[1]}."
        )
    own, units = IMAGENET_UNITS[depth]
    if branch not in (None, own):
        raise ValueError(
            f"branch={branch!r} is refused: the ImageNet net of depth={depth} is one of {own} units; "
            f"for another branch call ResidualNetwork(units={units}, branch={branch!r}, family='imagenet')."
        )
    return own, units
