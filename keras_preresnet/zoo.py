"""The table of named nets, their factory functions, and the nets by name.

CIFAR: 6n + 2 layers of basic units (20 to 110, 1202), 9n + 2 of bottlenecks (164, 1001). ImageNet: 18 to 200.
"""

import fnmatch
import inspect
import re
from collections.abc import Callable

import keras

from keras_preresnet.networks import FAMILIES, ResidualNetwork
from keras_preresnet.validation import near

# depth: family and branch. The depth fixes the units in each stage.
_NETS = {
    20: ("cifar", "basic"),
    32: ("cifar", "basic"),
    44: ("cifar", "basic"),
    56: ("cifar", "basic"),
    110: ("cifar", "basic"),
    164: ("cifar", "bottleneck"),
    1001: ("cifar", "bottleneck"),
    1202: ("cifar", "basic"),
    18: ("imagenet", "basic"),
    34: ("imagenet", "basic"),
    50: ("imagenet", "bottleneck"),
    101: ("imagenet", "bottleneck"),
    152: ("imagenet", "bottleneck"),
    200: ("imagenet", "bottleneck"),
}
_DESIGNS = {"PreResNet": "full_preactivation", "ResNet": "original"}

_DOCSTRING = """{name}: {depth} layers of {branch} units, {design} design, for {family} images.

    Input: `(batch, height, width, channels)`; output: float32 logits `(batch, classes)`.

    Args:
        include_top: Whether to add global average pooling and the classifier.
        weights: None for random weights, the name of packaged weights (see `weights_info`), or the path of a
            `.weights.h5` or `.keras` file.
        input_shape: `(height, width, channels)`; default {input_shape}; height and width may be None.
        pooling: For `include_top=False`: None, "avg" or "max".
        classes: Number of classes, default {classes}.
        classifier_activation: None for logits, or for example "softmax".
        name: Name of the model; default "{lower}", or of the depth that is given.
        **options: Anything else that `ResidualNetwork` takes: `depth`, `design`, `shortcut`, `shortcut_options`,
            `widening`, `widths`, `stride_place`, `unroll`, `remat`, `dtype`, ...
    """


def _factory(prefix: str, depth: int) -> Callable[..., keras.Model]:
    family, branch = _NETS[depth]
    defaults = {"depth": depth, "family": family, "branch": branch, "design": _DESIGNS[prefix]}
    default_name = f"{prefix}{depth}"

    def build(
        include_top: bool = True,
        weights: str | None = None,
        input_shape: tuple[int | None, int | None, int] | None = None,
        pooling: str | None = None,
        classes: int | None = None,
        classifier_activation: str | None = None,
        name: str | None = None,
        **options,
    ) -> keras.Model:
        """Builds the net of this depth; each factory has a docstring of its own, see `_DOCSTRING`."""
        _require_known(default_name, options)
        return ResidualNetwork(
            **{**defaults, **options},
            include_top=include_top,
            weights=weights,
            input_shape=input_shape,
            pooling=pooling,
            classes=classes,
            classifier_activation=classifier_activation,
            name=name or f"{prefix}{options.get('depth') or depth}".lower(),
        )

    build.__name__ = build.__qualname__ = default_name
    row = FAMILIES[family]
    facts = {**defaults, "input_shape": row.input_shape, "classes": row.classes}
    build.__doc__ = _DOCSTRING.format(name=default_name, lower=default_name.lower(), **facts)
    return build


_ARGUMENTS = tuple(inspect.signature(ResidualNetwork).parameters)


def _require_known(name, options):
    """Python's own message would name a function that the user has not called, and no argument that there is."""
    for option in options:
        if option == "input_tensor":
            raise TypeError(f"{name} takes no input_tensor: build it, and call the model on the tensor.")
        if option not in _ARGUMENTS:
            hits = near(option, _ARGUMENTS)
            hint = f"did you mean {' or '.join(hits)}?" if hits else f"there are {', '.join(_ARGUMENTS)}."
            raise TypeError(f"{name} has no argument {option}; {hint}")


PreResNet20, ResNet20 = _factory("PreResNet", 20), _factory("ResNet", 20)
PreResNet32, ResNet32 = _factory("PreResNet", 32), _factory("ResNet", 32)
PreResNet44, ResNet44 = _factory("PreResNet", 44), _factory("ResNet", 44)
PreResNet56, ResNet56 = _factory("PreResNet", 56), _factory("ResNet", 56)
PreResNet110, ResNet110 = _factory("PreResNet", 110), _factory("ResNet", 110)
PreResNet164, ResNet164 = _factory("PreResNet", 164), _factory("ResNet", 164)
PreResNet1001, ResNet1001 = _factory("PreResNet", 1001), _factory("ResNet", 1001)
PreResNet1202, ResNet1202 = _factory("PreResNet", 1202), _factory("ResNet", 1202)
PreResNet18, ResNet18 = _factory("PreResNet", 18), _factory("ResNet", 18)
PreResNet34, ResNet34 = _factory("PreResNet", 34), _factory("ResNet", 34)
PreResNet50, ResNet50 = _factory("PreResNet", 50), _factory("ResNet", 50)
PreResNet101, ResNet101 = _factory("PreResNet", 101), _factory("ResNet", 101)
PreResNet152, ResNet152 = _factory("PreResNet", 152), _factory("ResNet", 152)
PreResNet200, ResNet200 = _factory("PreResNet", 200), _factory("ResNet", 200)

_MODELS = {f"{prefix}{depth}": globals()[f"{prefix}{depth}"] for prefix in _DESIGNS for depth in _NETS}


def list_models(pattern: str = "*") -> list[str]:
    """Returns the names of all nets that match the shell-style pattern, for example "PreResNet1*"; case is ignored."""
    return [name for name in _MODELS if fnmatch.fnmatchcase(name.lower(), pattern.lower())]


def create_model(name: str, /, **overrides) -> keras.Model:
    """Builds a net by its name, for example `create_model("PreResNet110", shortcut="dropout")`; case is ignored.

    Raises:
        ValueError: listing the nearest names, for a name that is none.
    """
    return _MODELS[canonical_name(name)](**overrides)


def canonical_name(name: str) -> str:
    """Returns the name as `list_models` spells it.

    Raises:
        ValueError: listing the nearest names, for a name that is none.
    """
    spelling = {known.lower(): known for known in _MODELS}
    if str(name).lower() not in spelling:
        raise ValueError(f"model={name!r} is unknown; the nearest are {', '.join(_nearest(str(name)))}.")
    return spelling[name.lower()]


def net_facts(name: str) -> tuple[int, str, str]:
    """Returns depth, family and branch of a net by its name; raises ValueError as `canonical_name` does."""
    depth = int(re.search(r"\d+$", canonical_name(name))[0])
    return depth, *_NETS[depth]


def _nearest(name):
    """The nets of the nearest depths if only the depth is unknown, else those whose names look alike."""
    hit = re.fullmatch(r"(pre)?resnet[-_]?(\d+)", name.lower())
    if hit is None:
        return near(name, _MODELS) or list_models("PreResNet*")
    prefix, depth = ("PreResNet" if hit[1] else "ResNet"), int(hit[2])
    return [f"{prefix}{known}" for known in sorted(_NETS, key=lambda known: abs(known - depth))[:3]]
