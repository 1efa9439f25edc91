"""Does a run that is killed at any moment end with the same numbers, to the bit?

    python benchmarks/kill_storm.py --kills 20

One run goes through undisturbed. Each of the others is killed (SIGKILL: no handler can
save anything) at a random moment of its life, half of them a second time, and started
again with the same command until it ends. Survived means: the same metrics.jsonl and
result.json but for times and memory, the same arrays in the best and the latest
checkpoint. The moments are drawn from --seed and say where they fell: before, between
or within epochs, saves and tests.
"""

import argparse
import json
import random
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

COMMAND = (
    *(sys.executable, "-m", "lion_jax.train", "--config"),
    str(Path(__file__).parents[1] / "configs" / "quickstart.py"),
    "--config.model.name=resnet_tiny",
    "--config.image_size=28",
    "--config.epochs=5",
)
# Times, rates and memory differ from run to run; everything else must not.
MEASURED = ("seconds", "images_per_second", "peak_")


def start(folder: Path) -> subprocess.Popen[str]:
    """Starts the run, or goes on with it."""
    command = [*COMMAND, f"--workdir={folder}"]
    return subprocess.Popen(
        command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def finish(folder: Path) -> None:
    """Runs to the end; anything but success is the storm's failure."""
    process = start(folder)
    said, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"{folder} ended with {process.returncode}:\n{said}")


def kill_after(folder: Path, seconds: float) -> str:
    """Starts the run and kills it after some seconds; says how far it was."""
    process = start(folder)
    try:
        process.wait(seconds)
        return "ended before"
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
    process.communicate()
    metrics = folder / run_folder.METRICS
    epochs = len(metrics.read_text().splitlines()) if metrics.exists() else 0
    return f"{epochs} epochs logged"


def outcome(folder: Path) -> dict[str, Any]:
    """Returns all that must come out the same."""
    lines = (folder / run_folder.METRICS).read_text().splitlines()
    rows = [
        *map(json.loads, lines),
        json.loads((folder / run_folder.RESULT).read_text()),
    ]
    told = [
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
    return {"told": told, "arrays": arrays}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=20, help="runs; default 20")
    parser.add_argument("--seed", type=int, default=0, help="of the moments; default 0")
    parsed = parser.parse_args()
    if parsed.kills < 1:
        parser.error(f"--kills={parsed.kills} must be at least 1")
    place = Path(tempfile.mkdtemp(prefix="kill_storm_"))
    finish(place / "warm_up")  # compiles; later runs find their programs
    started = time.perf_counter()
    finish(place / "whole")
    length = time.perf_counter() - started
    expected, survived = outcome(place / "whole"), 0
    print(f"undisturbed: {length:.1f} s", flush=True)
    draw = random.Random(parsed.seed)
    for number in range(1, parsed.kills + 1):
        folder, story = place / str(number), []
        for _ in range(draw.choice((1, 2))):
            after = draw.uniform(0, length)
            story.append(f"killed after {after:.2f} s ({kill_after(folder, after)})")
        try:
            finish(folder)
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
