"""Many runs and what they say: `python -m lion_jax.compare run`, `... report`."""

import dataclasses
import glob
import math
import os
from pathlib import Path
from typing import Annotated

from rich.console import Console

from lion_jax import cli, data, runtime
from lion_jax.compare import campaign, records, report
from lion_jax.config import About, Config, ConfigError
from lion_jax.flags import HELP, CommandLine
from lion_jax.suggestions import require_field
from lion_jax.training import checkpoint, logs
from lion_jax.training.tables import TABLES

PROG = "python -m lion_jax.compare"
MISTAKES = (data.DataError, logs.RunFolderError, records.RecordError)
FAILURES = (checkpoint.CheckpointError, OSError)
SET_ELSEWHERE = ("seed", "name")  # of the fields of a configuration


@dataclasses.dataclass
class RunFlags:
    """Trains every configuration with every seed, one run after the other.

    Each run leaves a record in --out. Rerun the same command to add the runs that are
    missing, also after Ctrl-C, SIGTERM or SIGKILL; more seeds may be added at any time.
    With --sweep, every configuration is trained with every combination of the swept
    values, and no run evaluates on the test set: settings are chosen on validation.
    --config.<field> sets a field of all configurations.
    """

    configs: Annotated[
        list[str],
        About(
            "configuration files, apart by spaces or commas, or a quoted pattern such"
            " as 'configs/sample_*.py' (required)",
            also=("config",),
        ),
    ] = dataclasses.field(default_factory=list)
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
    compilation_cache: cli.CompilationCache = ""

    def load(self) -> Config:
        """Returns the first file's configuration; without files, the default one."""
        paths = _paths(self.configs) if self.configs else []
        return cli.load_config(paths[0]) if paths else Config()


@dataclasses.dataclass
class ReportFlags:
    """Writes report.md and pictures of the records in --out, and nothing else.

    The same records make the same report.
    """

    out: Annotated[Path | None, About("folder of the records (required)")] = None
    target: Annotated[
        float | None,
        About(
            "validation accuracy to reach; default: for each model what half of the"
            " runs of its worst configuration reach, in whole percent",
            gt=0,
            lt=1,
        ),
    ] = None


def main(argv: list[str]) -> int:
    """Runs the command; returns its exit status."""
    if argv and argv[0] in COMMANDS:
        return COMMANDS[argv[0]](argv[1:])
    usage = f"{PROG} run | report, each with --help"
    if HELP & {*argv}:
        print(f"{__doc__}\n\nusage: {usage}")
        raise SystemExit(0)
    found = f"{argv[0]!r} is no command" if argv else "a command is missing"
    raise ConfigError(f"{found}: {usage}.")


def _run(argv: list[str]) -> int:
    line = CommandLine(
        f"{PROG} run", RunFlags, argv, file_of=RunFlags.load, tables=TABLES
    )
    flags = line.flags
    if not flags.configs:
        raise ConfigError("--configs is missing; give files: --configs A.py B.py.")
    sweeps = dict(_sweep(text) for text in flags.sweep)
    given = [*(text.partition("=")[0] for text in flags.sweep), *line.overridden]
    if named := [field for field in given if field in SET_ELSEWHERE]:
        raise ConfigError(
            f"--config.{named[0]}: --seeds sets the seeds, and files have names."
        )
    if twice := [field for field in given if given.count(field) > 1]:
        raise ConfigError(
            f"{twice[0]} is set twice; give it once, with all its values by commas."
        )
    out = _out(flags.out)
    points = campaign.plan(_paths(flags.configs), line.configure, sweeps)
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out={out} is a file; give a folder.")
    kinds = [point.config.arithmetic() for point in points]
    any_of = {name: any(kind[name] for kind in kinds) for name in kinds[0]}
    runtime.start(flags.compilation_cache, **any_of)
    seeds = range(flags.first_seed, flags.first_seed + flags.seeds)
    with cli.caught_signals() as interrupted:
        finished = campaign.run(
            campaign.Campaign(
                points,
                seeds,
                out,
                not sweeps,
                flags.time_limit,
                interrupted,
                Console(),
            )
        )
        if interrupted() and not finished:
            return 128 + interrupted()
    return 0


def _paths(configs: list[str]) -> list[str]:
    """Returns the files that words stand for: paths by commas, patterns."""
    paths = []
    for path in ",".join(configs).split(","):
        pattern = os.path.expanduser(path)
        if glob.has_magic(pattern) and not os.path.exists(pattern):
            if not (found := sorted(glob.glob(pattern))):
                raise ConfigError(
                    f"--configs={path}: no file matches; give existing files."
                )
            paths += found
        else:
            paths.append(path)
    return paths


def _sweep(text: str) -> tuple[str, list[str]]:
    field, _, values = text.partition("=")
    if not values:
        raise ConfigError(
            f"--sweep={text} must be FIELD=VALUE,..., such as"
            " optimizer.learning_rate=1e-4,3e-4."
        )
    require_field(field)
    return field, values.split(",")


def _out(out: Path | None) -> Path:
    if out is None:
        raise ConfigError("--out is missing; give the folder of the records.")
    return out.expanduser()


def _report(argv: list[str]) -> int:
    flags = CommandLine(f"{PROG} report", ReportFlags, argv).flags
    out = _out(flags.out)
    found = records.read_all(out)
    written = report.write(found, out, flags.target)
    print(*written, sep="\n")
    return 0


COMMANDS = {"run": _run, "report": _report}


if __name__ == "__main__":
    cli.run(main, MISTAKES, FAILURES)
