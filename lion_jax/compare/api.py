"""The comparison in Python: what `python -m lion_jax.compare run | report` do."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from rich.console import Console

from lion_jax import config as configs
from lion_jax import interruption
from lion_jax.compare import campaign, given, measures, records, requested, shards
from lion_jax.compare.flags import ReportFlags, RunFlags
from lion_jax.compare.records import Record
from lion_jax.compare.targets import checked
from lion_jax.config import Config
from lion_jax.files import expanded
from lion_jax.training import tables


def run(
    configurations: Iterable[Config],
    out: str | PathLike[str],
    *,
    seeds: int | Sequence[int] = 25,
    sweep: Mapping[str, Sequence[Any]] | None = None,
    time_limit: float = math.inf,
    shard: tuple[int, int] = (0, 1),
    shard_by: str = "run",
    console: Console | None = None,
    on_run: Callable[[Record], None] = lambda _: None,
) -> bool:
    """Trains every configuration with every seed; makes the runs that are missing.

    Args:
      configurations: Each with a name of its own; their own seeds are not used.
      out: Folder of the records; made if absent. Called again with the same one, it
        makes the runs that are missing.
      seeds: How many, from 0, or which, each once: whole numbers below 2**32.
      sweep: Values of fields by dotted path, such as `optimizer.learning_rate`: every
        combination is run, and none of these runs looks at the test set.
      time_limit: Seconds after which no further run is begun.
      shard: `(i, n)` makes the runs of shard i of n alone, counted from 0, so that
        processes can share `out`: run k of all, seed by seed and all configurations in
        turn, belongs to shard k mod n.
      shard_by: "run", or "seed" to assign seeds, each with all its runs.
      console: Where progress is shown; None for the standard output;
        `Console(quiet=True)` for nowhere.
      on_run: Called with each run's record once it is written.

    Returns:
      Whether no run of the shard is missing in the end; those that other processes hold
      are left to them.

    Raises:
      ConfigError: If a configuration cannot be run, two have one name, there is none,
        no such shard, seed, field or value, or `out` can be no folder.
      DataError: If the data are unavailable.
      RecordError: If a record in `out` cannot be read.
      RunFolderError: If `out` holds records of other configurations or a damaged run,
        or another process makes the same shard.
      CheckpointError: If a run's state cannot be restored, or saved.

    Examples:
      >>> from dataclasses import replace
      >>> from lion_jax import compare
      >>> from lion_jax.config import OptimizerConfig
      >>> lion, adamw = OptimizerConfig(), OptimizerConfig("adamw", b2=0.999)
      >>> adamw.learning_rate, adamw.weight_decay = 3e-3, 0.1
      >>> ours = replace(config, name="lion", optimizer=lion)  # doctest: +SKIP
      >>> theirs = replace(config, name="adamw", optimizer=adamw)  # doctest: +SKIP
      >>> compare.run([ours, theirs], "records", seeds=2)  # doctest: +SKIP
      True
    """

    def configure(base: Config, values: Mapping[str, Any]) -> Config:
        config = configs.with_values(base, values)
        tables.check(config)
        return config

    given.require_rule(RunFlags, "time_limit", time_limit)
    own, chosen = shards.of(shard, shard_by), given.seeds(seeds)
    swept, folder = given.sweep(sweep or {}), given.folder(expanded(out))
    points = campaign.plan(given.configurations(configurations), configure, swept)
    with interruption.caught_signals() as interrupted:
        return campaign.run(
            campaign.Campaign(
                points=points,
                seeds=chosen,
                out=folder,
                tested=not swept,
                time_limit=time_limit,
                interrupted=interrupted,
                console=console or Console(),
                on_run=on_run,
                shard=own,
            )
        )


def report(
    out: str | PathLike[str],
    *,
    primary: str = measures.PRIMARY,
    targets: Mapping[str, float] | None = None,
) -> list[Path]:
    """Writes a report of the records in a folder; returns the files written.

    Args:
      out: Folder of the records, as of `run`; the report is written there.
      primary: The one measure that decides, named before the runs are made.
      targets: Validation accuracy to reach, in (0, 1), by the model's name, by
        `model@data` for one of its data sets, "" for all; None for what the runs
        themselves reach on each, which the report says.

    Raises:
      RecordError: If there are no records, or one cannot be read.
      ConfigError: If there is no such measure, a target is no share between 0 and 1,
        or they do not fit the records.

    Examples:
      >>> files = compare.report("records")  # doctest: +SKIP
      >>> "report.html" in [file.name for file in files]  # doctest: +SKIP
      True
    """
    # Here, since SciPy and Matplotlib take seconds to import, which no run needs.
    from lion_jax.compare import reports
    from lion_jax.compare.analysis import Options

    given.require_rule(ReportFlags, "primary", primary)
    named = checked(targets) if targets else None
    folder = expanded(out)
    asked = requested.runs(requested.read_all(folder))
    options = Options(primary, named, asked)
    return reports.write(records.read_all(folder), folder, options)
