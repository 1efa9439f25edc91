"""metrics.jsonl in a run's folder: one line per epoch."""

import json
from collections.abc import Iterable
from pathlib import Path

from lion_jax import cluster
from lion_jax.files import finite, write_whole
from lion_jax.training.history import Epoch
from lion_jax.training.run_folder import METRICS


def rewrite(folder: Path, history: Iterable[Epoch]) -> None:
    """Makes the file equal to the history."""
    if cluster.is_primary():
        write_whole(folder / METRICS, "".join(_line(record) for record in history))


def append(folder: Path, record: Epoch) -> None:
    """Adds an epoch's line."""
    if cluster.is_primary():
        with (folder / METRICS).open("a", encoding="utf-8") as file:
            file.write(_line(record))


def read(folder: Path) -> list[Epoch]:
    """Reads the file, one record per epoch."""
    lines = (folder / METRICS).read_text("utf-8").splitlines()
    return [Epoch.from_dict(json.loads(line)) for line in lines]


def _line(record: Epoch) -> str:
    return json.dumps(finite(record.to_dict())) + "\n"
