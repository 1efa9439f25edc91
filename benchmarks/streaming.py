"""How fast, and in how much memory, does training stream images from the host?

    python benchmarks/streaming.py --images 100000 --placement host --folder DIR

A set of random RGB images is written into a memory-mapped cache in the folder, unless
it is there, and is verified, split and trained on, as a run does it; then the steps are
timed, with the whole process's largest memory. One process measures one placement:
repeat it with `--placement device` on a set that fits. `--model none` only sends the
batches. The largest memory counts pages of the mapped file that are in use.
"""

import argparse
import json
import shutil
from pathlib import Path
from time import perf_counter

import jax
import numpy as np

from lion_jax import environment, runtime
from lion_jax.config import Config
from lion_jax.data import Dataset, mapped
from lion_jax.training import sharding
from lion_jax.training.program import Program
from lion_jax.training.task import make_task, split

CLASSES = 100
BLOCK = 500  # images written at once


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, required=True, help="of the cache")
    parser.add_argument("--images", type=int, default=5000, help="default 5000")
    parser.add_argument("--size", type=int, default=224, help="pixels; default 224")
    parser.add_argument("--model", default="resnet_nano", help="default resnet_nano")
    parser.add_argument("--batch", type=int, default=64, help="default 64")
    parser.add_argument("--steps", type=int, default=40, help="timed; default 40")
    parser.add_argument("--placement", choices=("host", "device"), default="host")
    parser.add_argument("--remove", action="store_true", help="the set, afterwards")
    parsed = parser.parse_args()
    config = Config(batch_size=parsed.batch, eval_batch_size=parsed.batch)
    config.image_size, config.data.placement = parsed.size, parsed.placement
    sent_only = parsed.model == "none"
    config.model.name = "resnet_nano" if sent_only else parsed.model
    runtime.start("off", **config.arithmetic())
    path = parsed.folder.resolve() / f"random-{parsed.images}-{parsed.size}"
    row = {"placement": parsed.placement, "model": parsed.model, **vars(parsed)}
    if not path.exists():
        started = perf_counter()
        write(path, parsed.images, parsed.size)
        row["seconds_write"] = perf_counter() - started
    started = perf_counter()
    dataset = mapped.read(path, "random")
    assert dataset is not None
    row["seconds_verify"] = perf_counter() - started
    row |= measure(config, dataset, parsed.steps, sent_only=sent_only)
    row |= environment.peak_memory()
    print(json.dumps(row, default=str))
    if parsed.remove:
        shutil.rmtree(path)


def write(path: Path, images: int, size: int) -> None:
    """Writes a set of random images, a fiftieth of which are for testing."""
    rng = np.random.default_rng(0)
    with mapped.replacing(path) as folder:
        for part, n in (("train", images), ("test", max(1, images // 50))):
            file = folder / f"{part}_images.npy"
            with mapped.writing(file, (n, size, size, 3)) as append:
                for start in range(0, n, BLOCK):
                    count = min(BLOCK, n - start)
                    pixels = np.frombuffer(rng.bytes(count * size * size * 3), "u1")
                    append(pixels)
            labels = np.arange(n, dtype=np.int32) % CLASSES
            np.save(folder / f"{part}_labels.npy", labels)
        names = tuple(map(str, range(CLASSES)))
        mapped.finish(folder, "random", name="random", source="", class_names=names)


def measure(
    config: Config, dataset: Dataset, steps: int, *, sent_only: bool
) -> dict[str, float]:
    """Times steps of training from the first epoch; the first three are left out."""
    started = perf_counter()
    mesh = sharding.make_mesh(1)
    splits = split(config, dataset)
    task = make_task(config, dataset, splits, mesh)
    seconds_statistics = perf_counter() - started
    program = Program(config, task, splits, mesh)
    seconds_ready = perf_counter() - started
    state, inputs = program.init(0), program.start_epoch(0, 0)
    for number in range(steps + 3):
        if number == 3:
            jax.block_until_ready(state)
            started = perf_counter()
        if sent_only:
            assert inputs.batches is not None, "needs --placement host"
            jax.block_until_ready(inputs.batches.take(1))
        else:
            state, loss = program.train_step(state, inputs)
            loss.block_until_ready()
    seconds = perf_counter() - started
    return {
        "seconds_statistics": seconds_statistics,
        "seconds_ready": seconds_ready,
        "images_per_second": steps * config.batch_size / seconds,
    }


if __name__ == "__main__":
    main()
