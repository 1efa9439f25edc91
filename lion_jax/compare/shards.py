"""Shards: which runs of a campaign are one process's, whatever is there already."""

import contextlib
import dataclasses
import math
import operator
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from lion_jax.config import ConfigError
from lion_jax.training import locks, run_folder

T = TypeVar("T")
BY = ("run", "seed")
LOCKS = ".locks"  # a file for each shard, beside `.lock` of a campaign without shards
NAME = re.compile(r"(\d+)_of_(\d+)(_by_seed)?")


@dataclasses.dataclass(frozen=True)
class Shard:
    """Shard `index` of `count`, counted from 0 as the indices of job arrays are."""

    index: int = 0
    count: int = 1
    by: str = "run"  # what is assigned: single runs, or seeds with all their runs

    def __str__(self) -> str:
        """Returns what `--shard` takes."""
        return f"{self.index}/{self.count}"

    @property
    def name(self) -> str:
        """Returns the shard's number and what is assigned, such as `2/8 by seed`."""
        return f"{self} by {self.by}"

    def own(self, seeds: Sequence[int], things: Sequence[T]) -> list[tuple[T, int]]:
        """Returns the shard's runs, in the order of the campaign.

        That order is seed by seed, all configurations in turn. Run k of it, or by seed
        the k-th seed, belongs to shard k mod `count`.

        Args:
          seeds: All seeds of the campaign.
          things: All its configurations, or their labels.
        """
        runs = [(thing, seed) for seed in seeds for thing in things]
        each = len(things) if self.by == "seed" else 1
        return [
            run for k, run in enumerate(runs) if k // each % self.count == self.index
        ]

    def splits_optimizers(self, configurations: int) -> bool:
        """Returns whether each shard has runs of some configurations only."""
        return self.by == "run" and math.gcd(self.count, configurations) > 1

    def lock(self, out: Path) -> Path:
        """Returns the shard's lock file."""
        if self.count == 1:
            return out / run_folder.LOCK
        by = "_by_seed" if self.by == "seed" else ""
        return out / LOCKS / f"{self.index}_of_{self.count}{by}"


WHOLE = Shard()


def make(index: int, count: int, by: str = "run") -> Shard:
    """Returns a shard.

    Raises:
      ConfigError: If there is none of that number.
    """
    if not 0 <= index < count or by not in BY:
        raise _refused(f"{index}/{count}", by)
    return Shard(index, count, by)


def of(pair: Any, by: Any = "run") -> Shard:
    """Returns a shard, given its number and how many there are.

    Raises:
      ConfigError: If there is none of that number.
    """
    try:
        index, count = map(operator.index, pair)
    except (TypeError, ValueError):
        raise ConfigError(
            f"shard={pair!r}, but it must be a pair of a number and how many there are;"
            " give shard=(0, 8) for the first of 8."
        ) from None
    return make(index, count, by)


def parse(text: str, by: str = "run") -> Shard:
    """Reads `I/N`; an empty text is the whole campaign.

    Raises:
      ConfigError: If it is none.
    """
    if not text:
        return WHOLE
    if not (match := re.fullmatch(r"(\d+)/(\d+)", text)):
        raise _refused(text, by)
    return make(int(match[1]), int(match[2]), by)


def _refused(text: str, by: Any) -> ConfigError:
    if by not in BY:
        return ConfigError(f"shard_by={by!r}, but it must be {' or '.join(BY)}.")
    return ConfigError(
        f"--shard={text}, but it must be I/N with 0 <= I < N, as shards count from 0;"
        " give --shard=0/8 for the first of 8 and --shard=7/8 for the last."
    )


@contextlib.contextmanager
def locked(shard: Shard, out: Path) -> Iterator[None]:
    """Holds a shard of a campaign against a second process with the same one.

    Raises:
      InUseError: If another process holds it.
    """
    if shard.count == 1:
        with run_folder.locked(out):
            yield
        return

    def refusal(holder: str) -> run_folder.InUseError:
        return run_folder.InUseError(
            f"shard {shard} of {out} is in use by {holder}; wait for it to end, or give"
            " another --shard."
        )

    with locks.held(shard.lock(out), refusal):
        yield


def with_locks(out: Path) -> list[tuple[Shard, Path]]:
    """Returns the shards that have a lock file, the whole campaign among them."""
    found = [(WHOLE, WHOLE.lock(out))] if WHOLE.lock(out).exists() else []
    for path in (out / LOCKS).glob("*_of_*"):
        if match := NAME.fullmatch(path.name):
            by = "seed" if match[3] else "run"
            found.append((Shard(int(match[1]), int(match[2]), by), path))
    return sorted(found, key=lambda pair: (pair[0].count, pair[0].by, pair[0].index))
