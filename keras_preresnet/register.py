"""The register of packaged weights: one row for each file, and how rows are found.

`REGISTER` is data. The figures of a row are those of the record that its run has left; the file is what
`model.save_weights` has written of the float32 net.
"""

import hashlib
from dataclasses import dataclass, fields
from pathlib import Path

FOLDER = Path(__file__).parent / "packaged_weights"
CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@dataclass(frozen=True)
class PackagedWeights:
    """What is known of one packaged file.

    Args:
        model: The net, as `list_models` spells it.
        weights: What `weights=` calls them: the data set, as TFDS names it. All rows of one name have the same
            preprocessing and classes.
        sha256: Of the file, in hexadecimal digits.
        test_error: In percent of the test images of the data set, single view, of these very weights in float32.
        parameters: Trainable ones.
        recipe: How they were trained.
        net: What makes the net, as `keras_preresnet.weights.describe_net` reads it.
        value_range: Of the images that the preprocessing takes.
        mean: Of each channel, on that scale.
        deviation: Of each channel, on that scale.
        size: Height and width in training.
        class_names: In the order of the logits.
        licence: Of the weights.
        data_set: What they were trained on.
    """

    model: str
    weights: str
    sha256: str
    test_error: float
    parameters: int
    recipe: str
    net: dict
    value_range: tuple[float, float]
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    size: tuple[int, int]
    class_names: tuple[str, ...]
    licence: str
    data_set: str

    @property
    def file(self) -> Path:
        """A `.weights.h5` file in float32."""
        return FOLDER / f"{self.model}_{self.weights}.weights.h5"

    def __str__(self):
        facts = {field.name: getattr(self, field.name) for field in fields(self)}
        return "\n".join(f"{name:<12} {value}" for name, value in {**facts, "file": self.file}.items())


def _on_cifar10(recipe: str, net: dict, **figures) -> PackagedWeights:
    """A row of a net that `training.train --data=cifar10` has trained with the further flags `recipe`."""
    return PackagedWeights(
        weights="cifar10",
        recipe=f"python -m training.train --data=cifar10 --model={figures['model']} {recipe}",
        net=net,
        value_range=(0, 255),
        mean=(125.3, 123.0, 113.9),
        deviation=(63.0, 62.1, 66.7),
        size=(32, 32),
        class_names=CIFAR10_CLASSES,
        licence="MIT, as this repository",
        data_set="CIFAR-10 (Krizhevsky, 2009), 50,000 training images",
        **figures,
    )


_PREACTIVATION = {
    "family": "cifar",
    "stem_width": 16,
    "design": "full_preactivation",
    "shortcut": "identity",
    "shortcut_options": {},
}
_BASIC = {
    **_PREACTIVATION,
    "branch": "basic",
    "widths": (16, 32, 64),
    "widening": "zero_padding",
    "stride_place": None,
}
_BOTTLENECK = {
    **_PREACTIVATION,
    "branch": "bottleneck",
    "widths": (64, 128, 256),
    "widening": "projection",
    "stride_place": "first",
}
_ROWS = (
    _on_cifar10(
        model="PreResNet20",
        sha256="d76f2dad588e203db0b1931d25591c8da96667bef794d7fcc70772738a7cf798",
        test_error=8.30,  # 830 of 10,000.
        parameters=269_722,
        recipe="--recipe=paper_cifar --precision=mixed_bfloat16 --steps_per_evaluation=1600 --cpu_replicas=2",
        net={**_BASIC, "units": (3, 3, 3)},
    ),
    _on_cifar10(
        model="PreResNet56",
        sha256="055b5aeeaab0b1683fa70a077fad3bd706eefedb1c0b320331041239d76850e5",
        test_error=8.11,  # 811 of 10,000.
        parameters=853_018,
        recipe="--recipe=quick --precision=mixed_bfloat16 --cpu_replicas=2",
        net={**_BASIC, "units": (9, 9, 9)},
    ),
    _on_cifar10(
        model="PreResNet164",
        sha256="16f7cb55ed8f716b6eeaa09ea14df58566524db080a8db79db88556e4ba4498b",
        test_error=7.95,  # 795 of 10,000.
        parameters=1_703_258,
        recipe="--recipe=quick --precision=mixed_bfloat16 --steps_per_evaluation=1172 --cpu_replicas=2 "
        "--train_steps=7031",
        net={**_BOTTLENECK, "units": (18, 18, 18)},
    ),
)
REGISTER = {(row.model, row.weights): row for row in _ROWS}


def weights_info(model: str | None = None, weights: str | None = None) -> PackagedWeights | list[PackagedWeights]:
    """Returns what the register says: one row if both names are given, else the list of rows that fit; case is ignored.

    `print(weights_info("PreResNet20", "cifar10"))` shows a row line by line; `weights_info("PreResNet20")` lists those
    of a net, which may be none, and `weights_info()` all.

    Raises:
        ValueError: if both are given and there is no such row, naming the rows there are.
    """
    found = [
        row
        for row in REGISTER.values()
        if (model is None or row.model.lower() == str(model).lower())
        and (weights is None or row.weights.lower() == str(weights).lower())
    ]
    if model is None or weights is None:
        return found
    if not found:
        raise ValueError(f"{model} has no packaged weights {weights!r}; packaged are: {packaged()}.")
    return found[0]


def packaged() -> str:
    """Returns the rows there are, in words for an error message."""
    return ", ".join(f"{row.model} {row.weights!r}" for row in REGISTER.values()) or "none"


def rows_named(weights: str) -> list[PackagedWeights]:
    """Returns the rows of this name, at least one.

    Raises:
        ValueError: if there is none, naming the rows there are.
    """
    rows = weights_info(weights=weights)
    if not rows:
        raise ValueError(f"weights={weights!r} names no packaged weights; packaged are: {packaged()}.")
    return rows


def require_whole(row: PackagedWeights) -> None:
    """Raises ValueError unless the row's file is there and has the row's checksum."""
    if not row.file.is_file():
        raise ValueError(
            f"weights={row.weights!r}: the packaged file {row.file} is missing; install the package again."
        )
    actual = hashlib.sha256(row.file.read_bytes()).hexdigest()
    if actual != row.sha256:
        raise ValueError(
            f"weights={row.weights!r}: the packaged file {row.file} is damaged, its sha256 is {actual} and "
            f"the register's {row.sha256}; install the package again."
        )
