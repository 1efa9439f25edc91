"""Weights and images drawn by name, for PyTorch's models and ours alike."""

import zlib
from collections.abc import Mapping, Sequence

import numpy as np


def drawn(shapes: Mapping[str, Sequence[int]]) -> dict[str, np.ndarray]:
    """Draws each array by its name, at a scale that keeps activations near one."""
    return {name: _draw(name, tuple(shape)) for name, shape in shapes.items()}


def _draw(name: str, shape: tuple[int, ...]) -> np.ndarray:
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    if name.endswith("running_var") or (name.endswith("weight") and len(shape) == 1):
        return rng.uniform(0.5, 1.5, shape).astype(np.float32)
    fan_in = np.prod(shape[1:]) if len(shape) > 1 else 100
    return rng.normal(0, fan_in**-0.5, shape).astype(np.float32)


def images() -> np.ndarray:
    """Two images of 32 pixels: float32, channels last."""
    return np.random.default_rng(1).normal(size=(2, 32, 32, 3)).astype(np.float32)
