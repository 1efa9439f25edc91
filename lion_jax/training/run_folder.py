"""A run's folder: its files, whose it is, who holds it."""

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lion_jax import cluster, identity
from lion_jax.config import ConfigError
from lion_jax.config.reference import REFERENCES
from lion_jax.files import finite, obstacle, write_whole
from lion_jax.training import locks
from lion_jax.training.history import Result

CONFIG, RESULT, METRICS = "config.json", "result.json", "metrics.jsonl"
ENVIRONMENT, CHECKPOINTS = "environment.json", "checkpoints"
CURVES, CONFUSION = "curves.png", "confusion.png"  # each with an SVG beside it
CHECKSUMS, DAMAGED, PROFILE, LOCK = "checksums", "damaged", "profile", ".lock"
STEP = re.compile("0|[1-9][0-9]*")  # a checkpoint's name
# Without config.json, these are left of a run whose configuration is unknown.
OF_A_RUN = {RESULT, METRICS, CHECKPOINTS, CHECKSUMS}
ELSEWHERE = "give another folder (--workdir or --out)"


class RunFolderError(Exception):
    """A folder that belongs to something else than the run that asks for it."""


class InUseError(RunFolderError):
    """A folder that another process holds."""


def check(
    folder: Path, config: dict[str, Any], *, may_grow: bool = True, held: bool = False
) -> list[str]:
    """Checks that a run of the configuration may use the folder; writes nothing.

    One that has kept nothing, and is not at work, makes way for it.

    Args:
      folder: The run's.
      config: The resolved configuration as nested dictionaries.
      may_grow: Whether a run of fewer epochs or less patience may be made longer.
      held: Whether this process holds the folder.

    Returns:
      The fields in which one that makes way differs.

    Raises:
      RunFolderError: If it can be no folder on this machine, or holds another run,
        naming the fields that differ, or what is left of one.
    """
    require_possible(folder)
    require_linked(folder)
    if (saved := read_json(folder / CONFIG)) is None:
        if left := left_of_a_run(folder):
            raise RunFolderError(
                f"{folder} holds {left[0]} but no {CONFIG}, so it is unknown of which"
                f" run; copy its {CONFIG} there, or {ELSEWHERE}."
            )
        return []
    require_known(folder, saved)
    different = identity.conflicts(saved, config, may_grow=may_grow)
    if different and (is_begun(folder) or (not held and _may_be_at_work(folder))):
        raise RunFolderError(
            f"{folder} holds a run of another configuration: {', '.join(different)};"
            f" {ELSEWHERE}, or remove that one."
        )
    saved = identity.fill(saved)
    return different and identity.differences(saved, config, identity.FREE)


def require_possible(folder: Path) -> None:
    """Refuses what can be no folder on this machine: raises RunFolderError."""
    if scheme := re.match(r"[a-z0-9+.-]{2,}:/", str(folder)):
        raise RunFolderError(
            f"{folder}: a folder must be on a local or mounted disk, not {scheme[0]}/;"
            f" {ELSEWHERE}, and copy it there afterwards."
        )
    if why := obstacle(folder):
        raise RunFolderError(f"{folder} can be no folder: {why}; {ELSEWHERE}.")


def require_linked(folder: Path) -> None:
    """Refuses checkpoints that are a link which leads nowhere: RunFolderError."""
    saves = folder / CHECKPOINTS
    if saves.is_symlink() and not saves.exists():
        leads = f"{saves} leads to {saves.readlink()}, which is not there"
        raise RunFolderError(f"{leads}; mount that disk, or mend the link.")


def left_of_a_run(folder: Path) -> list[str]:
    """Returns the files and folders of a run that are there, but for config.json."""
    return sorted(name for name in OF_A_RUN if (folder / name).exists())


def is_begun(folder: Path) -> bool:
    """Returns whether a folder holds anything that a run has computed."""
    files = [folder / RESULT, folder / METRICS, *(folder / CHECKSUMS).glob("*")]
    return _is_saved(folder) or any(x.exists() and x.stat().st_size for x in files)


def _may_be_at_work(folder: Path) -> bool:
    return locks.is_held(folder / LOCK) is not False  # None: on another machine


def _is_saved(folder: Path) -> bool:
    return any(STEP.fullmatch(path.name) for path in (folder / CHECKPOINTS).glob("*"))


def require_known(folder: Path, saved: dict[str, Any]) -> None:
    """Refuses a run's configuration that this version does not know.

    Raises:
      RunFolderError: Names the fields that are unknown, or the group that is none.
    """
    try:
        identity.fill(saved)
    except ConfigError as error:
        raise _unreadable(folder / CONFIG, error) from error
    if newer := identity.unknown_fields(saved):
        if not saved.keys() & identity.fill({}).keys():
            raise RunFolderError(
                f"{folder} holds a {CONFIG} that is no run's; {ELSEWHERE}."
            )
        raise RunFolderError(
            f"{folder} is of a newer version of lion_jax, which has {', '.join(newer)};"
            f" upgrade lion_jax, or {ELSEWHERE}."
        )


@contextlib.contextmanager
def occupied(
    folder: Path, config: dict[str, Any], *, reopened: bool = False
) -> Iterator[None]:
    """Makes a folder the configuration's own, and holds it against a second run.

    Args:
      folder: The run's folder; made if absent.
      config: The resolved configuration as nested dictionaries.
      reopened: Whether the run was finished and is to be longer: its configuration,
        its metrics and its result stay as they are until `lengthen`.

    Raises:
      InUseError: If another process holds it.
      RunFolderError: If another process has made it another run's since it was checked.
    """
    with locked(folder):
        check(folder, config, held=True)
        if not reopened:
            _claim(folder, config)  # first: it says whose the rest is
        yield


def require_states(folder: Path) -> None:
    """Refuses to make a finished run longer whose checkpoints are gone.

    Raises:
      RunFolderError: Says what may be done.
    """
    if (folder / RESULT).exists() and not _is_saved(folder):
        raise RunFolderError(
            f"{folder} holds a finished run without its checkpoints, so it cannot go"
            f" on; leave epochs and patience as they were, or {ELSEWHERE}."
        )


def lengthen(folder: Path, config: dict[str, Any]) -> None:
    """Makes a finished run one of a longer configuration, when it has gone on."""
    if (folder / RESULT).exists():
        _claim(folder, config)
        (folder / RESULT).unlink()


def _claim(folder: Path, config: dict[str, Any]) -> None:
    # Weights that it began with may be gone since; an earlier version did not say
    # which they were.
    before = read_json(folder / CONFIG) if is_begun(folder) else None
    saved = (before or {}).get(REFERENCES, {})
    found = config.get(REFERENCES, {})
    if before and (folder / CHECKPOINTS).exists():
        found = {k: v for k, v in found.items() if k in saved or k != "init_from"}
    config = {k: v for k, v in config.items() if k != REFERENCES}
    if code := saved | found:
        config = config | {REFERENCES: code}
    write_json(folder / CONFIG, config)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Makes a folder if need be, and holds it against other processes (`locks`).

    Raises:
      InUseError: If another process holds it.
    """

    def refusal(holder: str) -> InUseError:
        return InUseError(
            f"{folder} is in use by {holder}; wait for it to end, or {ELSEWHERE}."
        )

    with locks.held(folder / LOCK, refusal):
        yield


def read_json(path: Path) -> Any:
    """Returns what a JSON file holds, a group of values as a rule; None without it.

    Raises:
      RunFolderError: If the file is damaged.
    """
    try:
        return json.loads(path.read_text("utf-8")) if path.exists() else None
    except ValueError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> RunFolderError:
    return RunFolderError(
        f"{path} cannot be read ({error}); restore it from a copy, or {ELSEWHERE}."
    )


def write_json(path: Path, content: Any) -> None:
    """Writes a JSON file whole or not at all; non-finite numbers become null.

    Of several processes, this and what else writes here does so in process 0 alone.
    """
    if cluster.is_primary():
        write_whole(path, json.dumps(finite(content), indent=2) + "\n")


def read_result(folder: Path) -> Result | None:
    """Reads a finished run's result; None of one that is not finished.

    Raises:
      RunFolderError: If the file is damaged.
    """
    path = folder / RESULT
    values = read_json(path)
    try:
        return None if values is None else Result.from_dict(values)
    except (TypeError, AttributeError) as error:
        raise RunFolderError(
            f"{path} is no result of a run ({error}); remove it and rerun the same"
            " command, which makes it again from the last checkpoint."
        ) from error
