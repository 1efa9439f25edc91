"""Trials that tune several optimizers alike: as many, over equal spans in log-space.

Learning rate and weight decay are varied around the values of each configuration; those
of Lion and AdamW mirror each other.
"""

import dataclasses
import itertools
import math
import shlex
from pathlib import Path
from typing import Any

import numpy as np

from lion_jax import cli
from lion_jax.compare.markdown import counted
from lion_jax.config import Config, ConfigError, OptimizerConfig, check
from lion_jax.config.reference import parse

RATE = "optimizer.learning_rate"
DECAY = "optimizer.weight_decay"
OWN_DECAY = "optimizer.options.weight_decay"  # of a function of the user's own
FACTOR = {RATE: 3.0, DECAY: 10.0, OWN_DECAY: 10.0}  # between two neighbours of a grid
TRIAL_SEED = 100  # the first; final runs begin at 0
RATIO = 3.0, 10.0  # of AdamW's learning rate to Lion's, and of Lion's decay to AdamW's


@dataclasses.dataclass(frozen=True)
class Plan:
    """How every configuration is tuned."""

    trials: int  # per configuration: learning rates times decays
    seeds: int  # per trial
    ratio: float
    out: Path
    random: int | None = None  # seed of random values; None: a grid


def commands(paths: list[str], plan: Plan) -> list[str]:
    """Returns the commands that make every configuration's trials.

    Every configuration has as many trials, and its values span equal factors around
    those of its file. Beside AdamW's for the same model, Lion's lie around those of
    AdamW's file, with `ratio` times smaller learning rates and as many times larger
    decays. A configuration without weight decay has as many trials over the
    same span of learning rates.

    Args:
      paths: Configuration files.
      plan: How they are tuned.

    Raises:
      ConfigError: If a file or a number is wrong.
    """
    if plan.trials < 2 or plan.seeds < 1 or not RATIO[0] <= plan.ratio <= RATIO[1]:
        raise ConfigError(
            f"--trials={plan.trials}, --trial_seeds={plan.seeds},"
            f" --ratio={plan.ratio:g}: there must be at least 2 trials of at least 1"
            f" seed, and the ratio is from {RATIO[0]:g} to {RATIO[1]:g}; set"
            " --trials=9 --trial_seeds=1 --ratio=10."
        )
    loaded = {path: cli.load_config(path) for path in paths}
    for config in loaded.values():
        check(config)
    _check_names(loaded)
    adamw = _adamws(loaded)
    lines = []
    for path, config in loaded.items():
        centers = _centers(path, config.optimizer)
        sibling = adamw.get(_protocol(config))
        if config.optimizer.name == "lion" and sibling:
            centers = _centers(sibling, loaded[sibling].optimizer)
            centers = {
                field: _mirrored(field, center, plan.ratio)
                for field, center in centers.items()
            }
        for sweeps in _sweeps(centers, plan):
            words = ["python", "-m", "lion_jax.compare", "run", "--configs", path]
            words += ["--seeds", str(plan.seeds), "--first_seed", str(TRIAL_SEED)]
            words += ["--out", str(plan.out)]
            for field, values in sweeps.items():
                words += ["--sweep", f"{field}={','.join(map(_short, values))}"]
            lines.append(shlex.join(words))
    return lines


def _mirrored(field: str, center: float, ratio: float) -> float:
    """Returns Lion's value for AdamW's: 0.003 / 10 is the 0.0003 that a file holds."""
    value = center / ratio if field == RATE else center * ratio
    return float(f"{value:.12g}")


def _short(value: float) -> str:
    """Returns a number in six digits, or in as many as it has."""
    text = f"{value:g}"
    return text if float(text) == value else repr(value)


def _check_names(loaded: dict[str, Config]) -> None:
    """Refuses two configurations of one name, whose trials would be one's."""
    named: dict[str, str] = {}
    for path, config in loaded.items():
        other = named.setdefault(config.name, path)
        if other != path:
            raise ConfigError(
                f"--configs: {other} and {path} are both called {config.name!r}; give"
                " one of them another name."
            )


def _adamws(loaded: dict[str, Config]) -> dict[str, str]:
    """Returns AdamW's files by the protocol that they share with Lion's."""
    found: dict[str, str] = {}
    for path, config in loaded.items():
        if config.optimizer.name != "adamw":
            continue
        other = found.setdefault(_protocol(config), path)
        if other != path:
            raise ConfigError(
                f"--configs: {other} and {path} have AdamW for one protocol, and Lion's"
                " trials mirror one of them; leave the other out."
            )
    return found


def _protocol(config: Config) -> str:
    """Returns what files share that differ in their optimizers only."""
    fields = dataclasses.asdict(config)
    return repr({k: v for k, v in fields.items() if k not in ("name", "optimizer")})


def note(lines: list[str], trials: int) -> str:
    """Says what proposed grids of so many trials cannot show; empty if nothing."""
    rates, decays = _shape(trials)
    varies = any(field in line for line in lines for field in (DECAY, OWN_DECAY))
    if decays >= 3 or not varies:
        return ""
    better = next(n for n in itertools.count(trials) if _shape(n)[1] >= 3)
    lacks = (
        "the weight decay is not varied"
        if decays == 1
        else "both decays lie on the edge of the grid, as does the best trial"
    )
    return (
        f"note: {trials} trials are {rates} learning rates x"
        f" {counted(decays, 'weight decay')}: {lacks}; --trials={better} has"
        f" {_shape(better)[0]} x {_shape(better)[1]}, and --random=0 varies both."
    )


def _centers(path: str, optimizer: OptimizerConfig) -> dict[str, float]:
    """Returns the values around which an optimizer is tuned, by field."""
    centers: dict[str, Any] = {RATE: optimizer.learning_rate}
    if not parse(optimizer.name):
        centers[DECAY] = optimizer.weight_decay
    elif "weight_decay" in optimizer.options:
        centers[OWN_DECAY] = optimizer.options["weight_decay"]
    for field, center in centers.items():
        if type(center) not in (int, float) or (field == RATE and center == 0):
            raise ConfigError(
                f"{path}: {field} is {center!r}, but a grid is centred on a number"
                " other than 0; set it in the file."
            )
    return {field: center for field, center in centers.items() if center != 0}


def _sweeps(centers: dict[str, float], plan: Plan) -> list[dict[str, list[float]]]:
    """Returns the values of the fields: of one command for a grid, else per trial."""
    if plan.random is None:
        rates, decays = _shape(plan.trials)
        spans = {RATE: _span(rates), DECAY: _span(decays), OWN_DECAY: _span(decays)}
        counts = {RATE: rates, DECAY: decays, OWN_DECAY: decays}
        if len(centers) == 1:
            counts[RATE] = plan.trials
        powers = {x: np.linspace(*spans[x], counts[x]) for x in centers}
        return [{x: _values(centers[x], powers[x], x, 2) for x in centers}]
    # The same places for all configurations, within the spans of the largest square
    # grid: they do not depend on how a number of trials happens to be divided.
    reach = max(1.0, (math.isqrt(plan.trials) - 1) / 2)
    drawn = np.random.default_rng(plan.random).uniform(size=(plan.trials, 2))
    return [
        {
            # More digits: of two draws that round to one value, one would be lost.
            field: _values(center, [reach * (2 * place - 1)], field, 5)
            for (field, center), place in zip(centers.items(), row, strict=False)
        }
        for row in drawn
    ]


def _shape(trials: int) -> tuple[int, int]:
    """Returns how many rates and decays: as square as may be, rates in the majority."""
    decays = max(d for d in range(1, math.isqrt(trials) + 1) if trials % d == 0)
    return trials // decays, decays


def _span(count: int) -> tuple[int, int]:
    """Returns from which power of the factor to which values lie around a centre."""
    # With an even count there is one more below the centre than above it.
    return -(count // 2), count - count // 2 - 1


def _values(center: float, powers, field: str, digits: int) -> list[float]:
    """Returns rounded multiples of a centre, which itself stays as it is.

    Raises:
      ConfigError: If two of them are the same number, or one is none.
    """
    exact = [center * FACTOR[field] ** float(power) for power in powers]
    values = [
        float(f"{value:.{digits}g}") if power else center
        for value, power in zip(exact, powers, strict=True)
    ]
    if len({*values}) < len(values) or not all(1e-30 < v < 1e30 for v in values):
        raise ConfigError(
            f"{field}: {len(values)} values around {center:g} are too many for one"
            " span; set a smaller --trials."
        )
    return values
