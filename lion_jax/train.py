"""Trains one model once: `python -m lion_jax.train --config quickstart`."""

import dataclasses
import os
from pathlib import Path
from typing import Annotated

from rich.console import Console

from lion_jax import cli, cluster, data, runtime, training
from lion_jax.cluster import joining, launchers
from lion_jax.config import About, Config
from lion_jax.files import expanded
from lion_jax.flags import CommandLine
from lion_jax.training import checkpoint, run_folder, sharding
from lion_jax.training.tables import TABLES
from lion_jax.training.trackers import Reporter

PROG = "python -m lion_jax.train"
MISTAKES = (data.DataError, run_folder.RunFolderError)
FAILURES = (checkpoint.CheckpointError, OSError)


@dataclasses.dataclass
class Flags:
    """Trains a model as a configuration file describes; tests it once at the end.

    Rerun the same command to resume. Ctrl-C and SIGTERM save first; a second one exits
    at once, and the steps since the last save are taken again.
    """

    file: Annotated[
        str,
        About(
            "Python file with get_config(), or a name that --config list shows",
            flag="config",
        ),
    ] = ""
    workdir: Annotated[
        Path | None,
        About(
            "the run's folder; default: runs/<config.name>/seed_<config.seed>",
            also=("output_dir", "out", "logdir", "log_dir", "save_dir", "resume"),
        ),
    ] = None
    profile: Annotated[
        bool, About("first trace some steps into the run's folder, profile/")
    ] = False
    tracker: Annotated[
        str,
        About(
            "report to wandb, mlflow, trackio, or what a package.module:function opens",
            also=("logger", "report_to", "wandb", "mlflow"),
        ),
    ] = ""
    dry_run: Annotated[
        bool,
        About(
            "compile, show shapes, parameters, FLOPs and memory, and write nothing",
            also=("dry", "summary", "check"),
        ),
    ] = False
    compilation_cache: cli.CompilationCache = ""
    coordinator: Annotated[
        str,
        About(
            "host:port of process 0 of a run of several; empty: as the launcher says;"
            " off: a run of one"
        ),
    ] = ""
    processes: Annotated[
        int, About("how many make the run; 0: as the launcher says", ge=0)
    ] = 0
    process: Annotated[
        int, About("which one this is, from 0; -1: as the launcher says", ge=-1)
    ] = -1
    join_timeout: Annotated[
        int, About("seconds to wait for the other processes", ge=1)
    ] = 300
    heartbeat: Annotated[
        int,
        About("seconds without a sign of life until a process is dead", ge=5),
    ] = 30
    stall_timeout: Annotated[
        int,
        About("seconds without progress until several give up; 0: never", ge=0),
    ] = 1800

    def load(self) -> Config:
        """Returns the file's configuration; without a file, the default one."""
        return cli.load_config(self.file) if self.file else Config()

    def join(self) -> None:
        """Joins the other processes of the run, if there are any."""
        given = self.coordinator, self.processes, self.process
        if found := launchers.place(*given, os.environ):
            joining.join(
                found,
                heartbeat=self.heartbeat,
                stall=self.stall_timeout,
                patience=self.join_timeout,
            )


def main(argv: list[str]) -> int:
    """Runs the command; returns its exit status."""
    line = CommandLine(PROG, Flags, argv, file_of=Flags.load, tables=TABLES)
    config = line.configure(cli.load_config(line.flags.file))
    runtime.start(line.flags.compilation_cache, **config.arithmetic())
    line.flags.join()
    if line.flags.dry_run:
        training.dry_run(config)
        return 0
    default = Path("runs") / config.name / f"seed_{config.seed}"
    folder = expanded(line.flags.workdir or default)
    options = {"profile": line.flags.profile, "tracker": line.flags.tracker}
    return train(config, folder, Console(), **options)


def train(
    config: Config,
    folder: Path,
    console: Console,
    *,
    profile: bool = False,
    tracker: str = "",
) -> int:
    """Trains, or resumes, as `training.run`; returns the exit status.

    It is 0, 1 if the run diverged, 128 + n after signal n.
    """
    sharding.count_devices()  # says in one line why there are none
    run_folder.require_possible(folder)
    reporter = Reporter(tracker if cluster.is_primary() else "", config, folder)
    before = run_folder.read_result(folder)
    asked = ("profile", profile), ("tracker", tracker)
    try:
        result = training.run(
            config, folder, console, profile=profile, on_epoch=reporter.epoch
        )
        if result != before:
            reporter.result(result)
        elif cluster.is_primary() and (undone := [f"--{x}" for x, y in asked if y]):
            said = f"nothing was left to do for {' and '.join(undone)}"
            console.print(f"note: {said}; give another --workdir.", markup=False)
    except training.InterruptedRunError as interruption:
        return 128 + interruption.number
    finally:
        reporter.close()
    return 1 if result.stop_reason == "diverged" else 0


if __name__ == "__main__":
    cli.run(main, MISTAKES, FAILURES)
