"""Does every mode of training compute here what it computes on a CPU?

    python benchmarks/gpu_modes.py --out results/gpu/modes.json

For each row of MODES, in a process of its own: the trainer's own program takes six
steps of a small model on the first device that JAX finds and on a CPU, from the same
seed, and evaluates. The two differ by the order of their sums, and by TF32 or bfloat16
where a row has them, so every loss must agree within the arithmetic's bound, and the
model that the device trained must have the same validation loss on the CPU. A row with
`deterministic` is trained twice, to the same bits. Then optimizers alone, 20 steps on
the same gradients: the share of values with the CPU's bits, and with optax.lion's.
Exit status 1: a row is beyond its bound, or failed.
"""

import argparse
import dataclasses
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import own_process

EXACT = {"model.matmul_precision": "float32"}
VIT = {"model.name": "vit_tiny", "model.pool": "mean"}  # 49 tokens, an odd number
BFLOAT16 = {"model.dtype": "bfloat16"}
LION = {name: {"optimizer.mu_dtype": name} for name in ("bfloat16", "int8")}
MODES: dict[str, dict[str, str]] = {
    "float32": EXACT,
    "TF32": {},
    "bfloat16": BFLOAT16,
    "momentum bfloat16": EXACT | LION["bfloat16"],
    "momentum int8": EXACT | LION["int8"],
    "refined": EXACT | {"optimizer.mode": "refined"},
    "smooth": EXACT | {"optimizer.mode": "smooth"},
    "cautious": EXACT
    | {"optimizer.cautious": "true", "optimizer.cautious_weight_decay": "true"},
    "AdamW": EXACT | {"optimizer.name": "adamw"},
    "SGD": EXACT | {"optimizer.name": "sgd"},
    "cosine, clipped": EXACT
    | {"optimizer.schedule": "cosine", "optimizer.clip_norm": "1"},
    "averaged weights": EXACT | {"optimizer.ema_decay": "0.9"},
    "accumulated": EXACT | {"accumulate": "2"},
    "steps in one dispatch": EXACT | {"scan_steps": "3"},
    "streamed": EXACT | {"data.placement": "host"},
    "fsdp": EXACT | {"mesh.mode": "fsdp"},
    "zero1": EXACT | {"mesh.mode": "zero1"},
    "augmented": EXACT
    | {"augment.crop_padding": "2", "augment.erasing": "0.25", "augment.mixup": "0.2"},
    "deterministic": EXACT | {"deterministic": "true"},
    "deterministic bfloat16": BFLOAT16 | {"deterministic": "true"},
    "ViT": EXACT | VIT,
    "ViT bfloat16": BFLOAT16 | VIT,
    "ViT bfloat16, class token": BFLOAT16 | VIT | {"model.pool": "token"},
    "ViT bfloat16, rematerialized": BFLOAT16 | VIT | {"model.remat": "full"},
    "ViT deterministic bfloat16": BFLOAT16 | VIT | {"deterministic": "true"},
}
# Relative difference of a loss: before the first step, and of any; set beforehand.
BOUNDS = {"float32": (1e-5, 2e-3), "TF32": (3e-3, 3e-2), "bfloat16": (2e-2, 5e-2)}
OPTIMIZERS = ("float32", "bfloat16", "int8", "refined", "smooth", "cautious")
STEPS = 20
PATIENCE = 200  # seconds for a row


def arithmetic(mode: dict[str, str]) -> str:
    """Returns the row of BOUNDS for a mode."""
    if "model.dtype" in mode:
        return mode["model.dtype"]
    return "float32" if "model.matmul_precision" in mode else "TF32"


# --------------------------------------------------------------- in a process of a row


def train(name: str) -> dict[str, Any]:
    """Trains a mode on the device and on a CPU; returns what they got."""
    import jax
    import numpy as np
    from jax.sharding import AxisType

    from lion_jax import config as configs
    from lion_jax import data
    from lion_jax.training import lowering, sharding
    from lion_jax.training.program import Program
    from lion_jax.training.task import make_task, split

    config = configs.Config(batch_size=64, eval_batch_size=64, image_size=28, devices=1)
    fields = {"data.name": data.SAMPLE, "model.name": "resnet_nano"}
    fields |= {"augment.flip": "true", "optimizer.learning_rate": "0.001"}
    mode = {"optimizer.weight_decay": "0.1"} | MODES[name]
    config = configs.override(config, fields | mode)
    sample = data.load(data.SAMPLE)
    some = {x: sample.arrays[x][: 480 if "train" in x else 100] for x in sample.arrays}
    dataset = dataclasses.replace(sample, **some)
    splits = split(config, dataset)

    def program(device: Any) -> Program:
        axes = (1,), (sharding.AXIS,), (AxisType.Auto,)
        mesh = jax.make_mesh(*axes, devices=[device])
        return Program(config, make_task(config, dataset, splits, mesh), splits, mesh)

    def run(made: Program) -> tuple[Any, list[float]]:
        state, losses = made.init(seed=0), []
        inputs = made.start_epoch(seed=0, epoch=0)
        for _ in range(made.steps_per_epoch // made.scan_steps):
            state, loss = made.train_step(state, inputs, made.scan_steps)
            losses.append(float(loss))
        return jax.block_until_ready(state), losses

    def held_out(made: Program, state: Any) -> float:
        model = state.params, state.batch_stats
        return made.evaluate(*model, "validation").metrics.means()[0]

    here, cpu = (program(x) for x in (jax.devices()[0], jax.devices("cpu")[0]))
    started = time.perf_counter()
    (state, ours), (reference, theirs) = run(here), run(cpu)
    seconds = time.perf_counter() - started
    host = jax.tree.map(np.asarray, (state.params, reference.params))
    moved = [abs(a - b) for a, b in zip(*map(jax.tree.leaves, host), strict=True)]
    rate = config.optimizer.learning_rate
    validation = held_out(here, state)
    carried = jax.device_put(state, lowering.shardings(cpu.abstract))
    row: dict[str, Any] = {
        "losses": ours,
        "losses_on_cpu": theirs,
        "validation_loss": validation,
        "the_same_model_on_cpu": held_out(cpu, carried),
        "parameters_apart": sum(int((x > rate / 2).sum()) for x in moved)
        / sum(x.size for x in moved),
        "seconds": round(seconds, 1),
    }
    if config.deterministic:
        again = jax.tree.map(np.asarray, run(here)[0].params)
        row["same_bits_again"] = all(
            np.array_equal(a, b)
            for a, b in zip(*map(jax.tree.leaves, (host[0], again)), strict=True)
        )
    return row | {"wrong": wrong(name, row)}


def wrong(name: str, row: dict[str, Any]) -> list[str]:
    """Returns what is beyond its bound in a row."""
    first, every = BOUNDS[arithmetic(MODES[name])]
    apart = [
        abs(a - b) / abs(b)
        for a, b in zip(row["losses"], row["losses_on_cpu"], strict=True)
    ]
    row["largest_difference"] = max(apart)
    carried = abs(row["validation_loss"] / row["the_same_model_on_cpu"] - 1)
    # The first loss is that of the last of the first dispatch's steps.
    one = "scan_steps" not in MODES[name]
    found = [f"first loss {apart[0]:.1e} apart"] if one and apart[0] > first else []
    found += [f"losses {max(apart):.1e} apart"] if max(apart) > every else []
    found += [f"validation {carried:.1e} apart"] if carried > every else []
    again = row.get("same_bits_again", True)
    return found if again else [*found, "other bits when trained again"]


def optimize(name: str) -> dict[str, Any]:
    """Takes steps with an optimizer alone, on the device and on a CPU."""
    import jax
    import numpy as np
    import optax

    from lion_jax import lion

    options: dict[str, Any] = {"mode": name} if name in ("refined", "smooth") else {}
    options = {"cautious": True} if name == "cautious" else options
    options = {"mu_dtype": name} if name in LION else options
    rng = np.random.default_rng(0)
    shapes = ((7,), (64, 3, 3, 32), (768, 768), (1000,))

    def drawn() -> list[Any]:
        # Values of all sizes, as gradients are.
        scale = [10.0 ** rng.uniform(-8, 0, shape) for shape in shapes]
        return [np.float32(rng.standard_normal(x.shape) * x) for x in scale]

    params, grads = drawn(), [drawn() for _ in range(STEPS)]

    def run(tx: optax.GradientTransformation, device: Any) -> list[Any]:
        def step(params: Any, state: Any, grads: Any) -> Any:
            updates, state = tx.update(grads, state, params)
            return optax.apply_updates(params, updates), state

        jitted = jax.jit(step, donate_argnums=(0, 1))
        weights = jax.device_put(params, device)
        state = jax.jit(tx.init)(weights)
        for each in grads:
            weights, state = jitted(weights, state, jax.device_put(each, device))
        return [np.asarray(x) for x in weights]

    def equal(a: list[Any], b: list[Any]) -> float:
        same = sum(int((x == y).sum()) for x, y in zip(a, b, strict=True))
        return same / sum(x.size for x in a)

    tx = lion(1e-3, weight_decay=0.1, **options)
    device, cpu = jax.devices()[0], jax.devices("cpu")[0]
    ours = run(tx, device)
    there = run(tx, cpu)
    row: dict[str, Any] = {
        "same_bits_as_cpu": equal(ours, there),
        "largest_difference": float(
            max(abs(a - b).max() for a, b in zip(ours, there, strict=True))
        ),
    }
    if name in ("float32", "bfloat16"):
        theirs = optax.lion(1e-3, weight_decay=0.1, mu_dtype=name)
        row["same_bits_as_optax"] = equal(ours, run(theirs, device))
    # Another rounding of a momentum may turn a sign now and then, no more.
    least = 0.999 if name != "int8" else 0.9
    close = [abs(a - b) < 1e-5 for a, b in zip(ours, there, strict=True)]
    share = sum(int(x.sum()) for x in close) / sum(x.size for x in close)
    row |= {"close_to_cpu": share}
    return row | {"wrong": [f"{share:.4f} close to the CPU"] if share < least else []}


# ------------------------------------------------------------------------- in the main


def ask(kind: str, name: str) -> dict[str, Any]:
    """Returns the figures of one row, from a process of its own."""
    row = own_process.ask(__file__, [f"--{kind}", name], PATIENCE)
    return {"wrong": [row["error"]]} if "error" in row else row


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="file for the numbers, JSON")
    parser.add_argument("--modes", default="", help="only those that hold this")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="at once")
    parser.add_argument("--train", choices=MODES, help=argparse.SUPPRESS)
    parser.add_argument("--optimize", choices=OPTIMIZERS, help=argparse.SUPPRESS)
    parsed = parser.parse_args()
    if parsed.train or parsed.optimize:
        made = train(parsed.train) if parsed.train else optimize(parsed.optimize)
        print(json.dumps(made))
        return 0
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # many share the device
    jobs = [("train", name) for name in MODES if parsed.modes in name]
    jobs += [("optimize", name) for name in OPTIMIZERS if parsed.modes in name]
    record: dict[str, Any] = {"train": {}, "optimize": {}}
    with ThreadPoolExecutor(parsed.workers) as pool:
        answers = pool.map(lambda job: ask(*job), jobs)
        for (kind, name), row in zip(jobs, answers, strict=True):
            record[kind][name] = row
            said = "; ".join(row["wrong"]) or "agrees"
            print(f"{kind:9} {name:30} {said}", flush=True)
            if parsed.out:
                from lion_jax import environment

                record["environment"] = environment.describe()
                own_process.keep(parsed.out, record)
    rows = [row for kind in ("train", "optimize") for row in record[kind].values()]
    count = sum(bool(row["wrong"]) for row in rows)
    print(f"{len(rows)} rows, {count} beyond their bounds")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
