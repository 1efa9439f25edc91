"""Many runs, one after the other: configurations x sweeps x seeds, each recorded.

Runs are made seed by seed, all configurations in turn, so that a campaign that is cut
short has as many of each. A configuration is compiled once, whatever the seeds.
"""

import dataclasses
import itertools
import shutil
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
from rich.console import Console

from lion_jax import environment, identity
from lion_jax.compare import records
from lion_jax.compare.compiled import build, forget_data, images_of
from lion_jax.compare.points import Point, plan, resolve
from lion_jax.config import Config
from lion_jax.training import loop, run_folder
from lion_jax.training.console import Show, outcome, printer, progress, unfailing
from lion_jax.training.history import Result
from lion_jax.training.program import Program

__all__ = ["Campaign", "Point", "check", "plan", "run"]

UNFINISHED = "unfinished"


@dataclasses.dataclass(frozen=True)
class Campaign:
    """What to run, where, and where to report it."""

    points: list[Point]
    seeds: Sequence[int]
    out: Path
    tested: bool  # whether runs look at the test set
    time_limit: float  # seconds after which no run is begun
    interrupted: Callable[[], int]  # number of the signal received, or 0
    console: Console
    on_run: Callable[[records.Record], None] = lambda _: None  # after each is recorded


def check(
    points: list[Point],
    seeds: Sequence[int],
    out: Path,
    resolved: dict[str, dict[str, Any]] | None = None,
) -> list[tuple[Point, int]]:
    """Returns the runs that are missing, in order; writes nothing.

    Args:
      points: Configurations.
      seeds: Seeds of each.
      out: The folder of the comparison.
      resolved: The configurations as they are stored, by label; None to make them.

    Raises:
      RunFolderError: If a record or an unfinished run is there, but of another
        configuration.
      RecordError: If a record cannot be read.
    """
    if resolved is None:
        resolved = resolve(points)
    for point in points:
        wanted = resolved[point.label]
        for path in records.path_of(out, point.label, 0).parent.glob("seed_*.json"):
            saved = records.read(path).config
            if different := records.differences(saved, wanted):
                raise run_folder.RunFolderError(
                    f"{path} is of another configuration: {', '.join(different)}; give"
                    " another --out, or remove it."
                )
    runs = [*itertools.product(seeds, points)]
    missing = [
        (point, seed)
        for seed, point in runs
        if not records.path_of(out, point.label, seed).exists()
    ]
    for point, seed in missing:
        wanted = resolved[point.label] | {"seed": seed}
        run_folder.check(_folder(out, point, seed), wanted, may_grow=False)
    return missing


def run(campaign: Campaign) -> bool:
    """Makes all runs that are missing, each with its record.

    Returns:
      Whether none is missing in the end.

    Raises:
      ConfigError: If the data or the devices do not fit a configuration.
      DataError: If the data are unavailable.
      RunFolderError: If another process makes runs there, or there are other ones.
      CheckpointError: If a run's state cannot be restored, or saved.
    """
    with unfailing(campaign.console), jax.transfer_guard("allow"):
        return _run(campaign)


def _run(campaign: Campaign) -> bool:
    say, started = printer(campaign.console), time.perf_counter()
    forget_data()
    # Once: files may change while the runs are made.
    resolved = resolve(campaign.points)
    plans = campaign.points, campaign.seeds, campaign.out, resolved
    check(*plans)  # usage errors come first
    sizes = {point.label: images_of(point.config) for point in campaign.points}
    packages = map(identity.packages, resolved.values())
    described = dict(itertools.chain(*(named.items() for named in packages)))
    described |= environment.describe()  # of the code that runs, whatever comes later
    with run_folder.locked(campaign.out):
        missing = check(*plans)
        wanted = len(campaign.points) * len(campaign.seeds)
        say(
            f"{len(campaign.points)} configurations x {len(campaign.seeds)} seeds:"
            f" {wanted - len(missing)} done, {len(missing)} remaining"
        )
        total = sum(sizes[point.label] for point, _ in missing)
        built: dict[str, tuple[Program, float]] = {}
        took, before = list[float](), 0
        with progress(campaign.console, total) as show:
            for number, (point, seed) in enumerate(missing):
                begun = time.perf_counter()
                if begun - started > campaign.time_limit:
                    say(f"--time_limit is over; {len(missing) - number} runs remaining")
                    return False
                if point.label not in built:
                    say(f"compiling {point.label} ...")
                    built[point.label] = build(point.config)
                text = f"{point.label}, seed {seed}"
                result = _run_one(
                    campaign,
                    point,
                    seed,
                    *built[point.label],
                    # Bound now: the bar is also drawn later.
                    lambda phase, done, at=before, what=text: show(
                        f"{what}, {phase}", at + done
                    ),
                    resolved[point.label] | {"seed": seed},
                    described,
                )
                if result is None:
                    say(f"interrupted in {text}; rerun the same command to resume.")
                    return False
                before += sizes[point.label]
                took.append(time.perf_counter() - begun)
                left = statistics.median(took) * (len(missing) - number - 1)
                place = f"[{wanted - len(missing) + number + 1}/{wanted}]"
                say(
                    f"{place} {text}: {outcome(result)}; {took[-1]:.0f} s, about"
                    f" {left / 60:.0f} min left"
                )
                if all(point is not other for other, _ in missing[number + 1 :]):
                    del built[point.label]
    return True


def _run_one(
    campaign: Campaign,
    point: Point,
    seed: int,
    program: Program,
    seconds_compile: float,
    show: Show,
    resolved: dict[str, Any],
    described: dict[str, Any],
) -> Result | None:
    """Makes one run, from where it stopped, and its record; None if interrupted."""
    config = _with_seed(point.config, seed)
    folder = _folder(campaign.out, point, seed)
    result = run_folder.read_result(folder)
    if result is None:
        with run_folder.occupied(folder, resolved):
            result = loop.execute(
                loop.Run(
                    config,
                    program,
                    folder,
                    campaign.interrupted,
                    lambda _: None,  # one line per run; the bar shows epochs
                    show,
                    campaign.tested,
                ),
                seconds_compile,
            )
        if result is None:
            return None
    record = records.Record(
        label=point.label,
        seed=seed,
        swept=point.swept,
        config=resolved,
        epochs=run_folder.read_metrics(folder),
        result=result,
        memory=program.memory(),
        environment=described | {"data": program.signature.data},
    )
    records.write(record, campaign.out)
    shutil.rmtree(folder)
    for parent in (folder.parent, campaign.out / UNFINISHED):
        if parent.exists() and not any(parent.iterdir()):
            parent.rmdir()
    campaign.on_run(record)
    return result


def _folder(out: Path, point: Point, seed: int) -> Path:
    """Returns where a run is made until it has its record."""
    name = records.path_of(out, point.label, seed).parent.name
    return out / UNFINISHED / name / f"seed_{seed}"


def _with_seed(config: Config, seed: int) -> Config:
    return dataclasses.replace(config, seed=seed)
