"""What benchmarks share: words, records, a row in a process of its own."""

import json
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def ask(script: str, arguments: list[str], seconds: float) -> dict[str, Any]:
    """Runs a script, which prints JSON in its last line.

    Args:
      script: Its path.
      arguments: Its arguments.
      seconds: After which it is given up.

    Returns:
      What it printed, or under `error` why it did not.
    """
    command = [sys.executable, script, *arguments]
    try:
        process = subprocess.run(
            command, capture_output=True, text=True, timeout=seconds
        )
    except subprocess.TimeoutExpired:
        return {"error": f"no answer in {seconds:.0f} s"}
    if process.returncode:
        said = process.stderr.strip().splitlines()[-3:]
        return {"error": "; ".join(said)[:500] or f"status {process.returncode}"}
    return json.loads(process.stdout.splitlines()[-1])


def keep(path: Path, record: dict[str, Any]) -> None:
    """Writes a record as JSON; its folder is made if absent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n")


def changes(words: Sequence[str], parser: ArgumentParser) -> dict[str, str]:
    """Returns the fields that `--config.<field>=VALUE` changes; ends at other words."""
    prefix = "--config."
    for word in words:
        if not word.startswith(prefix) or "=" not in word:
            parser.error(
                f"{word!r} is no option; give fields as {prefix}<field>=VALUE."
            )
    return dict(word.removeprefix(prefix).split("=", 1) for word in words)
