"""Packaged weights as the programs take them: "PreResNet20:cifar10", the net and its weights."""

from pathlib import Path


def packaged_pair(source: str) -> tuple[str, str] | None:
    """Returns the net and the weights that `source` names; None of a path, there or not, or of weights alone."""
    net, colon, weights = source.partition(":")
    path = Path(source)
    return (net, weights) if colon and not path.suffix and not path.exists() else None
