"""Why identity mappings: signal and gradient of a net measured unit by unit, and the paper's equations on them."""

import warnings
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from keras_preresnet.equations import (
    AdditiveForm,
    GradientSplit,
    chains,
    measured_products,
    norm,
    ratio,
    relative_difference,
)
from keras_preresnet.signals import Signals

OF_CHAINS = (  # Columns of gradients that a widening unit has no value of.
    "direct_norm",
    "weights_norm",
    "split_residue",
    "product",
    "measured_product",
    "measured_gradient_product",
)


class Propagation(NamedTuple):
    """What `measure_propagation` returns: rows for a data frame.

    units, a row for each unit from the images on; norms are Euclidean, over the whole batch:
        unit, stage, number: Position in the net, its stage, position in the stage, each from 1.
        widens: Whether it changes width or size. The columns marked * are NaN then: no equation holds across it.
        x_norm, h_norm, residual_norm, output_norm: ‖x_l‖, ‖h(x_l)‖, ‖F(x_l)‖, ‖x_{l+1}‖.
        residual_ratio: ‖F(x_l)‖ / ‖x_l‖.
        gate: Mean of g(x_l); NaN without gates.
        dead_relus: Share of ReLU channels that are zero for all images and positions; NaN without ReLUs.
        zeros: Share of ReLU outputs that are zero.
        gradient_norm, output_gradient_norm: ‖dE/dx_l‖ and ‖dE/dx_{l+1}‖.
        additive_residue*: Of (5) and (8), see `AdditiveForm`.
        direct_norm*, weights_norm*: Norms of the two terms of (6) and (9), see `GradientSplit`.
        split_residue*: Of their sum against the gradient of one ordinary tape; without it, against dE/dx_l.
        tape_difference: Of dE/dx_l against that gradient, relative to its largest element.
        product*: prod λ from this unit to the end of its stage. NaN unless λ is one number for each unit.
        measured_product*, measured_gradient_product*: The same measured with F = 0, as ‖x_L‖ / ‖x_l‖ and
            ‖dE/dx_l‖ / ‖dE/dx_L‖.
    stages, a row for each chain of units that keep width and size: `stage`, `units`, `forward_gain` (the norm of what
        its last unit gives over that of what its first is given), `backward_gain` (the same of gradients, from the last
        to the first), the largest `additive_residue` and `split_residue`.
    """

    units: list[dict]
    stages: list[dict]


def measure_propagation(
    model: keras.Model,
    images: tf.Tensor,
    labels: tf.Tensor,
    batch_statistics: bool = True,
    tape: bool = True,
    seed: int = 0,
) -> Propagation:
    """Measures how a batch goes through a net and its gradient comes back.

    Time and memory grow in proportion to the depth. With the tape all activations are in memory at once, without it
    every x_l alone.

    Args:
        model: A net of this package with a classifier, computing in float32; nothing in it changes.
        images: Preprocessed, `(batch, height, width, channels)`.
        labels: Class numbers, `(batch,)`.
        batch_statistics: Whether batch norm uses those of the batch, see `Signals`.
        tape: Whether to compare with one ordinary tape through the whole net.
        seed: Of what dropout shortcuts draw.

    Warns:
        UserWarning: for a net in half precision, whose digits are too few for the equations.

    Raises:
        ValueError: if the model is no net of this package, or has no classifier.
    """
    signals = Signals(model, images, labels, batch_statistics, seed)
    if signals.inputs[0].dtype not in (tf.float32, tf.float64):
        warnings.warn(f"{model.name} computes in {signals.inputs[0].dtype.name}: measure it in float32.", stacklevel=2)
    taped = signals.tape_gradients() if tape else None
    rows, known = _forward_rows(signals), chains(signals.units)
    _add_gradients(rows, signals, known, taped)
    return Propagation(rows, [_summary([rows[position] for position in chain]) for chain in known])


def gains(rows: list[dict]) -> dict[str, float]:
    """Returns `forward_gain` and `backward_gain` from the first to the last of neighbouring rows of units."""
    first, last = rows[0], rows[-1]
    return {
        "forward_gain": ratio(last["output_norm"], first["x_norm"]),
        "backward_gain": ratio(first["gradient_norm"], last["output_gradient_norm"]),
    }


def _forward_rows(signals):
    rows, form = [], AdditiveForm()
    for unit, x, parts in signals.forward():
        form = AdditiveForm() if unit.widens else form
        gated = unit.functions.template.unit.shortcut_layer.gated
        row = {"unit": unit.position + 1, "stage": unit.stage, "number": unit.number, "widens": unit.widens}
        row |= {"x_norm": norm(x), "h_norm": norm(parts.h), "residual_norm": norm(parts.residual)}
        row |= {"output_norm": norm(parts.output), "residual_ratio": ratio(row["residual_norm"], row["x_norm"])}
        row["gate"] = 1 - float(tf.reduce_mean(parts.factor)) if gated else np.nan
        row["dead_relus"], row["zeros"] = _silent(parts.activated)
        row["additive_residue"] = np.nan if unit.widens else form.add(x, parts)
        rows.append(row)
    return rows


def _silent(activated):
    """The share of channels that are zero throughout, and of zeros, over all ReLUs of a unit."""
    if not activated:
        return np.nan, np.nan
    zeros = [tf.cast(value <= 0, tf.float32) for value in activated]
    channels = np.concatenate([tf.reduce_mean(value, [0, 1, 2]) for value in zeros])
    sizes = [tf.size(value).numpy() for value in zeros]
    return float(np.mean(channels == 1)), float(np.average([tf.reduce_mean(value) for value in zeros], weights=sizes))


def _add_gradients(rows, signals, known, taped):
    for row in rows:
        row |= dict.fromkeys(("gradient_norm", "output_gradient_norm", "tape_difference", *OF_CHAINS), np.nan)
    by_end = {chain[-1]: chain for chain in known}
    for unit, gradients in signals.backward():
        row = rows[unit.position]
        row["gradient_norm"] = norm(gradients.at_input)
        row["output_gradient_norm"] = norm(gradients.at_output)
        reference = gradients.at_input
        if taped is not None:
            reference = taped[unit.position]
            row["tape_difference"] = relative_difference(gradients.at_input, reference)
        if unit.position in by_end:
            split, product = GradientSplit(gradients.at_output), 1.0
            _add_products(rows, signals, by_end[unit.position], gradients)
        if not unit.widens:
            split.add(gradients.branch, gradients.factor)
            product *= _number(gradients.factor)
            row |= {"direct_norm": norm(split.direct), "weights_norm": norm(split.through_weights)}
            row |= {"split_residue": split.residue(reference), "product": product}


def _number(factor):
    """λ, where it is one number."""
    return np.nan if factor is None or tf.rank(factor) else float(factor)


def _add_products(rows, signals, chain, gradients):
    """Measures where λ is one number; the gradients are those of the chain's last unit."""
    if not np.isnan(_number(gradients.factor)):
        measured = measured_products(signals, chain, gradients.at_output)
        for position, forward, backward in zip(chain, *measured, strict=True):
            rows[position] |= {"measured_product": forward, "measured_gradient_product": backward}


def _summary(rows):
    return {
        "stage": rows[0]["stage"],
        "units": len(rows),
        **gains(rows),
        "additive_residue": max(row["additive_residue"] for row in rows),
        "split_residue": max(row["split_residue"] for row in rows),
    }
