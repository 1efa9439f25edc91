"""environment.json: the conditions under which a run was begun and resumed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lion_jax import environment
from lion_jax.training import run_folder

EARLIER = "earlier"  # the conditions before, where they differ


def describe(
    folder: Path, now: dict[str, Any], say: Callable[[str], None]
) -> dict[str, Any]:
    """Writes environment.json; reports what may change the numbers of a resumed run.

    Args:
      folder: Of the run.
      now: From `environment.describe`, perhaps with the versions of further packages.
      say: Told in a line.

    Returns:
      What is written: `now`, with the conditions before that differ under `EARLIER`.
    """
    # Of a start of which nothing is kept, the conditions do not matter any more.
    before = read(folder, say) if run_folder.is_begun(folder) else None
    if before is not None:
        earlier = before.pop(EARLIER, [])
        if different := environment.differences(before, now):
            say(
                "warning: this run was begun under other conditions, so its numbers"
                f" may differ from an undisturbed run's: {', '.join(different)}"
            )
            earlier = [*earlier, before]
        if earlier:
            now = now | {EARLIER: earlier}
    run_folder.write_json(folder / run_folder.ENVIRONMENT, now)
    return now


def read(folder: Path, say: Callable[[str], None]) -> dict[str, Any] | None:
    """Returns what environment.json holds; None if it is not there, or damaged."""
    path = folder / run_folder.ENVIRONMENT
    try:
        found = run_folder.read_json(path)
        if not isinstance(found, dict | None):
            raise run_folder.RunFolderError(f"{path} is of something else.")
    except run_folder.RunFolderError as error:  # a by-product: the run needs it not
        say(f"warning: {error}")
        return None
    return found
