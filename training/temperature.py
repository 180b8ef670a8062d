"""Temperature scaling: one number that all logits are divided by, so that a net is as often right as it is sure.

Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, section 4.2. It changes no prediction.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from training.errors import UserError
from training.measures import measure_answers

LIMITS = 0.05, 20.0  # Of a temperature: a net that is always right would be made ever surer.


@dataclass(frozen=True)
class TemperatureScaling:
    """A temperature, and what it does to images that it was not fitted to.

    Args:
        temperature: Fitted to all images: the one to export with.
        answers: Rows of `training.measures.measure_answers`: each half of the images, every second one, scaled by the
            temperature that was fitted to the other half.
    """

    temperature: float
    answers: pd.DataFrame

    @property
    def words(self) -> str:
        """The temperature, and whether it only is as far as one was looked for."""
        low, high = LIMITS
        none = f" (there is no best one from {low:g} to {high:g})"
        return f"{self.temperature:.3f}{'' if 1.1 * low < self.temperature < high / 1.1 else none}"


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Returns the temperature from 0.05 to 20 at which softmax(logits / temperature) has the least cross entropy.

    Args:
        logits: `(images, classes)`, finite.
        labels: Integers `(images,)`, the true classes.
    """
    truth = np.arange(len(labels)), np.asarray(labels)

    def cross_entropy(log_temperature):
        """In the logarithm it has one minimum: it is convex in the inverse of the temperature."""
        return -log_softmax(logits / np.exp(log_temperature), axis=1)[truth].mean()

    found = minimize_scalar(cross_entropy, bounds=np.log(LIMITS), method="bounded", options={"xatol": 1e-5})
    return float(np.exp(found.x))


def scale_temperature(logits: np.ndarray, answers: pd.DataFrame) -> TemperatureScaling:
    """Returns the temperature of these logits, and the answers after it.

    Args:
        logits: `(images, classes)`, finite.
        answers: Rows of `training.measures.measure_answers` of the same images.

    Raises:
        UserError: if there is one image only, which has no other half.
    """
    if len(answers) < 2:
        raise UserError("--temperature_scaling needs two test images at least: each half is scaled by the other.")
    logits, labels = np.asarray(logits, np.float64), answers["label"].to_numpy()
    temperatures = np.empty((len(labels), 1))
    for half, other in ((0, 1), (1, 0)):
        temperatures[half::2] = fit_temperature(logits[other::2], labels[other::2])
    scaled = measure_answers(logits / temperatures, labels).set_index(answers.index)
    return TemperatureScaling(fit_temperature(logits, labels), scaled)
