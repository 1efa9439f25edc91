"""Does a momentum in fewer bits train as well? ResNet-50 on the embedded sample.

    python benchmarks/low_precision_momentum.py --out results/low_precision

Two measurements. Along one run with a float32 momentum, momenta of other dtypes are
fed the same gradients: how many signs of their directions agree, epoch by epoch? And
the quick start is trained with each dtype from the same seeds: are the final losses
those of float32, within what seeds alone make of it? A run that is there already is
not run again.
"""

import argparse
import dataclasses
import itertools
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lion_jax import cli, data, environment, scale_by_lion
from lion_jax.compare import paired, stats
from lion_jax.config import Config
from lion_jax.training import sharding
from lion_jax.training.program import Program
from lion_jax.training.task import make_task, split

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "configs" / "quickstart.py"
DTYPES = ("float32", "int8")


def followed(
    leader: optax.GradientTransformation,
    followers: dict[str, optax.GradientTransformation],
) -> optax.GradientTransformation:
    """Updates by the leader; counts how often the followers' directions agree."""
    reference = scale_by_lion()

    def init(params):
        states = {name: tx.init(params) for name, tx in followers.items()}
        agreed = {name: jnp.zeros([]) for name in followers}
        return leader.init(params), reference.init(params), states, agreed

    def update(updates, state, params=None):
        led, true_state, states, agreed = state
        grads = updates
        updates, led = leader.update(grads, led, params)
        signs, true_state = reference.update(grads, true_state)
        total = sum(s.size for s in jax.tree.leaves(signs))
        states, agreed = dict(states), dict(agreed)
        for name, tx in followers.items():
            own, states[name] = tx.update(grads, states[name])
            same = jax.tree.map(lambda a, b: jnp.sum(a == b), signs, own)
            agreed[name] += sum(jax.tree.leaves(same)) / total
        return updates, (led, true_state, states, agreed)

    return optax.GradientTransformation(init, update)


def sign_agreement(
    config: Config, followers: dict[str, optax.GradientTransformation]
) -> dict[str, list[float]]:
    """Returns for each follower the share of equal signs in each epoch."""
    mesh = sharding.make_mesh()
    dataset = data.load(config.data.name)
    splits = split(config, dataset)
    task = make_task(config, dataset, splits, mesh)
    task = dataclasses.replace(task, optimizer=followed(task.optimizer, followers))
    run = Program(config, task, splits, mesh)
    state, rows = run.init(config.seed), {name: [] for name in followers}
    true_state: Any = None
    states: Any = {}
    before = dict.fromkeys(followers, 0.0)
    for epoch in range(config.epochs):
        inputs = run.start_epoch(config.seed, epoch)
        state = state._replace(metrics=inputs.zeros)
        for _ in range(run.steps_per_epoch):
            state, _ = run.train_step(state, inputs)
        opt_state: Any = state.opt_state
        _, true_state, states, agreed = opt_state
        for name in followers:
            now = float(agreed[name])
            rows[name].append((now - before[name]) / run.steps_per_epoch)
            before[name] = now
        shares = {name: round(row[-1], 4) for name, row in rows.items()}
        print(f"epoch {epoch + 1}: signs equal to float32's {shares}", flush=True)
    size = sum(m.size for m in jax.tree.leaves(true_state.mu))
    for name in followers:
        held = sum(x.nbytes for x in jax.tree.leaves(states[name].mu))
        print(f"{name}: {held / size:.3f} bytes a parameter")
    return rows


def final_losses(out: Path, seeds: int) -> dict[str, list[dict]]:
    """Trains the quick start with every seed and dtype; returns the results."""
    results = {name: [] for name in DTYPES}
    for seed, name in itertools.product(range(seeds), DTYPES):
        kept = out / f"{name}_seed_{seed}.json"
        if not kept.exists():
            with tempfile.TemporaryDirectory() as folder:
                command = ["-m", "lion_jax.train", f"--config={CONFIG}"]
                command += [f"--workdir={folder}/run", f"--config.seed={seed}"]
                command += [f"--config.optimizer.mu_dtype={name}"]
                subprocess.run(
                    [sys.executable, *command], check=True, stdout=subprocess.DEVNULL
                )
                kept.write_text((Path(folder) / "run" / "result.json").read_text())
        results[name].append(json.loads(kept.read_text()))
        row = results[name][-1]
        print(
            f"seed {seed}, {name}: validation loss {row['val_loss']:.4f},"
            f" test loss {row['last_test_loss']:.4f}, {row['last_test_accuracy']:.3f}",
            flush=True,
        )
    return results


def compare(results: dict[str, list[dict]], field: str) -> dict[str, float]:
    """Compares a field of the results between float32 and int8."""
    base, other = (np.array([row[field] for row in results[name]]) for name in DTYPES)
    gaps = other - base
    return {
        "float32_mean": float(base.mean()),
        "float32_sd_over_seeds": float(base.std(ddof=1)),
        "int8_mean": float(other.mean()),
        "int8_sd_over_seeds": float(other.std(ddof=1)),
        "mean_gap": float(gaps.mean()),
        "sign_flip_p": paired.sign_flip(gaps).p,  # a seed gives a pair
        "mann_whitney_p": stats.mann_whitney(base, other).p,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5, help="at least 2; default 5")
    parser.add_argument("--out", type=Path, required=True, help="folder of the record")
    parsed = parser.parse_args()
    if parsed.seeds < 2:
        parser.error(f"--seeds={parsed.seeds}, but a spread needs at least 2")
    parsed.out.mkdir(parents=True, exist_ok=True)
    followers = {name: scale_by_lion(mu_dtype=name) for name in ("bfloat16", "int8")}
    report = {
        "environment": environment.describe(),
        "sign_agreement_by_epoch": sign_agreement(
            cli.load_config(str(CONFIG)), followers
        ),
    }
    results = final_losses(parsed.out, parsed.seeds)
    for field in ("val_loss", "last_test_loss", "last_test_accuracy"):
        report[field] = compare(results, field)
        print(field, json.dumps(report[field], indent=2))
    (parsed.out / "report.json").write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
