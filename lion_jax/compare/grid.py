"""Grids for tuning several optimizers alike: as many trials, mirrored spans."""

import math
import shlex
from pathlib import Path

from lion_jax import cli
from lion_jax.config import ConfigError

FACTOR = {"optimizer.learning_rate": 3.0, "optimizer.weight_decay": 10.0}
TRIAL_SEED = 100  # the first; final runs begin at 0
RATIO = 3.0, 10.0  # of AdamW's learning rate to Lion's, and of Lion's decay to AdamW's
MIRRORED = ("adamw", "lion")


def commands(
    paths: list[str], trials: int, seeds: int, ratio: float, out: Path
) -> list[str]:
    """Returns the commands that make every configuration's trials.

    The grid of AdamW is centred on AdamW's file; Lion's has `ratio` times smaller
    learning rates and as many times larger decays, so that both cover the same spans
    in log-space with the same number of trials. Without a file of AdamW's the first
    file is the centre.

    Args:
      paths: Configuration files, of Lion's and AdamW's.
      trials: Trials per configuration; learning rates times decays.
      seeds: Seeds per trial.
      ratio: Between 3 and 10.
      out: The folder of the comparison.

    Raises:
      ConfigError: If a file or a number is wrong, or an optimizer has no mirror.
    """
    if trials < 2 or seeds < 1 or not RATIO[0] <= ratio <= RATIO[1]:
        raise ConfigError(
            f"--trials={trials}, --trial_seeds={seeds}, --ratio={ratio:g}: there must"
            " be at least 2 trials of at least 1 seed, and the ratio is from"
            f" {RATIO[0]:g} to {RATIO[1]:g}; set --trials=8 --trial_seeds=1 --ratio=10."
        )
    loaded = {path: cli.load_config(path).optimizer for path in paths}
    for path, optimizer in loaded.items():
        if optimizer.name not in MIRRORED:
            raise ConfigError(
                f"--configs={path}: grids are mirrored between Lion and AdamW, not for"
                f" {optimizer.name!r}; give its grid to compare run with --sweep."
            )
    center = min(loaded.values(), key=lambda optimizer: optimizer.name)
    rates, decays = _shape(trials)
    lines = []
    for path, optimizer in loaded.items():
        scale = _lions_scale(optimizer.name, ratio) / _lions_scale(center.name, ratio)
        sweeps = {
            "optimizer.learning_rate": _values(
                center.learning_rate / scale, rates, "optimizer.learning_rate"
            ),
            "optimizer.weight_decay": _values(
                center.weight_decay * scale, decays, "optimizer.weight_decay"
            ),
        }
        words = ["python", "-m", "lion_jax.compare", "run", "--configs", path]
        words += ["--seeds", str(seeds), "--first_seed", str(TRIAL_SEED)]
        words += ["--out", str(out)]
        for field, values in sweeps.items():
            words += ["--sweep", f"{field}={','.join(f'{v:g}' for v in values)}"]
        lines.append(shlex.join(words))
    return lines


def _lions_scale(name: str, ratio: float) -> float:
    return ratio if name == "lion" else 1.0


def _shape(trials: int) -> tuple[int, int]:
    """Returns how many rates and decays: as square as may be, rates in the majority."""
    decays = max(d for d in range(1, math.isqrt(trials) + 1) if trials % d == 0)
    return trials // decays, decays


def _values(center: float, count: int, field: str) -> list[float]:
    """Returns values around a centre, equally far apart in log-space, rounded."""
    if center == 0:
        raise ConfigError(
            f"{field} is 0, which no grid can be centred on; set it in the file."
        )
    # With an even count there is one more below the centre than above it.
    steps = range(-(count // 2), count - count // 2)
    return [float(f"{center * FACTOR[field] ** step:.2g}") for step in steps]
