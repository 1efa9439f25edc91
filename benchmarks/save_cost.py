"""What does a save within an epoch cost, as a share of the minutes between two?

    python benchmarks/save_cost.py --config configs/quickstart.py --saves 8

A state of the configuration is saved several times, as training does it while an epoch
is under way: all arrays are written, the files listed with their sha256, older
checkpoints removed. The steps wait meanwhile, so this is all that a save costs. The
first save of a run is also read back; it is shown apart.
"""

import argparse
import statistics
import tempfile
from functools import partial
from pathlib import Path
from time import perf_counter

import jax
import jax.numpy as jnp

from lion_jax import cli, data
from lion_jax.training import checkpoint, sharding
from lion_jax.training.step import init_state
from lion_jax.training.task import make_task, requested, split


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", required=True, help="Python file with get_config()")
    parser.add_argument("--saves", type=int, default=8, help="default 8")
    parser.add_argument("--folder", type=Path, help="on which disk; default: temporary")
    parsed = parser.parse_args()
    if parsed.saves < 2:
        parser.error(f"--saves={parsed.saves} must be at least 2")
    config = cli.load_config(parsed.config)
    dataset = data.load(*requested(config))
    mesh = sharding.make_mesh(sharding.check_devices(config))
    task = make_task(config, dataset, split(config, dataset), mesh)
    state = jax.jit(partial(init_state, task))(jax.random.key(config.seed))
    size = sum(x.nbytes for x in jax.tree.leaves((state.params, state.opt_state)))
    seconds = []
    with (
        tempfile.TemporaryDirectory(dir=parsed.folder) as place,
        checkpoint.open_folder(Path(place) / "checkpoints") as checkpoints,
    ):
        for step in range(1, parsed.saves + 1):
            state = jax.block_until_ready(state._replace(step=jnp.int32(step)))
            started = perf_counter()
            checkpoint.save(checkpoints, state, [])
            seconds.append(perf_counter() - started)
    first, *others = seconds
    median = statistics.median(others)
    share = median / (60 * config.save_every_minutes)
    print(f"{config.model.name}, {config.optimizer.name}: {size / 1e6:.0f} MB")
    print(f"the first save, read back: {first:.2f} s")
    print(f"{len(others)} more: {' '.join(f'{x:.2f}' for x in others)} s")
    print(
        f"median {median:.2f} s: {share:.2%} of {config.save_every_minutes:g} minutes;"
        f" the slowest {max(others) / (60 * config.save_every_minutes):.2%}"
    )


if __name__ == "__main__":
    main()
