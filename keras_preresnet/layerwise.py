"""Learning rates of their own for some layers: in fine-tuning, smaller for the body than for the head.

Keras's optimizers know one learning rate. Its `MultiOptimizer` holds several optimizers instead: it has no
`learning_rate` for callbacks to read or set, clips gradients by group, and a `.keras` file of a model compiled with
it does not load (3.15). Here each optimizer of Keras has a subclass that multiplies the rate for each variable.
"""

import re
import warnings
from collections.abc import Mapping

import keras

_BASES = (
    *(keras.optimizers.SGD, keras.optimizers.RMSprop, keras.optimizers.Adam, keras.optimizers.AdamW),
    *(keras.optimizers.Nadam, keras.optimizers.Adamax, keras.optimizers.Adagrad, keras.optimizers.Adadelta),
    *(keras.optimizers.Lion, keras.optimizers.Lamb, keras.optimizers.Ftrl),
)


def with_learning_rate_multipliers(
    optimizer: keras.optimizers.Optimizer, multipliers: Mapping[str, float]
) -> keras.optimizers.Optimizer:
    """Returns an optimizer like the given one that multiplies the learning rate, and with it the weight decay.

        with_learning_rate_multipliers(keras.optimizers.SGD(0.01, momentum=0.9), {"stem|stage|head": 0.1})

    trains the body of a net at 0.001 and its classifier at 0.01. Schedules, callbacks that set the learning rate,
    clipping by the norm of all gradients and mixed precision work as with the given one, and it is saved in `.keras`.

    Args:
        optimizer: One of Keras's, not yet built.
        multipliers: By regular expressions that are searched for in the variables' paths, such as
            "stage1_units/conv1_kernel" or "predictions/bias". The first that is found counts,
            and 1 where none is.

    Warns:
        UserWarning: when it is built, for an expression that is found in no variable that is trained.

    Raises:
        ValueError: if the optimizer is of another class or built already, or a multiplier is not positive.
    """
    classes = {cls.__mro__[2]: cls for cls in _CLASSES}
    if type(optimizer) not in classes or optimizer.built:
        names = ", ".join(base.__name__ for base in _BASES)
        raise ValueError(f"optimizer={optimizer!r} is refused: one of {names} is needed, not yet built.")
    config = {**optimizer.get_config(), "learning_rate_multipliers": dict(multipliers)}
    return classes[type(optimizer)].from_config(config)


class _Layerwise:
    """What a subclass of an optimizer adds to it."""

    def __init__(self, *args, learning_rate_multipliers, **kwargs):
        super().__init__(*args, **kwargs)
        for pattern, factor in learning_rate_multipliers.items():
            if not factor > 0:
                raise ValueError(f"multiplier {factor} of {pattern!r} is refused: above 0 is needed; freeze at 0.")
            re.compile(pattern)
        self._multipliers = tuple(learning_rate_multipliers.items())
        self._factors = ()  # By variable, in the order in which the optimizer was built on them.
        self._factor = 1.0

    def build(self, variables):
        """Finds each variable's multiplier by its path; warns of a pattern that fits none."""
        if self.built:
            return
        super().build(variables)
        paths = [variable.path for variable in variables]
        hits = [[pattern for pattern, _ in self._multipliers if re.search(pattern, path)] for path in paths]
        self._factors = tuple(dict(self._multipliers)[found[0]] if found else 1.0 for found in hits)
        for pattern, _ in self._multipliers:
            if not any(pattern in found for found in hits):
                warnings.warn(
                    f"learning-rate multiplier {pattern!r} is found in none of the {len(paths)} variables that are "
                    "trained: they are frozen, or it is misspelt.",
                    stacklevel=2,
                )

    def update_step(self, gradient, variable, learning_rate):
        factor = self._factors[self._get_variable_index(variable)]
        super().update_step(gradient, variable, learning_rate * factor)

    def _apply_weight_decay(self, variables):
        """Keras decays by the learning rate of the optimizer: that is multiplied for the while."""
        for variable in variables:
            self._factor = self._factors[self._get_variable_index(variable)]
            super()._apply_weight_decay([variable])
        self._factor = 1.0

    def _get_current_learning_rate(self):
        learning_rate = super()._get_current_learning_rate()
        return learning_rate if self._factor == 1.0 else learning_rate * self._factor

    def get_config(self):
        return {**super().get_config(), "learning_rate_multipliers": dict(self._multipliers)}


def _layerwise(base):
    cls = type(f"Layerwise{base.__name__}", (_Layerwise, base), {"__module__": __name__})
    return keras.saving.register_keras_serializable(package="keras_preresnet")(cls)


_CLASSES = tuple(map(_layerwise, _BASES))
