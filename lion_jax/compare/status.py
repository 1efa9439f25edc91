"""How far a campaign is: how many runs of how many, and who works on what."""

import contextlib
import dataclasses
import json
from collections.abc import Iterator, Set
from pathlib import Path

from lion_jax.compare import records, requested, shards, unfinished
from lion_jax.compare.markdown import spans
from lion_jax.training import locks, metrics, run_folder


@dataclasses.dataclass(frozen=True)
class Work:
    """Something that is locked, or was: a shard, or a run that is not recorded yet."""

    what: str
    at_work: bool | None  # None: on another machine, of which only the words are known
    holder: locks.Holder | None  # whom the lock names

    @classmethod
    def of(cls, what: str, lock: Path) -> "Work":
        """Returns the state of a lock."""
        return cls(what, locks.is_held(lock), locks.read(lock))

    def __str__(self) -> str:
        """Returns what it is and who holds it."""
        if self.at_work:
            return f"{self.what}: {self.holder or 'an unknown process'}"
        if self.holder is None:
            return f"{self.what}: held by nobody"
        if self.at_work is None:
            return f"{self.what}: {self.holder}, as its lock says"
        return f"{self.what}: held by nobody; {self.holder} has ended"


@dataclasses.dataclass(frozen=True)
class Status:
    """What is in the folder of a comparison."""

    known: bool  # whether it is recorded which runs were requested
    done: dict[str, list[int]]  # seeds by label
    missing: dict[str, list[int]]
    diverged: dict[str, list[int]]
    unfinished: list[Work]
    shards: list[Work]  # those that are held, or whose process was killed
    missing_shards: list[str]  # to which missing runs belong


def read(out: Path) -> Status:
    """Reads what is in a folder; writes nothing.

    Raises:
      RecordError: If nothing of a campaign is there, or something cannot be read.
    """
    there = any((out / records.FOLDER).glob("*/seed_*.json"))
    asked = requested.read_all(out)
    begun = [*unfinished.folders(out)]
    # It raises where there is nothing at all.
    runs = records.read_all(out) if there or not (asked or begun) else []
    done = {(run.label, run.seed) for run in runs}
    every = requested.runs(asked)
    started = {(label, seed) for label, seed, _ in begun}
    working = [
        Work.of("all" if shard == shards.WHOLE else shard.name, lock)
        for shard, lock in shards.with_locks(out)
    ]
    return Status(
        bool(asked),
        requested.missing(done, set()),
        requested.missing(every | started, done),
        requested.missing({(r.label, r.seed) for r in runs if r.diverged}, set()),
        [_unfinished(*run) for run in begun],
        [work for work in working if work.at_work or work.holder],
        [*_missing_shards(asked, every - done)],
    )


def _unfinished(label: str, seed: int, folder: Path) -> Work:
    """Returns the state of a run that was begun."""
    text = f"{label}, seed {seed}"
    with contextlib.suppress(OSError):  # it is being removed
        if why := unfinished.damage(folder):
            text += f", damaged ({why}; remove {folder}, and the run begins anew)"
        else:
            text += _epochs(folder)
    return Work.of(text, folder / run_folder.LOCK)


def _epochs(folder: Path) -> str:
    """Returns how far a run is; empty where that cannot be read."""
    # A file may be missing, a line be half written, or be none.
    with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
        config = run_folder.read_json(folder / run_folder.CONFIG) or {}
        done = len(metrics.read(folder))
        return f", {done} of {config.get('epochs', '?')} epochs"
    return ""


def _missing_shards(
    asked: list[requested.Request], missing: Set[requested.Run]
) -> Iterator[str]:
    """Yields the shards whose runs are missing; of grown lists the longest alone."""
    for one in asked:
        grown = any(
            dataclasses.replace(other, seeds=one.seeds) == one
            and other.seeds[: len(one.seeds)] == one.seeds
            for other in asked
            if other is not one
        )
        if not grown:
            yield from (shard.name for shard in one.shards_of(missing))


def as_text(status: Status) -> str:
    """Returns the status as lines."""
    done = sum(map(len, status.done.values()))
    missing = sum(map(len, status.missing.values()))
    lines = [f"{done} of {done + missing} runs are there."]
    if not status.known:
        lines = [f"{done} runs are there; how many were requested is not recorded."]
    rows = [("configuration", "done", "diverged", "missing seeds")]
    for label in sorted({*status.done, *status.missing}):
        there, left = status.done.get(label, []), status.missing.get(label, [])
        share = f"{len(there)}/{len(there) + len(left)}" if status.known else len(there)
        diverged = len(status.diverged.get(label, []))
        rows.append((label, str(share), str(diverged), spans(left)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for label, share, diverged, seeds in rows:
        numbers = f"{share:>{widths[1]}}  {diverged:>{widths[2]}}"
        lines.append(f"{label:<{widths[0]}}  {numbers}  {seeds}".rstrip())
    for title, works in ("begun", status.unfinished), ("shards", status.shards):
        lines += [f"{title}:", *(f"  {work}" for work in works)] if works else []
    busy = {work.what for work in status.shards if work.at_work is not False}
    if idle := [name for name in status.missing_shards if name not in busy]:
        lines.append(f"shards with missing runs, not at work: {', '.join(idle)}")
    return "\n".join(lines)


def as_json(status: Status) -> str:
    """Returns the status as one JSON object, for scripts."""
    values = dataclasses.asdict(status)
    values["runs_there"] = sum(map(len, status.done.values()))
    values["runs_missing"] = sum(map(len, status.missing.values()))
    return json.dumps(values, indent=1)
