"""Equations (5), (6), (8) and (9) of the paper on recorded signals, in float64.

Their numbers are those of this project's documents; in the arXiv text they are one lower from (4) on. They hold inside
a chain: neighbouring units that keep width and size.
"""

from collections.abc import Sequence
from itertools import groupby

import numpy as np
import tensorflow as tf

from keras_preresnet.signals import Signals, Unit
from keras_preresnet.units import UnitParts


class AdditiveForm:
    """How far x_L is from (prod λ) x_l + Σ F^(x_i), equations (5) and (8), for every pair (l, L) of a chain.

    The error of a pair, e_{l,L}, follows from that of (l, L-1) without further rounding:

        e_{l,l} = 0        e_{l,L+1} = λ_L e_{l,L} + (x_{L+1} - λ_L x_L - F_L)

    So the largest and the smallest error over all l, element by element, are carried on from unit to unit, and the cost
    is linear in the depth.
    """

    def __init__(self):
        self._low = self._high = tf.zeros([], tf.float64)

    def add(self, x: tf.Tensor, parts: UnitParts) -> float:
        """Goes on by one unit; returns max|e| / max|x_L|, the largest of all pairs that end at the unit's output.

        NaN if h is no multiple of x, so that there is no λ.
        """
        if parts.factor is None:
            return float("nan")
        values = x, parts.factor, parts.residual, parts.output
        x, factor, residual, output = (tf.cast(value, tf.float64) for value in values)
        one = output - factor * x - residual
        bounds = factor * tf.minimum(self._low, 0), factor * tf.maximum(self._high, 0)
        self._low, self._high = tf.minimum(*bounds) + one, tf.maximum(*bounds) + one
        worst = tf.maximum(tf.reduce_max(tf.abs(self._low)), tf.reduce_max(tf.abs(self._high)))
        return float(worst / tf.reduce_max(tf.abs(output)))


class GradientSplit:
    """The two terms of dE/dx_l, equations (6) and (9), from the end of a chain to its begin.

    direct: (prod λ) dE/dx_L. through weights: Σ_i (prod_{l<=j<i} λ_j) v_i, where v_i is the vector-Jacobian product of
    branch i alone with dE/dx_{i+1}.

    Args:
        end: dE/dx_L of the chain's last output, float64.
    """

    def __init__(self, end: tf.Tensor):
        self.direct, self.through_weights = end, tf.zeros_like(end)

    def add(self, branch: tf.Tensor, factor: tf.Tensor | None) -> None:
        """Goes on by one unit, towards the images. Without λ both terms are NaN from here on."""
        factor = tf.constant(np.nan, tf.float64) if factor is None else tf.cast(factor, tf.float64)
        self.direct = factor * self.direct
        self.through_weights = branch + factor * self.through_weights

    def residue(self, gradient: tf.Tensor) -> float:
        """Returns max|direct + through weights - gradient| / max|gradient|."""
        return relative_difference(self.direct + self.through_weights, gradient)


def relative_difference(value: tf.Tensor, reference: tf.Tensor) -> float:
    """Returns max|value - reference| / max|reference|, in float64."""
    value, reference = tf.cast(value, tf.float64), tf.cast(reference, tf.float64)
    return ratio(tf.reduce_max(tf.abs(value - reference)), tf.reduce_max(tf.abs(reference)))


def norm(value: tf.Tensor) -> float:
    """Returns the Euclidean norm over the whole batch, summed in float64."""
    return float(tf.norm(tf.cast(value, tf.float64)))


def ratio(value: float, by: float) -> float:
    """Returns the quotient; infinite or NaN where there is nothing to divide by."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.float64(value) / np.float64(by))


def chains(units: Sequence[Unit]) -> list[range]:
    """Returns the positions of neighbouring units that keep width and size, chain by chain."""
    keyed = groupby(range(len(units)), key=lambda k: (units[k].stage, units[k].widens))
    found = [list(positions) for (_, widens), positions in keyed if not widens]
    return [range(positions[0], positions[-1] + 1) for positions in found]


def measured_products(signals: Signals, chain: range, gradient: tf.Tensor) -> tuple[list[float], list[float]]:
    """Measures prod λ from each unit of a chain to its end, with F = 0, forward and backward.

    Args:
        signals: Gone through forward.
        chain: Positions of units.
        gradient: Of the chain's last output.

    Returns:
        ‖x_L‖ / ‖x_l‖ and ‖dE/dx_l‖ / ‖dE/dx_L‖, each a list with an entry for each unit; NaN for nothing by nothing.
    """
    units = [signals.units[position].without_residual() for position in chain]
    inputs = [signals.inputs[chain[0]]]
    for unit in units:
        inputs.append(unit.parts(inputs[-1]).output)
    forward = [ratio(norm(inputs[-1]), norm(x)) for x in inputs[:-1]]
    gradient = tf.cast(gradient / tf.reduce_max(tf.abs(gradient)), inputs[0].dtype)
    end, backward = norm(gradient), []
    for unit, x in zip(reversed(units), reversed(inputs[:-1]), strict=True):
        gradient, _, _ = unit.pull_back(x, gradient)
        backward.append(ratio(norm(gradient), end))
    return forward, backward[::-1]
