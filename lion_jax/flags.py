"""Command lines: tyro reads the dataclasses of a command's flags and of its experiment.

The same parser serves all commands. `--config.<field>` is taken with `=` or a space
before its value; a boolean without a value is true, and `--no<flag>` is false.
"""

import contextlib
import dataclasses
import inspect
import io
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Generic, TypeVar

import tyro
from tyro import constructors

from lion_jax import options
from lion_jax.arguments import RefusedError, argument
from lion_jax.config import (
    NO_TABLES,
    Config,
    ConfigError,
    Tables,
    check,
    fields_of,
    with_values,
)
from lion_jax.config.fields import BOOLS
from lion_jax.suggestions import PREFIX, unknown

F = TypeVar("F")
HELP = {"--help", "-h", "-help"}
BOX = re.compile(r"[─│╭╮╰╯├┤]+|\x1b\[[\d;]*m")


@dataclasses.dataclass(frozen=True)
class _Line:
    """All that a command line sets."""

    flags: Any
    config: Any


class CommandLine(Generic[F]):
    """The flags of a command, and the experiment that they override."""

    def __init__(
        self,
        prog: str,
        flags: type[F],
        argv: Sequence[str],
        *,
        file_of: Callable[[F], Config] | None = None,
        tables: Tables = NO_TABLES,
    ):
        """Reads a command line; with --help among its flags, prints help and exits.

        Args:
          prog: How the command is called, for help.
          flags: A dataclass of `About` fields; its docstring describes the command.
          argv: The command line without the program.
          file_of: From the flags to the experiment whose values help shows as defaults;
            None if the command has no flags `--config.<field>`.
          tables: Models and optimizers by name.

        Raises:
          ConfigError: For a flag or a value that is none.
        """
        self._prog, self._cls, self._tables = prog, flags, tables
        self._see = f"{prog} --help lists all flags"
        self._configured = file_of is not None
        self._known = {
            field.about.flag or path: field for path, field in fields_of(flags).items()
        }
        if self._configured:
            self._known |= {PREFIX + k: v for k, v in fields_of(Config).items()}
        self._prefixes: dict[type, str] = {flags: "", Config: PREFIX}
        for field in dataclasses.fields(Config):
            if field.default_factory is not dataclasses.MISSING:
                self._prefixes[type(field.default_factory())] = f"{PREFIX}{field.name}."
        end = [*argv, "--"].index("--")
        argv, self._files = argv[:end], argv[end:]
        self._argv = [self._spelled(word) for word in argv if word not in HELP]
        self._argv = self._with_switches(self._argv)
        self._require_values()
        self._argv, self._options = options.separate(self._argv)
        if HELP & {*argv}:
            known = self._parse(self._argv, Config(), strict=False).flags
            config = file_of(known) if file_of else Config()
            for part in inspect.cleandoc(flags.__doc__ or "").split("\n\n"):
                print(textwrap.fill(part, 80), end="\n\n")
            self._parse(["--help"], config)
        self.flags: F = self._parse(self._argv, Config()).flags
        for path, field in fields_of(flags).items():
            value = getattr(self.flags, path)
            if value != field.default and not field.allows(value):
                raise ConfigError(
                    f"--{path}={value!r}, but it must be {field.rule}; {self._see}."
                )

    def configure(self, base: Config, texts: Mapping[str, str] | None = None) -> Config:
        """Returns an experiment with the command line's `--config.<field>` set in it.

        Args:
          base: The experiment of a file.
          texts: Further fields to set, by dotted path.

        Raises:
          ConfigError: If the result cannot be run.
        """
        more = [f"--{PREFIX}{path}={text}" for path, text in (texts or {}).items()]
        more, further = options.separate(more)
        config = self._parse([*self._argv, *more], base).config
        config = with_values(config, self._options | further)
        check(config, self._tables)
        return config

    @property
    def overridden(self) -> list[str]:
        """Dotted paths of the experiment's fields that the command line sets."""
        flags = [word.partition("=")[0] for word in self._argv if word[:2] == "--"]
        names = [flag[2:].replace("-", "_") for flag in flags]  # tyro takes either
        fields = [x.removeprefix(PREFIX) for x in names if x.startswith(PREFIX)]
        return [*(x for x in fields if PREFIX + x in self._known), *self._options]

    def _spelled(self, word: str) -> str:
        """Writes -flag, --noflag and --a-flag as tyro takes them."""
        word = re.sub(r"^-(?=[a-z_]{2})", "--", word)
        name, given, value = word.partition("=")
        underscored = name[2:].replace("-", "_")
        known = {underscored, re.sub("^no_?", "", underscored)} & self._known.keys()
        if word.startswith("--") and known:
            word = f"{name[:2]}{underscored}{given}{value}"
        negated = re.fullmatch(r"--no[-_]?([a-z_.\d]+)", word)
        if negated and word.removeprefix("--") not in self._known:
            field = self._known.get(negated[1])
            if field and field.type is bool:
                return f"--{negated[1]}=false"
        return word

    def _with_switches(self, words: list[str]) -> list[str]:
        """Writes booleans with their values: what follows may be one, or a file."""
        takes_files = any(field.about.positional for field in self._known.values())
        spelled, left = [], iter([*words, "--"])
        word = next(left)
        for after in left:
            field = self._known.get(word.removeprefix("--"))
            if not (field and field.type is bool and word.startswith("--")):
                spelled.append(word)
            elif after.startswith("--") or (takes_files and after.lower() not in BOOLS):
                spelled.append(f"{word}=true")
            else:
                spelled.append(f"{word}={after}")
                after = next(left, "--")
            word = after
        return spelled

    def _require_values(self) -> None:
        for word, after in zip(self._argv, [*self._argv[1:], "--"], strict=False):
            field = self._known.get(word.removeprefix("--"))
            if field and field.type is not bool and after.startswith("--"):
                raise ConfigError(f"{word} needs a value; {self._see}.")

    def _parse(self, argv: list[str], base: Config, strict: bool = True) -> Any:
        registry = constructors.ConstructorRegistry()
        registry.struct_rule(self._struct)
        boxed = io.StringIO()
        try:
            with contextlib.redirect_stderr(boxed):
                line, rest = tyro.cli(
                    _Line,
                    prog=self._prog,
                    description="",
                    args=[*argv, *self._files],
                    default=_Line(self._cls(), base),
                    return_unknown_args=True,
                    use_underscores=True,
                    registry=registry,
                )
        except RefusedError as error:
            raise ConfigError(f"{error}; {self._see}.") from None
        except SystemExit as error:
            if not error.code:
                raise
            words = BOX.sub(" ", boxed.getvalue()).split()
            raise ConfigError(" ".join(words) + ".") from None
        if rest and strict:
            raise ConfigError(unknown(rest[0], self._known, self._see))
        return line

    def _struct(
        self, info: constructors.StructTypeInfo
    ) -> constructors.StructConstructorSpec | None:
        """Reads a dataclass for tyro, with what stands at its fields."""
        cls: Any = info.type
        if cls is _Line:
            flags = Annotated[self._cls, tyro.conf.arg(name="")]
            parts: list[Any] = [("flags", flags, info.default.flags)]
            if self._configured:
                parts.append(("config", Config, info.default.config))
            return constructors.StructConstructorSpec(
                lambda flags, config=None: _Line(flags, config),
                tuple(constructors.StructFieldSpec(*part) for part in parts),
            )
        if (prefix := self._prefixes.get(cls)) is None:
            return None
        specs = []
        for name in (field.name for field in dataclasses.fields(cls)):
            value = getattr(info.default, name)
            kind: Any = type(value)
            if not dataclasses.is_dataclass(value):
                flag = prefix + (fields_of(cls)[name].about.flag or name)
                kind = argument(flag, self._known[flag], self._tables)
            specs.append(constructors.StructFieldSpec(name, kind, value))
        return constructors.StructConstructorSpec(_maker(cls), tuple(specs))


def _maker(cls: type) -> Callable[..., Any]:
    """Returns a function that makes a dataclass of what tyro reads."""

    def make(**values: Any) -> Any:
        fields = fields_of(cls)
        for name, value in values.items():
            # A flag that is repeated has a list for each time.
            if (
                name in fields
                and fields[name].many
                and not fields[name].about.positional
            ):
                values[name] = [item for part in value for item in part]
        return cls(**values)

    make.__doc__ = cls.__doc__  # help shows it
    return make
