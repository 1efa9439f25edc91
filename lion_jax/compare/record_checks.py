"""Whether a record's file holds a run: types, ranges, what must agree.

A file may be damaged, changed by hand, or of another program; what a report would fail
on later, or take for another run's numbers, is refused where it is read.
"""

import math
from collections.abc import Mapping
from typing import Any

from lion_jax.config.reference import REFERENCES
from lion_jax.training.conditions import EARLIER

# The numbers that a report reads; whether each may be None, where there is nothing to
# report.
RESULT = {"images_per_second": False, "val_accuracy": True, "val_loss": True}
RESULT |= {"test_accuracy": True, "test_loss": True}
RESULT |= {"last_test_accuracy": True, "last_test_loss": True}
EPOCH = {"train_loss": True, "val_loss": True, "val_accuracy": False, "seconds": False}
MEMORY = {"parameters": False, "optimizer_state": False}
STEP = {"step": True}  # of memory too, where the compiler counts it
FINAL = ("test_accuracy", "last_test_accuracy")
REASONS = ("epochs", "early_stopping", "diverged")


def require_sound(values: Mapping[str, Any]) -> None:
    """Checks what is read from a record's file, whose configuration is known to be one.

    Raises:
      ValueError: Names the first thing that is wrong.
      LookupError: If something is missing.
      TypeError: If something is no group of values.
    """
    for name in ("swept", "memory", "environment", "result"):
        if not isinstance(values[name], dict):
            raise ValueError(f"its {name} is {values[name]!r}, which is no group")
    _require_epochs(values["epochs"])
    _require_result(values["result"], bool(values["swept"]))
    _require_numbers(MEMORY, values["memory"])
    _require_numbers(STEP, {"step": None} | values["memory"])
    if values["memory"]["parameters"] == 0:
        raise ValueError("its model has no parameters")
    if not _are_groups(values["environment"].get(EARLIER, [])):
        raise ValueError(f"its environment.{EARLIER} is no list of groups")
    _require_references(values["config"].get(REFERENCES, {}))
    _require_agreement(values)


def _are_groups(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(x, dict) for x in values)


def is_seed(value: object) -> bool:
    """Returns whether a value is a seed: a whole number of 32 bits."""
    return type(value) is int and 0 <= value < 2**32


def _require_epochs(epochs: Any) -> None:
    if not isinstance(epochs, list) or not epochs:
        raise ValueError("it has no epoch")
    for number, row in enumerate(epochs, start=1):
        _require_numbers(EPOCH, row)
        if type(row["epoch"]) is not int or row["epoch"] != number:
            raise ValueError(f"its epoch {number} is {row['epoch']!r}")
        if not isinstance(finite := row.get("parameters_finite", True), bool):
            raise ValueError(f"its parameters_finite is {finite!r}, not true or false")


def _require_result(result: dict[str, Any], is_trial: bool) -> None:
    _require_numbers(RESULT, result)
    if (reason := result["stop_reason"]) not in REASONS:
        known = ", ".join(REASONS)
        raise ValueError(f"its stop_reason is {reason!r}, not one of {known}")
    if is_trial or reason == "diverged":
        return
    if none := [name for name in FINAL if result[name] is None]:
        raise ValueError(f"its {none[0]} is None, but it did not diverge")


def _require_references(references: Any) -> None:
    """Checks what the configuration's references referred to (`identity.resolve`)."""
    every = references.values() if isinstance(references, dict) else [None]
    if not all(map(_is_code, every)):
        raise ValueError(f"its config.{REFERENCES} is {references!r}")


def _is_code(code: Any) -> bool:
    """Returns whether a value is sha256 by file, or a package with its version."""
    if not isinstance(code, dict) or not isinstance(code.get("sha256", {}), dict):
        return False
    texts = [*code.get("sha256", {}).values()]
    if "package" in code:
        texts += [code["package"], code.get("version")]
    return all(isinstance(text, str) for text in texts)


def _require_agreement(values: Mapping[str, Any]) -> None:
    """Checks what stands in a record twice."""
    label, swept, seed = values["label"], values["swept"], values["seed"]
    if not isinstance(label, str):
        raise ValueError(f"its label is {label!r}, which is no text")
    if not is_seed(seed):
        raise ValueError(f"its seed is {seed!r}, which is no whole number below 2**32")
    for place in ("config", "result"):
        if (other := values[place]["seed"]) != seed or not is_seed(other):
            raise ValueError(f"its seed is {seed}, but its {place}.seed {other!r}")
    if (name := values["config"]["name"]) != label.partition(",")[0]:
        raise ValueError(f"its label is {label}, its configuration {name}")
    if bool(swept) != ("," in label):
        raise ValueError(f"its label is {label}, but it swept {swept}")


def _require_numbers(numbers: dict[str, bool], values: Any) -> None:
    """Checks that numbers are there and finite, and shares within 0 and 1.

    Args:
      numbers: Names; whether each may be None.
      values: What has them.
    """
    if missing := [name for name in numbers if name not in values]:
        raise ValueError(f"it lacks {', '.join(missing)}")
    for name, may_be_none in numbers.items():
        value = values[name]
        if value is None and may_be_none:
            continue
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not math.isfinite(value)
        ):
            raise ValueError(f"its {name} is {value!r}, which is no finite number")
        if name.endswith("accuracy") and not 0 <= value <= 1:
            raise ValueError(f"its {name} is {value!r}, which is no share of images")
        if not name.endswith("loss") and value < 0:
            raise ValueError(f"its {name} is {value!r}, which is below 0")
