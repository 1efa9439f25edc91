"""Prepares a data set, or finds it: `python -m lion_jax.data prepare`, `... where`."""

import dataclasses
import json
import re
from typing import Annotated

from lion_jax import cli, data
from lion_jax.config import About, ConfigError
from lion_jax.config.reference import parse, wrong_option
from lion_jax.flags import CommandLine

PROG = "python -m lion_jax.data"
MISTAKES = (data.DataError,)
FAILURES = (OSError,)


@dataclasses.dataclass
class Flags:
    """Prepares a data set, or finds it.

    prepare gets a data set from the nearest source, verifies and caches it; where
    lists its sources in the order in which they are tried, and which of them are there.
    """

    command: Annotated[str, About("prepare or where (required)", positional=True)] = ""
    name: Annotated[
        str,
        About("TFDS data set name, folder, or FILE.npz", also=("dataset", "data.name")),
    ] = "fashion_mnist"
    data_dir: Annotated[str, About("the folder of images, or TFDS's")] = ""
    cache_dir: Annotated[str, About("folder of the cache")] = ""
    image_size: Annotated[
        int, About("pixels to which images are cut and resized; 0: as they are", ge=0)
    ] = 0
    options: Annotated[
        str, About("of the function that --name is, as JSON: '{\"size\": 3}'")
    ] = ""


def main(argv: list[str]) -> int:
    """Runs the command; returns its exit status."""
    flags = CommandLine(PROG, Flags, argv).flags
    if flags.command not in COMMANDS:
        wrong = f"{flags.command!r} is no" if flags.command else "there is no"
        raise ConfigError(f"{wrong} command; give {' or '.join(COMMANDS)}.")
    request = data.Request(
        flags.name,
        flags.data_dir,
        flags.cache_dir,
        flags.image_size,
        _options(flags),
    )
    try:
        COMMANDS[flags.command](request)
    except data.DataError as error:  # which names the flags of training
        said = str(error).replace("--config.data.", "--")
        said = re.sub(r"--options\.(\w+)=\.{3}", r"""--options '{"\1": ...}'""", said)
        raise type(error)(said) from error
    return 0


def _options(flags: Flags) -> str:
    """Returns the options; refuses what is no group of them, or of no function."""
    if not flags.options:
        return ""
    try:
        wrong = wrong_option(dict(json.loads(flags.options)))
    except (ValueError, TypeError) as error:
        wrong = f"must be a group in JSON ({error})"
    if not wrong and not parse(flags.name):
        wrong = f"is given to functions, and --name={flags.name} is none"
    if wrong:
        raise ConfigError(
            f"--options={flags.options!r}, but it {wrong}; leave it out, or give"
            " arguments of the function that --name is, such as '{\"size\": 3}'."
        )
    return flags.options


def _prepare(request: data.Request) -> None:
    dataset = data.load(*request)
    train, test = len(dataset.train_labels), len(dataset.test_labels)
    shape = "x".join(map(str, dataset.train_images.shape[1:]))
    print(f"{dataset.name} {dataset.version}, from {dataset.source}")
    print(f"{train} training and {test} test images of {shape} bytes")
    print(f"{dataset.num_classes} classes: {', '.join(dataset.class_names)}")
    print(f"sha256 of the arrays: {dataset.sha256()}")


def _where(request: data.Request) -> None:
    for title, path, present in data.source_of(request.name).places(request):
        if path is None:
            print(f"untried {title}")
        else:
            print(f"{'found' if present else 'absent':<7} {title:<21} {path}")


COMMANDS = {"prepare": _prepare, "where": _where}


if __name__ == "__main__":
    cli.run(main, MISTAKES, FAILURES)
