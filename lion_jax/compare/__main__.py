"""Many runs and what they show: `lion_jax.compare run | status | report | grid`."""

import sys
from pathlib import Path

from rich.console import Console

from lion_jax import cli, data, interruption, runtime
from lion_jax.compare import (
    campaign,
    given,
    grid,
    records,
    report,
    shards,
    status,
    targets,
)
from lion_jax.compare.flags import GridFlags, ReportFlags, RunFlags, StatusFlags, paths
from lion_jax.config import ConfigError
from lion_jax.files import expanded
from lion_jax.flags import HELP, CommandLine
from lion_jax.suggestions import require_field
from lion_jax.training import checkpoint, run_folder
from lion_jax.training.tables import TABLES

PROG = "python -m lion_jax.compare"
MISTAKES = (data.DataError, run_folder.RunFolderError, records.RecordError)
FAILURES = (checkpoint.CheckpointError, OSError)


def main(argv: list[str]) -> int:
    """Runs the command; returns its exit status."""
    if argv and argv[0] in COMMANDS:
        return COMMANDS[argv[0]](argv[1:])
    usage = f"{PROG} run | status | report | grid, each with --help"
    if HELP & {*argv}:
        print(f"{__doc__}\n\nusage: {usage}")
        raise SystemExit(0)
    problem = f"{argv[0]!r} is no command" if argv else "a command is missing"
    raise ConfigError(f"{problem}: {usage}.")


def _run(argv: list[str]) -> int:
    line = CommandLine(
        f"{PROG} run", RunFlags, argv, file_of=RunFlags.load, tables=TABLES
    )
    flags = line.flags
    files = paths(flags.configs)
    sweeps = dict(_sweep(text) for text in flags.sweep)
    fields = [*(text.partition("=")[0] for text in flags.sweep), *line.overridden]
    given.require_sweepable(fields)
    if twice := [field for field in fields if fields.count(field) > 1]:
        raise ConfigError(
            f"{twice[0]} is set twice; give it once, with all its values by commas."
        )
    seeds = given.span(flags.first_seed, flags.seeds)
    bases = [*map(cli.load_config, files)]  # or a list of names, and nothing else
    out = _out(flags.out)
    shard = shards.parse(flags.shard, flags.shard_by)
    points = campaign.plan(bases, line.configure, sweeps)
    given.folder(out)
    kinds = [point.config.arithmetic() for point in points]
    any_of = {name: any(kind[name] for kind in kinds) for name in kinds[0]}
    runtime.start(flags.compilation_cache, **any_of)
    with interruption.caught_signals() as interrupted:
        finished = campaign.run(
            campaign.Campaign(
                points,
                seeds,
                out,
                not sweeps,
                flags.time_limit,
                interrupted,
                Console(),
                shard=shard,
            )
        )
        if interrupted() and not finished:
            return 128 + interrupted()
    return 0


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
    return expanded(out)


def _report(argv: list[str]) -> int:
    flags = CommandLine(f"{PROG} report", ReportFlags, argv).flags
    named = targets.parse(flags.target) if flags.target else None
    out = _out(flags.out)
    print(*report(out, primary=flags.primary, targets=named), sep="\n")
    if (found := status.read(out)).missing:
        print(status.as_text(found), file=sys.stderr)
    return 0


def _status(argv: list[str]) -> int:
    flags = CommandLine(f"{PROG} status", StatusFlags, argv).flags
    found = status.read(_out(flags.out))
    print(status.as_json(found) if flags.json else status.as_text(found))
    return 0


def _grid(argv: list[str]) -> int:
    flags = CommandLine(f"{PROG} grid", GridFlags, argv).flags
    plan = grid.Plan(
        flags.trials, flags.trial_seeds, flags.ratio, flags.out, flags.random
    )
    lines = grid.commands(paths(flags.configs), plan)
    print(*lines, sep="\n")
    if flags.random is None and (note := grid.note(lines, flags.trials)):
        print(note, file=sys.stderr)
    return 0


COMMANDS = {"run": _run, "status": _status, "report": _report, "grid": _grid}


if __name__ == "__main__":
    cli.run(main, MISTAKES, FAILURES)
