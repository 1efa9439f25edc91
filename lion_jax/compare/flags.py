"""The flags of the comparison's commands."""

import dataclasses
import glob
import itertools
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from lion_jax import cli, recipes
from lion_jax.compare import measures, shards
from lion_jax.config import About, Config, ConfigError

Configs = Annotated[
    list[str],
    About(
        "configuration files or names, apart by spaces or commas, or a quoted pattern"
        " such as 'configs/sample_*.py'; list: prints the names (required)",
        also=("config",),
    ),
]


@dataclasses.dataclass
class RunFlags:
    """Trains every configuration with every seed, one run after the other.

    Each run leaves a record in --out. Rerun the same command to add the runs that are
    missing, also after Ctrl-C, SIGTERM or SIGKILL; more seeds may be added at any time.
    With --sweep, every configuration is trained with every combination of the swept
    values, and no run evaluates on the test set: settings are chosen on validation.
    --config.<field> sets a field of all configurations.

    Several processes, also on several machines, divide the runs by --shard and share
    --out: run k of the whole list, seed by seed and all configurations in turn, belongs
    to shard k mod N, whatever is there already. The runs of a seed, which are compared
    in pairs, are then made by several processes; with --shard_by=seed by one.
    """

    configs: Configs = dataclasses.field(default_factory=list)
    seeds: Annotated[int, About("number of seeds per configuration", ge=1)] = 25
    first_seed: Annotated[int, About("first seed", ge=0)] = 0
    out: Annotated[
        Path | None,
        About(
            "folder of the records; made if absent (required)",
            also=("workdir", "output_dir"),
        ),
    ] = None
    sweep: Annotated[
        list[str],
        About(
            "values of a field, such as optimizer.learning_rate=1e-4,3e-4; repeatable"
        ),
    ] = dataclasses.field(default_factory=list)
    time_limit: Annotated[
        float,
        About("seconds after which no further run is started", gt=0),
    ] = math.inf
    shard: Annotated[
        str,
        About(
            "I/N: the runs of shard I of N alone, counted from 0 as in job arrays, such"
            " as $SLURM_ARRAY_TASK_ID/8; empty: all"
        ),
    ] = ""
    shard_by: Annotated[
        str,
        About(
            "what is assigned to the shards: single runs, which differ in number by 1"
            " at most, or seeds, so that one machine makes all runs of a seed",
            choices=shards.BY,
        ),
    ] = shards.BY[0]
    compilation_cache: cli.CompilationCache = ""

    def load(self) -> Config:
        """Returns the first file's configuration; without files, the default one."""
        return cli.load_config(paths(self.configs)[0]) if self.configs else Config()


@dataclasses.dataclass
class StatusFlags:
    """Shows how many runs of how many are in --out, and who works on what.

    Locks name their process; whether it is still at work is known on its own machine,
    and elsewhere where the shared disk passes locks on.
    """

    out: Annotated[Path | None, About("folder of the records (required)")] = None
    json: Annotated[bool, About("print one JSON object, for scripts")] = False


@dataclasses.dataclass
class ReportFlags:
    """Writes a report of the records in --out, and nothing else.

    These are report.md, report.html, report.json, comparisons.csv, comparisons.tex and
    pictures as PNG and SVG. The same records make the same report.
    """

    out: Annotated[Path | None, About("folder of the records (required)")] = None
    primary: Annotated[
        str,
        About(
            "the one measure that decides, named before the runs are made; all others"
            " are exploratory",
            choices=measures.NAMES,
        ),
    ] = measures.PRIMARY
    target: Annotated[
        str,
        About(
            "validation accuracy to reach, in (0, 1), named before the runs are made,"
            " or one per model, resnet50=0.9,vit_b16=0.8, or per model@data; default:"
            " for each model and data set what half of the runs of its worst"
            " configuration reach, in whole percent"
        ),
    ] = ""


@dataclasses.dataclass
class GridFlags:
    """Prints the commands that tune every configuration alike.

    Each has as many trials over equal spans around the values in its file; beside
    AdamW's, Lion's have --ratio times smaller learning rates and as many times larger
    decays.
    """

    configs: Configs = dataclasses.field(default_factory=list)
    trials: Annotated[
        int, About("trials per file; 9, 12, 15 or 16 make good grids")
    ] = 9
    trial_seeds: Annotated[int, About("seeds per trial")] = 1
    ratio: Annotated[float, About("3 to 10")] = 10.0
    random: Annotated[
        int | None,
        About(
            "seed of random values within the spans of a square grid; without it, a"
            " grid",
            ge=0,
        ),
    ] = None
    out: Annotated[Path, About("folder of the records, for compare run")] = Path("DIR")


def paths(configs: list[str]) -> list[str]:
    """Returns the files that words stand for: paths by commas, patterns.

    Raises:
      ConfigError: If there is no word, or a pattern that no file matches.
    """
    if not configs:
        raise ConfigError("--configs is missing; give files: --configs A.py B.py.")
    files = []
    for path in itertools.chain(*map(_apart, configs)):
        pattern = os.path.expanduser(path)
        if glob.has_magic(pattern) and not os.path.exists(pattern):
            matches = _matches(pattern) or [*map(str, recipes.find(path))]
            if not matches:
                raise ConfigError(
                    f"--configs={path}: no file matches, and no name of those that"
                    " lion_jax.train --config list shows; give existing files."
                )
            files += matches
        else:
            files.append(path)
    return files


def _apart(word: str) -> Iterator[str]:
    """Divides a word at its commas, but for those in the name of a file that is there.

    Of several such names the longest counts.
    """
    parts = word.split(",")
    while parts:
        names = (",".join(parts[:n]) for n in range(len(parts), 1, -1))
        name = next(filter(_is_there, names), parts[0])
        yield name
        del parts[: 1 + name.count(",")]


def _is_there(path: str) -> bool:
    pattern = os.path.expanduser(path)
    return os.path.exists(pattern) or bool(_matches(pattern))


def _matches(pattern: str) -> list[str]:
    """Returns the files that match; a folder that is there is none of the pattern."""
    folder, rest = pattern, ""
    while glob.has_magic(folder) and not os.path.exists(folder):
        folder, name = os.path.split(folder)
        rest = os.path.join(name, rest) if rest else name
    return sorted(glob.glob(os.path.join(glob.escape(folder), rest)))
