"""Tables 1 to 5 of the paper as data: a row is a line, with the net, how it is trained, and what the paper says of it.

Numbers are test errors in percent; those of CIFAR are the median of five runs, in brackets mean ± deviation.
"""

from dataclasses import dataclass, field

FAIL = "fail"  # The paper's word, and rule: a test error above 20 %.


@dataclass(frozen=True)
class Number:
    """What the paper says of a row: errors in percent.

    Args:
        error: Top-1 error, or "fail"; None: nothing, for the row is of no table of the paper.
        top5: Top-5 error, of ImageNet.
        mean, deviation: Of five runs, where the paper gives them.
        crop: Side of the test images in pixels, of ImageNet; None: all images of the set have one size.
    """

    error: float | str | None = None
    top5: float | None = None
    mean: float | None = None
    deviation: float | None = None
    crop: int | None = None


@dataclass(frozen=True)
class Row:
    """A row of a table: a net of the zoo with its options, how it is trained, and the paper's numbers.

    Args:
        name: Of the row, and of the folder of its runs.
        model: Name of the net; of another paper's method None, which is shown and never run.
        paper: A number for each size that the net is tested at.
        options: What `keras_preresnet.create_model` is given beside the name.
        recipe: Name of a recipe.
        overrides: Settings of the recipe that are others.
        data: Name of the data set.
        train_split, test_split: Parts of it to train and test on; None: those that it has.
        epochs: How long it is trained; None: as its recipe says.
    """

    name: str
    model: str | None
    paper: tuple[Number, ...]
    options: dict = field(default_factory=dict)
    recipe: str = "paper_cifar"
    overrides: dict = field(default_factory=dict)
    data: str = "cifar10"
    train_split: str | None = None
    test_split: str | None = None
    epochs: float | None = None

    @property
    def images(self) -> str:
        """What it is trained and tested on, in words."""
        if self.train_split is None:
            return self.data
        return f"{self.train_split} of {self.data}, tested on {self.test_split}"

    @property
    def net(self) -> str:
        """The net in words, for example "ResNet110, shortcut=exclusive_gating, gate_bias=-6"."""
        if self.model is None:
            return "of another paper"
        options = {**self.options, **self.options.get("shortcut_options", {}), **self.overrides}
        options.pop("shortcut_options", None)
        return ", ".join([self.model, *(f"{name}={value}" for name, value in options.items())])


@dataclass(frozen=True)
class Table:
    """A table of the paper, or a study in the same form.

    Args:
        number: 1 to 5; of a study a word.
        title: What it compares.
        rows: In the paper's order.
        runs: Of each row; the paper's numbers are the median of as many.
        fails_above: Test error in percent from which on the table says "fail"; None: in no case but an exploded loss.
    """

    number: int | str
    title: str
    rows: tuple[Row, ...]
    runs: int = 5
    fails_above: float | None = None

    @property
    def of_paper(self) -> bool:
        """Whether there are numbers of the paper to stand beside."""
        return isinstance(self.number, int)

    @property
    def name(self) -> str:
        """For titles."""
        return f"Table {self.number}" if self.of_paper else f"Study of {self.number}"

    @property
    def folder_name(self) -> str:
        """Of the folder that it is written to by default."""
        return f"table{self.number}" if self.of_paper else self.number

    def __getitem__(self, name: str) -> Row:
        return {row.name: row for row in self.rows}[name]


def _row(name, model, error, data="cifar10", recipe="paper_cifar", mean=None, deviation=None, **options):
    return Row(name, model, (Number(error, None, mean, deviation),), options, recipe, data=data)


def _shortcut(name, error, shortcut, **shortcut_options):
    options = {"shortcut_options": shortcut_options} if shortcut_options else {}
    return _row(name, "ResNet110", error, shortcut=shortcut, **options)


def _other(name, cifar10, cifar100):
    """Another paper's method, as Table 4 quotes it."""
    numbers = {"cifar10": cifar10, "cifar100": cifar100}
    return tuple(_row(f"{name}_{data}", None, error, data) for data, error in numbers.items())


def _imagenet(name, model, *paper, augmentation=None, **options):
    overrides = {"augmentation": augmentation} if augmentation else {}
    return Row(name, model, paper, options, "paper_imagenet", overrides, "imagenet2012")


def _at(crop, error, top5):
    return Number(error, top5, crop=crop)


_SHORTCUTS = (
    _row("identity", "ResNet110", 6.61),
    _shortcut("scaling_0", FAIL, "constant_scaling", scale=0, residual_scale=1),
    _shortcut("scaling_0.5", FAIL, "constant_scaling", scale=0.5, residual_scale=1),
    _shortcut("scaling_0.5_residual_0.5", 12.35, "constant_scaling", scale=0.5, residual_scale=0.5),
    # One row of the paper: "0 to -5".
    _shortcut("exclusive_gating_0", FAIL, "exclusive_gating", gate_bias=0),
    _shortcut("exclusive_gating_-1", FAIL, "exclusive_gating", gate_bias=-1),
    _shortcut("exclusive_gating_-2", FAIL, "exclusive_gating", gate_bias=-2),
    _shortcut("exclusive_gating_-3", FAIL, "exclusive_gating", gate_bias=-3),
    _shortcut("exclusive_gating_-4", FAIL, "exclusive_gating", gate_bias=-4),
    _shortcut("exclusive_gating_-5", FAIL, "exclusive_gating", gate_bias=-5),
    _shortcut("exclusive_gating_-6", 8.70, "exclusive_gating", gate_bias=-6),
    _shortcut("exclusive_gating_-7", 9.81, "exclusive_gating", gate_bias=-7),
    _shortcut("shortcut_only_gating_0", 12.86, "shortcut_only_gating", gate_bias=0),
    _shortcut("shortcut_only_gating_-6", 6.91, "shortcut_only_gating", gate_bias=-6),
    _shortcut("convolution", 12.22, "convolution"),
    _shortcut("dropout", FAIL, "dropout", rate=0.5),
)

_DESIGNS = (
    _row("original_110", "ResNet110", 6.61),
    _row("bn_after_addition_110", "ResNet110", 8.17, design="bn_after_addition"),
    _row("relu_before_addition_110", "ResNet110", 7.84, design="relu_before_addition"),
    _row("relu_only_preactivation_110", "ResNet110", 6.71, design="relu_only_preactivation"),
    _row("full_preactivation_110", "PreResNet110", 6.37),
    _row("original_164", "ResNet164", 5.93),
    _row("bn_after_addition_164", "ResNet164", 6.50, design="bn_after_addition"),
    _row("relu_before_addition_164", "ResNet164", 6.14, design="relu_before_addition"),
    _row("relu_only_preactivation_164", "ResNet164", 5.91, design="relu_only_preactivation"),
    _row("full_preactivation_164", "PreResNet164", 5.46),
)

_DEPTHS = (
    _row("baseline_110_one_layer_cifar10", "ResNet110", 9.90, branch="one_layer"),
    _row("preactivation_110_one_layer_cifar10", "PreResNet110", 8.91, branch="one_layer"),
    _row("baseline_110_cifar10", "ResNet110", 6.61),
    _row("preactivation_110_cifar10", "PreResNet110", 6.37),
    _row("baseline_164_cifar10", "ResNet164", 5.93),
    _row("preactivation_164_cifar10", "PreResNet164", 5.46),
    _row("baseline_1001_cifar10", "ResNet1001", 7.61),
    _row("preactivation_1001_cifar10", "PreResNet1001", 4.92),
    _row("baseline_164_cifar100", "ResNet164", 25.16, "cifar100"),
    _row("preactivation_164_cifar100", "PreResNet164", 24.33, "cifar100"),
    _row("baseline_1001_cifar100", "ResNet1001", 27.82, "cifar100"),
    _row("preactivation_1001_cifar100", "PreResNet1001", 22.71, "cifar100"),
)

_METHODS = (
    *_other("NIN", 8.81, 35.68),
    *_other("DSN", 8.22, 34.57),
    *_other("FitNet", 8.39, 35.04),
    *_other("Highway", 7.72, 32.39),
    *_other("All-CNN", 7.25, 33.71),
    *_other("ELU", 6.55, 24.28),
    *_other("LSUV", 5.84, 27.66),
    _row("original_110_cifar10", "ResNet110", 6.61),
    _row("original_1202_cifar10", "ResNet1202", 7.93),
    _row("preactivation_164_cifar10", "PreResNet164", 5.46),
    _row("preactivation_1001_cifar10", "PreResNet1001", 4.92, mean=4.89, deviation=0.14),
    _row("preactivation_1001_batch_64_cifar10", "PreResNet1001", 4.62, "cifar10", "paper_cifar_1001", 4.69, 0.20),
    _row("original_164_cifar100", "ResNet164", 25.16, "cifar100"),
    _row("original_1001_cifar100", "ResNet1001", 27.82, "cifar100"),
    _row("preactivation_164_cifar100", "PreResNet164", 24.33, "cifar100"),
    _row("preactivation_1001_cifar100", "PreResNet1001", 22.71, "cifar100", mean=22.68, deviation=0.22),
)

_IMAGENET = (
    _imagenet("original_152", "ResNet152", _at(224, 23.0, 6.7), _at(320, 21.3, 5.5)),
    _imagenet("preactivation_152", "PreResNet152", _at(320, 21.1, 5.5)),
    _imagenet("original_200", "ResNet200", _at(320, 21.8, 6.0)),
    _imagenet("preactivation_200", "PreResNet200", _at(320, 20.7, 5.3)),
    _imagenet(
        "preactivation_200_inception",
        "PreResNet200",
        _at(224, 21.66, 5.79),  # Of [FB], whose model this row is.
        _at(320, 20.1, 4.8),
        augmentation="inception",
    ),
    Row("Inception-v3", None, (_at(299, 21.2, 5.6),), data="imagenet2012"),
    # Of the text.
    _imagenet("original_101", "ResNet101", _at(224, 23.6, 7.1)),
    _imagenet("bn_after_addition_101", "ResNet101", _at(224, 24.6, 7.5), design="bn_after_addition"),
)

TABLES = {
    1: Table(1, "shortcuts of ResNet-110 on CIFAR-10", _SHORTCUTS, fails_above=20.0),
    2: Table(2, "activation designs of ResNet-110 and ResNet-164 on CIFAR-10", _DESIGNS),
    3: Table(3, "original and pre-activation units on CIFAR-10 and CIFAR-100", _DEPTHS),
    4: Table(4, "methods on CIFAR-10 and CIFAR-100", _METHODS),
    5: Table(5, "single-crop errors on ImageNet", _IMAGENET, runs=1),
}
