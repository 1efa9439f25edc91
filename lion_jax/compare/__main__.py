"""Many runs and what they say: `python -m lion_jax.compare run | report | grid`."""

import argparse
import math
import re
from pathlib import Path

from rich.console import Console

from lion_jax import cli, data, runtime
from lion_jax.compare import campaign, grid, measures, records, report
from lion_jax.compare.analysis import Options
from lion_jax.config import ConfigError
from lion_jax.training import checkpoint, logs

MISTAKES = (data.DataError, logs.RunFolderError, records.RecordError)
FAILURES = (checkpoint.CheckpointError, OSError)
RUN = """\
Trains every configuration with every seed, one run after the other, and keeps a record
of each in --out. The same command again makes what is missing, also after Ctrl-C,
SIGTERM or SIGKILL. More seeds may be added at any time. With --sweep, every
configuration is trained with every combination of the swept values, and no run looks at
the test set: what is to be chosen is chosen on validation. Fields are set for all
configurations with --config.<field>=<value>."""
REPORT = """\
Makes a report of the records in --out (report.md, report.html, report.json,
comparisons.csv, comparisons.tex, pictures as PNG and SVG), and nothing else: the same
records make the same report."""

GRID = """\
Prints the commands that tune every configuration alike: as many trials each, AdamW's
around the values in its file, Lion's with --ratio times smaller learning rates and as
many times larger decays."""


def main(argv: list[str]) -> int:
    """Runs the command; returns its exit status."""
    parser = cli.ArgumentParser(prog="python -m lion_jax.compare", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="run | report | grid")
    run = commands.add_parser(
        "run", help="make runs", description=RUN, allow_abbrev=False
    )
    run.add_argument("--configs", required=True, help="configuration files, by commas")
    run.add_argument("--seeds", type=int, default=25, help="how many; default 25")
    run.add_argument("--first_seed", type=int, default=0, help="default 0")
    run.add_argument("--out", type=Path, required=True, help="folder; made if absent")
    run.add_argument(
        "--sweep",
        action="append",
        default=[],
        metavar="FIELD=VALUE,...",
        help="values of a field, such as optimizer.learning_rate=1e-4,3e-4; repeatable",
    )
    run.add_argument(
        "--time_limit",
        type=float,
        default=math.inf,
        metavar="SECONDS",
        help="begin no run after that; the one under way is finished",
    )
    run.add_argument("--compilation_cache", default="", help=cli.COMPILATION_CACHE)
    run.set_defaults(command=_run)
    told = commands.add_parser(
        "report", help="tables, tests, pictures", description=REPORT
    )
    told.add_argument("--out", type=Path, required=True, help="folder of the records")
    told.add_argument(
        "--primary",
        choices=measures.NAMES,
        default=measures.PRIMARY,
        help="the one measure that decides, named before the runs are made; all others"
        " are exploratory; default %(default)s",
    )
    told.add_argument(
        "--target",
        metavar="ACCURACY",
        help="validation accuracy to reach, in (0, 1), named before the runs are made,"
        " or one per model: resnet50=0.9,vit_b16=0.8; default: for each model what half"
        " of the runs of its worst configuration reach, in whole percent",
    )
    told.set_defaults(command=_report)
    tuned = commands.add_parser(
        "grid", help="propose trials", description=GRID, allow_abbrev=False
    )
    tuned.add_argument(
        "--configs", required=True, help="configuration files, by commas"
    )
    tuned.add_argument("--trials", type=int, default=8, help="per file; default 8")
    tuned.add_argument(
        "--trial_seeds", type=int, default=1, help="per trial; default 1"
    )
    tuned.add_argument("--ratio", type=float, default=10.0, help="3 to 10; default 10")
    tuned.add_argument("--out", type=Path, default=Path("DIR"), help="for compare run")
    tuned.set_defaults(command=_grid)
    arguments, rest = parser.parse_known_args(argv)
    return arguments.command(arguments, rest)


def _run(arguments: argparse.Namespace, rest: list[str]) -> int:
    if arguments.seeds < 1 or arguments.first_seed < 0:
        raise ConfigError(
            f"--seeds={arguments.seeds}, --first_seed={arguments.first_seed}: there"
            " must be at least one seed, from 0 on; set --seeds=25 --first_seed=0."
        )
    if not arguments.time_limit > 0:
        raise ConfigError(
            f"--time_limit={arguments.time_limit} must be > 0 seconds, or left out."
        )
    overrides = dict(_override(text) for text in rest)
    sweeps = dict(_sweep(text) for text in arguments.sweep)
    given = [*(text.partition("=")[0] for text in arguments.sweep), *overrides]
    if twice := [field for field in given if given.count(field) > 1]:
        raise ConfigError(
            f"{twice[0]} is set twice; give it once, with all its values by commas."
        )
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    points = campaign.plan(arguments.configs.split(","), overrides, sweeps)
    out = arguments.out.expanduser()
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out={out} is a file; give a folder.")
    kinds = [point.config.arithmetic() for point in points]
    any_of = {name: any(kind[name] for kind in kinds) for name in kinds[0]}
    runtime.start(arguments.compilation_cache, **any_of)
    with cli.caught_signals() as interrupted:
        finished = campaign.run(
            campaign.Campaign(
                points,
                seeds,
                out,
                not sweeps,
                arguments.time_limit,
                interrupted,
                Console(),
            )
        )
        if interrupted() and not finished:
            return 128 + interrupted()
    return 0


def _override(text: str) -> tuple[str, str]:
    found = re.fullmatch(r"--config\.([^=]+)=(.*)", text, re.DOTALL)
    if not found:
        raise ConfigError(
            f"{text!r} is no flag; see python -m lion_jax.compare run --help."
        )
    cli.require_field(found[1])
    if found[1] in ("seed", "name"):
        raise ConfigError(f"{text}: --seeds sets the seeds, and files have names.")
    return found[1], found[2]


def _sweep(text: str) -> tuple[str, list[str]]:
    field, _, values = text.partition("=")
    if not values:
        raise ConfigError(
            f"--sweep={text} must be FIELD=VALUE,..., such as"
            " optimizer.learning_rate=1e-4,3e-4."
        )
    cli.require_field(field)
    if field in ("seed", "name"):
        raise ConfigError(
            f"--sweep={text}: --seeds sets the seeds, and files have names."
        )
    return field, values.split(",")


def _report(arguments: argparse.Namespace, rest: list[str]) -> int:
    if rest:
        raise ConfigError(
            f"{rest[0]!r} is no flag; see python -m lion_jax.compare report --help."
        )
    targets = measures.parse_targets(arguments.target) if arguments.target else None
    out = arguments.out.expanduser()
    found = records.read_all(out)
    written = report.write(found, out, Options(arguments.primary, targets))
    print(*written, sep="\n")
    return 0


def _grid(arguments: argparse.Namespace, rest: list[str]) -> int:
    if rest:
        raise ConfigError(
            f"{rest[0]!r} is no flag; see python -m lion_jax.compare grid --help."
        )
    paths = arguments.configs.split(",")
    numbers = arguments.trials, arguments.trial_seeds, arguments.ratio
    print(*grid.commands(paths, *numbers, arguments.out), sep="\n")
    return 0


if __name__ == "__main__":
    cli.run(main, MISTAKES, FAILURES)
