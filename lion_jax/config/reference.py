"""Names that refer to functions of the user's own: how they are spelled.

`package.module:function` names a function that can be imported, `./file.py:function`
one of a file, whose path is relative to the current folder, absolute, or begins with
`~`. `lion_jax.references` loads what they refer to.
"""

import copy
import functools
import math
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

# Fields that take a reference, and the field that holds the options of each.
REFERABLE = {
    "model.name": "model.options",
    "data.name": "data.options",
    "optimizer.name": "optimizer.options",
    "optimizer.schedule": "optimizer.schedule_options",
}
# Where config.json and records hold what the references of a run referred to.
REFERENCES = "references"
FORMS = "package.module:function or ./file.py:function"
ARRAYS = ".npz"  # how the name of data in a file of arrays ends


class Reference(NamedTuple):
    """A function, and where it is."""

    module: str  # a dotted name, or the path of a file
    function: str  # perhaps dotted: a class and its method

    @property
    def is_file(self) -> bool:
        """Whether the module is the path of a file."""
        return self.module.endswith(".py")

    @property
    def short(self) -> str:
        """The reference without the file's folder, in which it may be anywhere."""
        module = self.module.replace("\\", "/").rpartition("/")[2]
        return f"{module}:{self.function}"


def parse(name: Any) -> Reference | None:
    """Returns what a name refers to; None if it is no reference."""
    # The last colon: a path may begin with a drive's letter.
    module, _, function = name.rpartition(":") if isinstance(name, str) else ("",) * 3
    if not _is_dotted(function) or not (module.endswith(".py") or _is_dotted(module)):
        return None
    return Reference(module, function)


def short(name: str) -> str:
    """Returns a name without the folder of the file that it is, or refers to."""
    reference = parse(name)
    if name.endswith((ARRAYS, ".safetensors")):
        return name.replace("\\", "/").rpartition("/")[2]
    return reference.short if reference and reference.is_file else name


def absolute(name: str) -> str:
    """Returns a name that means the same in every current folder."""
    reference = parse(name)
    if reference is None or not reference.is_file:
        return name
    return f"{normal(reference.module)}:{reference.function}"


def normal(path: str) -> str:
    """Returns an absolute path, without `~` and `..`."""
    return os.path.abspath(os.path.expanduser(path))


def references_of(config: Any) -> dict[str, str]:
    """Returns the references of a configuration, by the fields that hold them."""
    named = {
        path: functools.reduce(getattr, path.split("."), config) for path in REFERABLE
    }
    return {path: name for path, name in named.items() if parse(name)}


def located(config: Any) -> Any:
    """Returns a copy of a configuration whose files are those in every folder."""
    found = copy.deepcopy(config)
    for path, name in references_of(config).items():
        group, field = path.split(".")
        setattr(getattr(found, group), field, absolute(name))
    if found.init_from:
        found.init_from = normal(found.init_from)
    place, file = found.data.data_dir, os.path.expanduser(found.data.name)
    is_relative = file.endswith(ARRAYS) and not os.path.isabs(file)
    # Not of a bucket, which TFDS reads.
    if (place or is_relative) and "://" not in place:
        found.data.data_dir = normal(place)
    return found


def plain(value: Any) -> Any:
    """Returns the value of an option as JSON holds it: tuples are lists."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def passed(value: Any) -> Any:
    """Returns the value of an option as a function gets it: lists are tuples.

    Tuples can be attributes of Flax's modules, and nobody changes them.
    """
    if isinstance(value, Mapping):
        return {key: passed(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return tuple(passed(item) for item in value)
    return value


def wrong_option(options: Mapping[Any, Any]) -> str:
    """Returns what is wrong with options, as a rule; empty if nothing is."""
    for name, value in options.items():
        if not isinstance(name, str) or not name.isidentifier():
            return f"must have names of arguments as keys, not {name!r}"
        if not _is_json(value):
            return f"must hold values of JSON (numbers, texts, lists), not {value!r}"
    return ""


def _is_json(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(isinstance(k, str) and _is_json(v) for k, v in value.items())
    if isinstance(value, list | tuple):
        return all(map(_is_json, value))
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, bool | int | str)


def _is_dotted(name: str) -> bool:
    return all(part.isidentifier() for part in name.split("."))
