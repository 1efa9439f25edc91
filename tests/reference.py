"""Lion in NumPy float64, one array, written from the paper's equations: the oracle."""

import numpy as np


def lion_steps(theta, gradients, *, eta, b1=0.9, b2=0.99, decay=0.0, signs=None):
    """Yields (theta, m, c) after each gradient.

    `signs`, if given, are the directions to take instead of sign(c): where c is at
    the rounding error of float32, either sign is right, and the trajectories must not
    be compared past that point without agreeing on one.
    """
    theta = np.asarray(theta, np.float64)
    m = np.zeros_like(theta)
    for t, g in enumerate(np.asarray(gradients, np.float64)):
        c = b1 * m + (1 - b1) * g
        direction = np.sign(c) if signs is None else signs[t]
        m = b2 * m + (1 - b2) * g
        theta = theta - eta * (direction + decay * theta)
        yield theta, m, c
