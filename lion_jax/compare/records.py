"""The record of a finished run: all that a report says of it, in one JSON file."""

import dataclasses
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from lion_jax import config, data, identity
from lion_jax.compare import record_checks
from lion_jax.config.reference import REFERENCES
from lion_jax.files import write_whole
from lion_jax.training.history import Epoch, Result

FOLDER = "records"
FORMAT = 1
# What reading a file raises that is damaged, or no file of ours; OverflowError of whole
# numbers that no float holds.
DAMAGED = (OSError, LookupError, ValueError, TypeError, AttributeError, OverflowError)


class RecordError(Exception):
    """A record that is missing or cannot be read."""


@dataclasses.dataclass(frozen=True)
class Record:
    """One run of a comparison, also one that diverged."""

    label: str  # the configuration's name, and what was swept
    seed: int
    swept: dict[str, Any]  # fields set by a sweep, by dotted path
    config: dict[str, Any]  # resolved
    epochs: list[Epoch]  # as in metrics.jsonl
    result: Result  # as in result.json; test figures None in a sweep
    memory: dict[str, int]  # bytes of parameters, of the optimizer's state, of a step
    environment: dict[str, Any]
    format: int = FORMAT

    @property
    def diverged(self) -> bool:
        """Whether a loss or parameter became non-finite."""
        return self.result.stop_reason == "diverged"


def path_of(out: Path, label: str, seed: int) -> Path:
    """Returns where a run's record is, or would be."""
    return out / FOLDER / quote(label, safe=",=") / f"seed_{seed}.json"


def run_at(path: Path) -> tuple[str, int]:
    """Returns label and seed of a run by where its record, or its folder, is."""
    return unquote(path.parent.name), int(path.stem.removeprefix("seed_"))


def what_is_run(config: dict[str, Any]) -> dict[str, Any]:
    """Returns a resolved configuration without its seed and its places.

    What its references refer to stands there in words.
    """
    values = identity.without(config, _places(config) | {"seed", REFERENCES})
    code = identity.code_of(config)
    return values | ({REFERENCES: code} if code else {})


def version_of_data(run: Record) -> dict[str, Any]:
    """Returns what a run's data were, where their name does not tell: of files."""
    if not data.is_in_files(run.config["data"]["name"]):
        return {}
    return {"data's version": run.environment.get("data")}


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns the leaves of nested dictionaries by dotted path."""
    leaves = {}
    for name, value in values.items():
        nested = isinstance(value, dict)
        leaves |= flat(value, f"{prefix}{name}.") if nested else {prefix + name: value}
    return leaves


def fields_apart(
    first: dict[str, Any], second: dict[str, Any], absent: str
) -> list[tuple[str, Any, Any]]:
    """Returns the leaves in which two runs differ, and either's value, or `absent`."""
    return [
        (field, a, b)
        for field in sorted(first.keys() | second.keys())
        for a, b in [(first.get(field, absent), second.get(field, absent))]
        if a != b
    ]


def differences(saved: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """Names the fields in which two configurations compute something else."""
    places = _places(saved) & _places(wanted)
    return identity.differences(saved, wanted, places | {"seed"})


def _places(config: dict[str, Any]) -> frozenset[str]:
    """Returns the fields that change no number: where devices vote, theirs does."""
    votes = config.get("mesh", {}).get("vote", "none") != "none"
    return identity.PLACES - {"devices"} if votes else identity.PLACES


def write(record: Record, out: Path) -> None:
    """Writes a record whole or not at all."""
    path = path_of(out, record.label, record.seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(dataclasses.asdict(record), indent=1) + "\n"
    write_whole(path, text, shared=True)


def read(path: Path) -> Record:
    """Reads a record.

    Raises:
      RecordError: If the file holds none.
    """
    try:
        values = json.loads(path.read_text("utf-8"))
        require_format(path, values.get("format", FORMAT), FORMAT)
        # Fields that came after the record was made were at their defaults.
        values["config"] = identity.portable(identity.fill(values["config"]))
        config.from_dict(values["config"])
        record_checks.require_sound(values)
        if (
            values["config"]["mesh"]["vote"] != "none"
            and not values["config"]["devices"]
        ):
            values["config"]["devices"] = values["environment"].get("devices", 0)  # all
        values["epochs"] = [Epoch.from_dict(row) for row in values["epochs"]]
        values["result"] = Result.from_dict(values["result"])
        record = Record(**values)
    except config.UnknownFieldError as error:
        raise RecordError(f"{path}: {error}") from error
    except DAMAGED as error:
        raise RecordError(
            f"{path} is no record of a run ({error}); move it out of {FOLDER}/, and the"
            " run is made again."
        ) from error
    return record


def read_all(out: Path) -> list[Record]:
    """Reads all records of a comparison, by label and seed.

    A run is its label and seed, once, at its own place: a copy would count twice.

    Raises:
      RecordError: If there are none, one cannot be read, or one is at another place
        than its own.
    """
    records = []
    for path in sorted((out / FOLDER).glob("*/seed_*.json")):
        records.append(read(path))
        own = path_of(out, records[-1].label, records[-1].seed)
        if path != own:
            raise RecordError(_misplaced(path, own, records[-1]))
    if not records:
        raise RecordError(
            f"--out={out} holds no records; make some with python -m lion_jax.compare"
            " run."
        )
    first: dict[str, Record] = {}
    for record in records:
        other = first.setdefault(record.label, record)
        if different := differences(other.config, record.config):
            raise RecordError(
                f"{path_of(out, record.label, record.seed)} is of another configuration"
                f" than seed {other.seed}: {', '.join(different)}; remove one of them."
            )
    return sorted(records, key=lambda record: (record.label, record.seed))


def _misplaced(path: Path, own: Path, record: Record) -> str:
    """Returns what to do with a record that is not at its own place."""
    run = f"{record.label}, seed {record.seed}"
    if own.exists():
        return (
            f"{path} and {own} are both records of one run ({run}), which would count"
            f" twice; move {path} out of {FOLDER}/."
        )
    return f"{path} is the record of {run}, whose place is {own}; move it there."


def require_format(path: Path, version: Any, known: int) -> None:
    """Checks the format of a file that a campaign has written.

    Raises:
      RecordError: If a newer version has written it.
      ValueError: If it is none.
    """
    if type(version) is int and version > known:
        raise RecordError(
            f"{path} has format {version}, made by a newer lion_jax than this one,"
            f" which reads format {known}; upgrade lion_jax."
        )
    if type(version) is not int or version != known:
        raise ValueError(f"its format is {version!r}, not {known}")
