"""Which runs the commands of a campaign ask for: a file per command beside the records.

A file is named by its content and never changed, so any number of processes may write
them at once; the runs of a campaign are those that all of them name.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping, Set
from pathlib import Path
from typing import Any

from lion_jax.compare import shards
from lion_jax.compare.record_checks import is_seed
from lion_jax.compare.records import DAMAGED, RecordError, require_format
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
        require_format(path, values.pop("format"), FORMAT)
        _require_types(values)
        return Request(**values)
    except DAMAGED as error:
        raise RecordError(
            f"{path} does not name the runs of a campaign ({error}); remove it, and the"
            " next compare run writes it again."
        ) from error


def _require_types(values: Mapping[str, Any]) -> None:
    """Checks what is read from a file.

    Raises:
      LookupError: If a field is missing.
      ValueError: Names the first field that is wrong.
    """
    for name, is_item in ("labels", _is_label), ("seeds", is_seed):
        items = values[name]
        if not isinstance(items, list) or not all(map(is_item, items)):
            raise ValueError(f"its {name} are {items!r}")
    if type(count := values["shards"]) is not int or count < 1:
        raise ValueError(f"its shards is {count!r}")
    if (by := values["by"]) not in shards.BY:
        raise ValueError(f"its by is {by!r}, not {' or '.join(shards.BY)}")


def _is_label(value: object) -> bool:
    return isinstance(value, str) and value != ""


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
