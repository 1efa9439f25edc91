"""Damaged checkpoints: found by their checksums, and set aside."""

import contextlib
import itertools
import json
import logging
import shutil
from pathlib import Path
from typing import Any

from jaxtyping import PyTree

from lion_jax import cluster
from lion_jax.training import manifest, stored
from lion_jax.training.run_folder import CHECKSUMS, DAMAGED
from lion_jax.training.stored import CheckpointError

SOUND, UNLISTED = "", "has no list"

_log = logging.getLogger(__name__)


def set_damaged_aside(folder: Path) -> None:
    """Moves damaged checkpoints to `damaged/` beside their folder; removes none.

    A checkpoint without a list of checksums was saved just before its run was killed,
    or copied without its list: it is used if all its arrays can be read. Of several
    processes, one reads the files and moves them; arrays all of them read, as Orbax
    counts their calls.

    Raises:
      CheckpointError: If all are damaged; nothing is changed then.
    """
    told = cluster.told_by_primary(lambda: json.dumps(_verdicts(folder)))
    verdicts: dict[str, str] = json.loads(told)
    unlisted = [name for name, verdict in verdicts.items() if verdict == UNLISTED]
    for name in unlisted:
        verdicts[name] = _unreadable(folder, folder / name)
    damaged = {name: verdict for name, verdict in verdicts.items() if verdict}
    if damaged and len(damaged) == len(verdicts):
        raise CheckpointError(
            f"{'; '.join(damaged.values())}: no sound checkpoint is left, and nothing"
            f" was changed; restore {folder} from a copy, or begin anew in another"
            " folder."
        )
    readable = [name for name in unlisted if name not in damaged]
    cluster.by_primary(lambda: _tidy(folder, damaged, readable))


def _verdicts(folder: Path) -> dict[str, str]:
    """Returns by step what is damaged, as far as checksums tell."""
    return {path.name: _verdict(folder, path) for path in stored.steps_in(folder)}


def _verdict(folder: Path, saved: Path) -> str:
    listed = stored.list_of(folder, int(saved.name))
    if not listed.exists():
        return UNLISTED
    try:
        manifest.check(saved, listed)
    except manifest.DamageError as error:
        return str(error)
    return SOUND


def _unreadable(folder: Path, saved: Path) -> str:
    try:
        with stored.plain_name(folder) as name:
            stored.read(Path(name) / saved.name)
    except Exception as error:  # Orbax raises what its many parts raise
        reason = stored.shortened(error)
        return f"{saved} has no list of checksums and cannot be read ({reason})"
    return SOUND


def _tidy(folder: Path, damaged: dict[str, str], readable: list[str]) -> None:
    """Moves what is damaged, lists what has no list, and says so."""
    for name, reason in damaged.items():
        aside = folder.parent / DAMAGED
        _log.warning("%s: step %s is quarantined in %s.", reason, name, aside)
        move_aside(folder, folder / name)
    for name in readable:
        _log.warning(
            "%s has no list of checksums in %s; it can be read and is used as it is.",
            folder / name,
            folder.parent / CHECKSUMS,
        )
        manifest.write(folder / name, stored.list_of(folder, int(name)))


def require_equal(there: Path, state: PyTree[Any], folder: Path) -> None:
    """Compares a checkpoint with what was saved, as `stored.require_equal`.

    One that differs is moved to `damaged/`, or the next start would resume from it.
    Each host that cannot read it does so, and one of them succeeds.
    """
    try:
        stored.require_equal(there, state, folder)
    except CheckpointError:
        with contextlib.suppress(OSError):
            move_aside(folder, folder / there.name)
        raise


def move_aside(folder: Path, saved: Path) -> None:
    """Moves a checkpoint to `damaged/` beside its folder, also to another disk."""
    place = folder.parent / DAMAGED
    place.mkdir(exist_ok=True)
    aside, others = place / saved.name, itertools.count(1)
    while aside.exists():  # of the same step, set aside before
        aside = place / f"{saved.name}.{next(others)}"
    shutil.move(saved, aside)
    stored.list_of(folder, int(saved.name)).unlink(missing_ok=True)
