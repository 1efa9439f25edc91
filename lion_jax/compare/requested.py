"""Which runs the commands of a campaign ask for: a file per command beside the records.

A file is named by its content and never changed, so any number of processes may write
them at once; the runs of a campaign are those that all of them name.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Set
from pathlib import Path

from lion_jax.compare import shards
from lion_jax.compare.records import RecordError
from lion_jax.compare.shards import Shard
from lion_jax.files import write_whole

FOLDER = "campaigns"
FORMAT = 1

Run = tuple[str, int]  # label and seed


@dataclasses.dataclass(frozen=True)
class Request:
    """What one command asks for, whichever shard it makes of it."""

    labels: list[str]  # in the order of the campaign
    seeds: list[int]
    shards: int
    by: str

    def shards_of(self, runs: Set[Run]) -> list[Shard]:
        """Returns the shards to which some runs belong; none without shards."""
        if self.shards == 1:
            return []
        every = [Shard(i, self.shards, self.by) for i in range(self.shards)]
        return [x for x in every if runs & {*x.own(self.seeds, self.labels)}]


def write(out: Path, request: Request) -> None:
    """Writes what a command asks for, unless that is there."""
    values = {"format": FORMAT, **dataclasses.asdict(request)}
    text = json.dumps(values, indent=1) + "\n"
    path = out / FOLDER / f"{hashlib.sha256(text.encode()).hexdigest()[:12]}.json"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text, shared=True)


def read_all(out: Path) -> list[Request]:
    """Reads what all commands requested; older versions wrote nothing.

    Raises:
      RecordError: If a file cannot be read.
    """
    return [_read(path) for path in sorted((out / FOLDER).glob("*.json"))]


def _read(path: Path) -> Request:
    try:
        values = json.loads(path.read_text("utf-8"))
        if (version := values.pop("format")) != FORMAT:
            raise ValueError(f"its format is {version}, not {FORMAT}")
        request = Request(**values)
        if request.shards < 1 or {*map(type, request.seeds)} - {int}:
            raise ValueError("its numbers are none")
    except (OSError, LookupError, ValueError, TypeError, AttributeError) as error:
        raise RecordError(
            f"{path} does not name the runs of a campaign ({error}); remove it, and the"
            " next compare run writes it again."
        ) from error
    return request


def runs(requests: Iterable[Request]) -> frozenset[Run]:
    """Returns all runs that commands ask for."""
    every = (shards.WHOLE.own(one.seeds, one.labels) for one in requests)
    return frozenset(run for own in every for run in own)


def missing(asked: Iterable[Run], there: Set[Run]) -> dict[str, list[int]]:
    """Returns the seeds that are requested and not there, by label."""
    seeds: dict[str, list[int]] = {}
    for label, seed in sorted({*asked} - there):
        seeds.setdefault(label, []).append(seed)
    return seeds
