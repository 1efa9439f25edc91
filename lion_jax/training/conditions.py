"""environment.json: the conditions under which a run was begun and resumed."""

from collections.abc import Callable
from pathlib import Path

from lion_jax import environment
from lion_jax.training import run_folder


def describe(
    folder: Path, packages: dict[str, str], say: Callable[[str], None]
) -> None:
    """Writes environment.json; reports what may change the numbers of a resumed run."""
    path = folder / run_folder.ENVIRONMENT
    now = packages | environment.describe()
    try:
        before = run_folder.read_json(path)
        if not isinstance(before, dict | None):
            raise run_folder.RunFolderError(f"{path} is of something else.")
    except run_folder.RunFolderError as error:  # a by-product: the run needs it not
        say(f"warning: {error}")
        before = None
    if before is not None:
        earlier = before.pop("earlier", [])
        if different := environment.differences(before, now):
            say(
                "warning: this run was begun under other conditions, so its numbers"
                f" may differ from an undisturbed run's: {', '.join(different)}"
            )
            earlier = [*earlier, before]
        if earlier:
            now["earlier"] = earlier
    run_folder.write_json(path, now)
