"""Runs without a record: which are missing, and the folders in which they are made."""

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lion_jax import identity
from lion_jax.compare import records
from lion_jax.compare.points import Point, resolve
from lion_jax.compare.shards import WHOLE, Shard
from lion_jax.config import ConfigError
from lion_jax.training import run_folder

UNFINISHED = "unfinished"


def folder_of(out: Path, label: str, seed: int) -> Path:
    """Returns where a run is made until it has its record."""
    name = records.path_of(out, label, seed).parent.name
    return out / UNFINISHED / name / f"seed_{seed}"


def folders(out: Path) -> Iterator[tuple[str, int, Path]]:
    """Yields label, seed and folder of each run that was begun and has no record."""
    for folder in sorted((out / UNFINISHED).glob("*/seed_*")):
        if not folder.name.removeprefix("seed_").isdecimal():
            continue
        label, seed = records.run_at(folder)
        if not records.path_of(out, label, seed).exists():
            yield label, seed, folder


def damage(folder: Path) -> str:
    """Returns why nobody can go on with a run that was begun; empty if somebody can.

    Raises:
      OSError: If a file cannot be read, as where its folder is being removed.
    """
    for name in run_folder.CONFIG, run_folder.RESULT:
        try:
            values = run_folder.read_json(folder / name)
            if name == run_folder.CONFIG and values is not None:
                identity.fill(values)
        except (run_folder.RunFolderError, ConfigError) as error:
            return f"{name}: {error.__cause__ or error}"
    left = run_folder.left_of_a_run(folder)
    if left and not (folder / run_folder.CONFIG).exists():
        return f"{left[0]} is there, but no {run_folder.CONFIG}"
    return ""


def remove(out: Path, folder: Path) -> None:
    """Removes a run's folder, and those above it that are empty.

    Other processes may do the same, or begin runs beside it.
    """
    shutil.rmtree(folder, ignore_errors=True)
    for parent in (folder.parent, out / UNFINISHED):
        with contextlib.suppress(OSError):  # it is not empty, or gone
            parent.rmdir()


def check(
    points: list[Point],
    seeds: Sequence[int],
    out: Path,
    resolved: dict[str, dict[str, Any]] | None = None,
    shard: Shard = WHOLE,
) -> list[tuple[Point, int]]:
    """Returns the runs of a shard that are missing, in order; writes nothing.

    Args:
      points: Configurations.
      seeds: Seeds of each.
      out: The folder of the comparison.
      resolved: The configurations as they are stored, by label; None to make them.
      shard: Whose runs; those of other shards may be made meanwhile.

    Raises:
      RunFolderError: If a record or an unfinished run is there, but of another
        configuration, or damaged.
      RecordError: If a record cannot be read.
    """
    if resolved is None:
        resolved = resolve(points)
    for point in points:
        wanted = resolved[point.label]
        for path in records.path_of(out, point.label, 0).parent.glob("seed_*.json"):
            saved = records.read(path).config
            if different := records.differences(saved, wanted):
                raise run_folder.RunFolderError(
                    f"{path} is of another configuration: {', '.join(different)}; give"
                    " another --out, or remove it."
                )
    missing = [
        (point, seed)
        for point, seed in shard.own(seeds, points)
        if not records.path_of(out, point.label, seed).exists()
    ]
    for point, seed in missing:
        wanted = resolved[point.label] | {"seed": seed}
        folder = folder_of(out, point.label, seed)
        try:
            run_folder.check(folder, wanted, may_grow=False)
            run_folder.read_json(folder / run_folder.RESULT)
        except (run_folder.RunFolderError, FileNotFoundError) as error:
            # Another process records the run first and then removes its folder.
            if records.path_of(out, point.label, seed).exists():
                continue
            if why := damage(folder):
                raise run_folder.RunFolderError(
                    f"{folder} is damaged ({why}); remove that folder, and the run"
                    " begins anew."
                ) from error
            raise
    return missing
