"""The record of a finished run: all that a report says of it, in one JSON file."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from lion_jax.files import write_whole

FOLDER = "records"
FORMAT = 1


class RecordError(Exception):
    """A record that is missing or cannot be read."""


@dataclasses.dataclass(frozen=True)
class Record:
    """One run of a comparison, also one that diverged."""

    label: str  # the configuration's name, and what was swept
    seed: int
    swept: dict[str, Any]  # fields set by a sweep, by dotted path
    config: dict[str, Any]  # resolved
    epochs: list[dict[str, Any]]  # as in metrics.jsonl
    result: dict[str, Any]  # as in result.json; test figures None in a sweep
    memory: dict[str, int]  # bytes of parameters, of the optimizer's state, of a step
    environment: dict[str, Any]
    format: int = FORMAT

    @property
    def diverged(self) -> bool:
        """Whether a loss or parameter became non-finite."""
        return self.result["stop_reason"] == "diverged"


def path_of(out: Path, label: str, seed: int) -> Path:
    """Returns where a run's record is, or would be."""
    return out / FOLDER / label / f"seed_{seed}.json"


def write(record: Record, out: Path) -> None:
    """Writes a record whole or not at all."""
    path = path_of(out, record.label, record.seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(dataclasses.asdict(record), indent=1) + "\n")


def read(path: Path) -> Record:
    """Reads a record.

    Raises:
      RecordError: If the file holds none.
    """
    try:
        record = Record(**json.loads(path.read_text()))
        if record.format != FORMAT:
            raise ValueError(f"its format is {record.format}, not {FORMAT}")
        if not isinstance(record.epochs, list) or "stop_reason" not in record.result:
            raise ValueError("its epochs or its result are missing")
    except (OSError, ValueError, TypeError) as error:
        raise RecordError(
            f"{path} is no record of a run ({error}); remove it, and the run is made"
            " again."
        ) from error
    return record


def read_all(out: Path) -> list[Record]:
    """Reads all records of a comparison, by label and seed.

    Raises:
      RecordError: If there are none, or one cannot be read.
    """
    found = [read(path) for path in (out / FOLDER).glob("*/seed_*.json")]
    if not found:
        raise RecordError(
            f"--out={out} holds no records; make some with python -m lion_jax.compare"
            " run."
        )
    return sorted(found, key=lambda record: (record.label, record.seed))
