"""Flags of the commands that use a trained model: which run, which state, where.

`--config.<field>` sets what changes no numbers, such as devices, or where the files of
references are now.
"""

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from lion_jax import cli, data, runtime
from lion_jax.config import About, Config, ConfigError, value_at
from lion_jax.files import expanded
from lion_jax.flags import CommandLine
from lion_jax.training import checkpoint, run_folder
from lion_jax.training.restored import read_config

MISTAKES = (data.DataError, run_folder.RunFolderError, checkpoint.CheckpointError)
FAILURES = (OSError,)


@dataclasses.dataclass
class ModelFlags:
    """Which saved state of which run a command uses."""

    workdir: Annotated[
        Path | None, About("the run's folder (required), whose values help shows")
    ] = None
    checkpoint: Annotated[
        Literal["best", "latest"],
        About("best: lowest validation loss; latest: last saved"),
    ] = "best"
    compilation_cache: cli.CompilationCache = ""

    @property
    def folder(self) -> Path:
        """The run's folder.

        Raises:
          ConfigError: If none is given.
        """
        if self.workdir is None:
            raise ConfigError("--workdir is missing; give the folder of a run.")
        return expanded(self.workdir)

    def load(self) -> Config:
        """Returns the run's configuration; without a folder, the default one."""
        return read_config(self.folder) if self.workdir else Config()


F = TypeVar("F", bound=ModelFlags)


def read(prog: str, flags: type[F], argv: list[str]) -> CommandLine[F]:
    """Reads a command line, as `CommandLine` does; a run's folder must be given."""
    line = CommandLine(prog, flags, argv, file_of=flags.load)
    _ = line.flags.folder
    return line


def start(line: CommandLine[Any]) -> dict[str, Any]:
    """Settles the process as the run's configuration asks for.

    Returns:
      The fields of the configuration that the command line sets, by dotted path.
    """
    config = line.configure(line.flags.load())
    runtime.start(line.flags.compilation_cache, **config.arithmetic())
    return {path: value_at(config, path) for path in line.overridden}
