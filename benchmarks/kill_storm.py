"""Does a run that is killed at any moment, anywhere, end with the same numbers?

    python benchmarks/kill_storm.py --kills 20
    python benchmarks/kill_storm.py --kills 20 --config.model.dtype=bfloat16

One run goes through undisturbed. Each of the others is ended at a random moment of
its life, half of them a second time, and started again with the same command until it
ends. The storm draws how: SIGKILL, which no handler can catch, or a scheduler's USR1.
The places take turns: a plain folder, one with a bracket and an umlaut in its path, one
whose checkpoints lie elsewhere behind a symlink, a full disk, a moment without
permission to write, and a reader that goes away. Survived means: the same
metrics.jsonl and result.json but for times and memory, the same arrays in the best and
the latest checkpoint. The moments are drawn from --seed; each line names them. Fields
of the configuration given after them hold for every run: bfloat16, say, for which the
commands set other flags of XLA:CPU.
"""

import argparse
import json
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from lion_jax.training import checkpoint, run_folder

COMMAND = [  # the fields that the user changes are added
    *(sys.executable, "-m", "lion_jax.train", "--config"),
    str(Path(__file__).parents[1] / "configs" / "quickstart.py"),
    "--config.model.name=resnet_tiny",
    "--config.image_size=28",
    "--config.epochs=5",
]
PLACES = (
    "plain",
    "odd path",
    "linked checkpoints",
    "full disk",
    "read only",
    "reader gone",
)
# Times, rates and memory differ from run to run; everything else must not.
MEASURED = ("seconds", "images_per_second", "peak_")


def start(folder: Path, place: str = PLACES[0]) -> subprocess.Popen[str]:
    """Starts the run, or resumes it."""
    command = [*COMMAND, f"--workdir={folder}"]
    limit = None
    if place == "full disk":
        # Files may not grow beyond some bytes: text fits, a state does not.
        limit = (20_000, resource.RLIM_INFINITY)
    return subprocess.Popen(
        command,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=limit and (lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit)),
    )


def finish(folder: Path, place: str = PLACES[0]) -> None:
    """Runs to the end; anything but success is the storm's failure."""
    process = start(folder)
    assert process.stdout is not None
    if place == "reader gone":
        process.stdout.readline()
        process.stdout.close()
        process.wait()
        output = "(its reader had gone)"
    else:
        output, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"{folder} ended with {process.returncode}:\n{output}")


def end_after(folder: Path, place: str, number: int, seconds: float) -> str:
    """Starts the run and ends it after some seconds; returns how far it was."""
    process = start(folder, place)
    try:
        process.wait(seconds)
        return f"ended before with {process.returncode}"
    except subprocess.TimeoutExpired:
        process.send_signal(number)
    process.communicate()
    metrics = folder / run_folder.METRICS
    epochs = len(metrics.read_text().splitlines()) if metrics.exists() else 0
    return f"{epochs} epochs logged"


def lay_out(place: str, root: Path, number: int, length: float) -> Path:
    """Returns the run's folder, prepared for the place that was drawn."""
    folder = root / ("exp[lr=1e-3] \u00fc" if place == "odd path" else "") / str(number)
    if place == "linked checkpoints":
        disk = root / f"disk_{number}"
        disk.mkdir()
        end_after(folder, place, signal.SIGUSR1, length)
        saves = folder / run_folder.CHECKPOINTS
        if saves.exists():
            shutil.move(saves, disk / "checkpoints")
            saves.symlink_to(disk / "checkpoints")
    return folder


def for_a_moment_read_only(folder: Path) -> str:
    """Starts the run while its checkpoints may not be written; it must only fail."""
    saves = folder / run_folder.CHECKPOINTS
    if not saves.exists():
        return "nothing to forbid"
    away = saves.with_name("away")
    saves.rename(away)
    saves.write_text(
        "a file where the checkpoints were"
    )  # also root cannot write in it
    process = start(folder)
    process.communicate()
    saves.unlink()
    away.rename(saves)
    return f"forbidden, status {process.returncode}"


def outcome(folder: Path) -> dict[str, Any]:
    """Returns all that must come out the same."""
    lines = (folder / run_folder.METRICS).read_text().splitlines()
    rows = [
        *map(json.loads, lines),
        json.loads((folder / run_folder.RESULT).read_text()),
    ]
    rows = [
        {k: v for k, v in row.items() if not k.startswith(MEASURED)} for row in rows
    ]
    arrays = {}
    saves = folder / run_folder.CHECKPOINTS
    with checkpoint.open_folder(saves, to_save=False) as checkpoints:
        for which in ("best", "latest"):
            step = checkpoint.find(checkpoints, which)
            assert step is not None
            loaded: Any = checkpoints.orbax.load_checkpointables(step)
            tree = which, step, loaded["model"], loaded["training"]
            for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
                name = f"{which} {jax.tree_util.keystr(path)}"
                arrays[name] = np.asarray(leaf).tobytes()
    return {"rows": rows, "arrays": arrays}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=20, help="runs; default 20")
    parser.add_argument("--seed", type=int, default=0, help="of the moments; default 0")
    parsed, fields = parser.parse_known_args()
    if parsed.kills < 1:
        parser.error(f"--kills={parsed.kills} must be at least 1")
    COMMAND.extend(fields)  # what the trainer does not know ends the first run
    place = Path(tempfile.mkdtemp(prefix="kill_storm_"))
    finish(place / "warm_up")  # compiles; later runs find their programs
    started = time.perf_counter()
    finish(place / "whole")
    length = time.perf_counter() - started
    expected, survived = outcome(place / "whole"), 0
    print(f"undisturbed: {length:.1f} s", flush=True)
    draw = random.Random(parsed.seed)
    for number in range(1, parsed.kills + 1):
        where = PLACES[(number - 1) % len(PLACES)]
        folder, story = lay_out(where, place, number, draw.uniform(0, length)), [where]
        for _ in range(draw.choice((1, 2))):
            after = draw.uniform(0, length)
            how = draw.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGUSR1))
            far = end_after(folder, where, how, after)
            story.append(f"{how.name} after {after:.2f} s ({far})")
        if where == "read only":
            story.append(for_a_moment_read_only(folder))
        try:
            finish(folder, where)
            same = outcome(folder) == expected
        except (RuntimeError, checkpoint.CheckpointError, OSError) as error:
            same = False
            story.append(str(error))
        survived += same
        verdict = "the same" if same else "DIFFERENT"
        print(f"{number:3}  {', '.join(story)}: {verdict}", flush=True)
        if same:
            shutil.rmtree(folder)
    print(f"survived {survived}/{parsed.kills}")
    if survived == parsed.kills:
        shutil.rmtree(place)
    sys.exit(survived != parsed.kills)


if __name__ == "__main__":
    main()
