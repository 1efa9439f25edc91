"""Many runs, one after the other: configurations x sweeps x seeds, each recorded.

Runs are made seed by seed, all configurations in turn, so that a campaign that is cut
short has as many of each. A configuration is compiled once, whatever the seeds.
"""

import collections
import dataclasses
import itertools
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
from rich.console import Console

from lion_jax import environment, identity
from lion_jax.compare import making, records, requested, shards
from lion_jax.compare.compiled import build, forget_data, images_of
from lion_jax.compare.making import Making
from lion_jax.compare.points import Point, plan, resolve
from lion_jax.compare.shards import WHOLE, Shard
from lion_jax.compare.unfinished import UNFINISHED, check
from lion_jax.config import ConfigError
from lion_jax.training import run_folder
from lion_jax.training.console import Print, Show, outcome, printer, progress, unfailing
from lion_jax.training.program import Program

__all__ = ["UNFINISHED", "Campaign", "Point", "check", "plan", "run"]

SPLIT = (
    "Note: with this number of shards each makes runs of some configurations only, so"
    " that optimizers differ in their machines too; --shard_by=seed assigns seeds."
)


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
    shard: Shard = WHOLE  # whose runs are made


def run(campaign: Campaign) -> bool:
    """Makes the shard's runs that are missing, each with its record.

    What other processes hold is left to them, with a line.

    Returns:
      Whether none of the shard's is missing in the end.

    Raises:
      ConfigError: If the data or the devices do not fit a configuration, or a file that
        it refers to has changed since the campaign began.
      DataError: If the data are unavailable.
      RunFolderError: If another process makes the same shard, or other runs are there.
      CheckpointError: If a run's state cannot be restored, or saved.
    """
    with unfailing(campaign.console), jax.transfer_guard("allow"):
        return _run(campaign)


def _run(campaign: Campaign) -> bool:
    say, started = printer(campaign.console), time.perf_counter()
    notes = _Notes(say)
    forget_data()
    # Once: files may change while the runs are made.
    resolved = resolve(campaign.points)
    points, seeds, shard = campaign.points, campaign.seeds, campaign.shard
    plans = points, seeds, campaign.out, resolved, shard
    check(*plans)  # usage errors come first
    sizes = {}
    for point in points:
        sizes[point.label] = images_of(point.config)
        if campaign.interrupted():
            say("interrupted before the first run; rerun the same command to resume.")
            return False
    packages = map(identity.packages, resolved.values())
    described = dict(itertools.chain(*(named.items() for named in packages)))
    described |= environment.describe()  # of the code that runs, whatever comes later
    with shards.locked(shard, campaign.out):
        missing = [
            Making(
                point,
                seed,
                campaign.out,
                resolved[point.label] | {"seed": seed},
                described,
                campaign.tested,
                campaign.interrupted,
                notes.take,
            )
            for point, seed in check(*plans)
        ]
        labels = [point.label for point in points]
        asked = requested.Request(labels, [*seeds], shard.count, shard.by)
        requested.write(campaign.out, asked)
        own = len(shard.own(seeds, points))
        of = "" if shard == WHOLE else f", shard {shard.name}"
        say(
            f"{len(points)} configurations x {len(seeds)} seeds{of}:"
            f" {own - len(missing)} done, {len(missing)} remaining"
        )
        if missing and shard.splits_optimizers(len(points)):
            say(SPLIT)
        total = sum(sizes[run.point.label] for run in missing)
        with progress(campaign.console, total) as show:
            until = started + campaign.time_limit
            series = _Series(sizes, own, until, show, say, campaign.on_run)
            return series.make(missing)


@dataclasses.dataclass
class _Notes:
    """Lines about runs: what holds for all seeds of a configuration is said once."""

    say: Print
    said: set[tuple[str, str]] = dataclasses.field(default_factory=set)

    def take(self, run: Making, line: str) -> None:
        """Says a line, unless it was said of another run of the configuration."""
        if (run.point.label, line) not in self.said:
            self.said.add((run.point.label, line))
            self.say(f"{run}: {line}")


@dataclasses.dataclass
class _Series:
    """Makes runs, one after the other; leaves to other processes what they hold."""

    sizes: dict[str, int]  # images that a run trains on, by label
    own: int  # how many runs are the shard's, made or not
    until: float  # of `time.perf_counter`, after which no run is begun
    show: Show
    say: Print
    on_run: Callable[[records.Record], None]
    built: dict[str, tuple[Program, float]] = dataclasses.field(default_factory=dict)
    took: list[float] = dataclasses.field(default_factory=list)  # seconds of each run
    before: int = 0  # images of the runs that are done

    def make(self, missing: list[Making]) -> bool:
        """Makes runs; returns whether none is missing in the end.

        What another process holds is tried again after all others, once, since that
        process may have ended.
        """
        queue = collections.deque(missing)
        held: dict[str, str] = {}  # run and process
        while queue:
            if time.perf_counter() > self.until:
                self.say(f"--time_limit is over; {len(queue)} runs remaining")
                return False
            run = queue.popleft()
            place = f"[{self.own - len(queue)}/{self.own}] {run}"
            try:
                if not self._make_one(run, place, len(queue)):
                    self.say(f"interrupted in {run}; rerun the same command to resume.")
                    return False
                held.pop(str(run), None)
            except making.RecordedError:
                self.say(f"{place}: made by another process")
                self.before += self.sizes[run.point.label]
                held.pop(str(run), None)
            except run_folder.InUseError:
                holder = run.holder or "another process"
                if str(run) not in held:
                    queue.append(run)
                    self.say(f"{run} is left to {holder}, which holds it")
                held[str(run)] = holder
            if all(run.point is not other.point for other in queue):
                self.built.pop(run.point.label, None)
        if held:
            named = ", ".join(f"{run} ({holder})" for run, holder in held.items())
            self.say(
                f"held by other processes: {named}; rerun the same command should one"
                " of them end without its record."
            )
        return not held

    def _make_one(self, run: Making, place: str, left: int) -> bool:
        """Makes a run and reports it; returns False if it was interrupted.

        Raises:
          InUseError: If another process holds it.
          RecordedError: If another process has made it.
        """
        begun, label = time.perf_counter(), run.point.label
        # Both before minutes of compilation; `making.make` asks again.
        if run.record.exists():
            raise making.RecordedError
        if run.holder:
            raise run_folder.InUseError(run.holder)
        if run.interrupted():
            return False
        if is_first := label not in self.built:
            self.say(f"compiling {label} ...")
            self.built[label] = build(run.point.config)
        _require_unchanged(run, compiled_now=is_first)
        before = self.before
        record = making.make(
            run,
            *self.built[label],
            lambda phase, done: self.show(f"{run}, {phase}", before + done),
        )
        if record is None:
            return False
        self.before += self.sizes[label]
        self.took.append(time.perf_counter() - begun)
        minutes = statistics.median(self.took) * left / 60
        self.say(
            f"{place}: {outcome(record.result)}; {self.took[-1]:.0f} s, about"
            f" {minutes:.0f} min left"
        )
        self.on_run(record)
        return True


def _require_unchanged(run: Making, *, compiled_now: bool) -> None:
    """Refuses files that changed since the campaign began, whose records name them.

    Code is read when a configuration is compiled, `init_from` for every run.

    Raises:
      ConfigError: Names the files.
    """
    now = identity.resolve(run.point.config)
    changed = [
        text
        for text in identity.changed_files(run.config, now)
        if compiled_now or text.startswith("init_from")
    ]
    if changed:
        raise ConfigError(f"{run}: {', '.join(changed)}.")
