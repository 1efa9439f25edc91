"""How long does a step of each optimizer take, and how much of it is the memory's?

    python benchmarks/optimizer_step.py [--tree vit_b16] [--runs 3] [--one-loop]

Every row is `update` and `optax.apply_updates` in one `jax.jit` that is given weights
and state to keep (donated), over the parameters of a whole model, with a constant
gradient. Rounds go through all rows in turn, so that a slow minute of the machine
falls on all of them alike, and every ratio is the median over rounds of two times
measured side by side. The triad, p <- p + s g in place, is what memory allows: 12
bytes a parameter. Lion in one pass over memory moves 20 (reads p, m, g; writes p, m):
the last column is the triad's time for the bytes that a row must move, over the row's.

On a CPU, --one-loop sets XLA_FLAGS=--xla_backend_extra_options=
xla_cpu_use_multi_output_fusion=true, which lets XLA make one loop of all that reads
the same array.
"""

import argparse
import dataclasses
import importlib
import importlib.util
import json
import math
import os
import re
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from lion_jax import environment, lion, models

ONE_LOOP = "--xla_backend_extra_options=xla_cpu_use_multi_output_fusion=true"
TREES = ("vit_b16", "resnet50")
CALLS = 3  # steps in one timing
GOALS = {"optax.lion": 3.0, "optax.adamw": 1.25}  # times faster, on a CPU
GOAL_SHARE = 0.65  # of the triad's bandwidth, at 20 bytes a parameter


@dataclasses.dataclass
class Row:
    """One optimizer: what it must move, what it keeps, and its times."""

    name: str
    bytes_moved: float  # a parameter, in one pass over memory
    bytes_kept: float  # of state, a parameter
    run: Callable[[], None]  # CALLS steps, waited for
    notes: str = ""
    seconds: list[float] = dataclasses.field(default_factory=list)


def parameters(tree: str) -> dict[str, jax.Array]:
    """Makes random leaves with the shapes of a model with 1,000 classes."""

    def shapes():
        model = models.make(tree, image_size=224, num_classes=1000, rngs=nnx.Rngs(0))
        return nnx.to_pure_dict(nnx.state(model, nnx.Param))

    leaves = jax.tree_util.tree_leaves_with_path(nnx.eval_shape(shapes))
    made, rng = {}, np.random.default_rng(0)
    for path, leaf in leaves:
        values = rng.standard_normal(leaf.shape, dtype=np.float32)
        made[jax.tree_util.keystr(path)] = jnp.asarray(values)
    return made


def jax_row(
    name: str,
    moved: float,
    init: Callable[[Any], Any],
    step: Callable[[Any, Any, Any], tuple[Any, Any]],
    params: dict[str, jax.Array],
    grads: dict[str, jax.Array],
) -> Row:
    """A row timed through `jax.jit` with weights and state donated."""
    held = jax.tree.map(jnp.copy, params), jax.jit(init)(params)
    size = sum(p.size for p in params.values())
    kept = sum(x.nbytes for x in jax.tree.leaves(held[1])) / size
    compiled = jax.jit(step, donate_argnums=(0, 1)).lower(*held, grads).compile()
    text, memory = compiled.as_text() or "", compiled.memory_analysis()
    leaf = max(params.values(), key=lambda p: p.size)
    shape = ",".join(map(str, leaf.shape))
    copies = len(re.findall(rf"\[{shape}\]\S* copy\(", text))
    loops = len(re.findall(r" fusion\(", text))
    temporary = memory.temp_size_in_bytes / size if memory else math.nan
    state = [held]

    def run():
        for _ in range(CALLS):
            state[0] = compiled(*state[0], grads)
        jax.block_until_ready(state[0])

    notes = f"{loops} loops, {temporary:.1f} B/param temporary"
    return Row(name, moved, kept, run, notes + (", copies" if copies else ""))


def optax_row(name, moved, tx, params, grads) -> Row:
    """A row of an Optax transformation."""

    def step(params, state, grads):
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    return jax_row(name, moved, tx.init, step, params, grads)


def torch_row(params: dict[str, jax.Array]) -> Row | None:
    """PyTorch's fused AdamW on the same shapes, or None without PyTorch."""
    if importlib.util.find_spec("torch") is None:
        return None
    torch: Any = importlib.import_module("torch")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    tensors = [torch.randn(p.shape, device=device) for p in params.values()]
    for tensor in tensors:
        tensor.grad = torch.randn_like(tensor)
    optimizer = torch.optim.AdamW(tensors, lr=1e-4, fused=True)

    def run():
        for _ in range(CALLS):
            optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()

    notes = f"torch {torch.__version__}, {torch.get_num_threads()} threads"
    return Row("torch AdamW, fused", 28, 8, run, notes)


def flashoptim_row(params, grads) -> Row | None:
    """FlashOptim's Lion in JAX, or None if it is not installed or does not run."""
    if importlib.util.find_spec("flashoptim_jax") is None:
        return None
    flashoptim_jax: Any = importlib.import_module("flashoptim_jax")
    tx = flashoptim_jax.flash_lion(
        learning_rate=1e-4, weight_decay=1.0, master_weight_bits=None
    )
    try:
        return jax_row("flashoptim-jax Lion", 14.1, tx.init, tx.step, params, grads)
    except Exception as error:
        print(f"flashoptim-jax is installed but fails here: {str(error)[:100]}")
        return None


def rows(params: dict[str, jax.Array], grads: dict[str, jax.Array]) -> list[Row]:
    """Makes every row of the table."""

    def triad(params, state, grads):
        return jax.tree.map(lambda p, g: p + 0.5e-3 * g, params, grads), state

    made = [
        jax_row("in-place triad", 12, lambda _: (), triad, params, grads),
        optax_row("lion_jax float32", 20, lion(1e-4, weight_decay=1.0), params, grads),
        optax_row(
            "lion_jax bfloat16",
            16,
            lion(1e-4, mu_dtype="bfloat16", weight_decay=1.0),
            params,
            grads,
        ),
        optax_row(
            "lion_jax int8",
            14,
            lion(1e-4, mu_dtype="int8", weight_decay=1.0),
            params,
            grads,
        ),
        optax_row("optax.lion", 20, optax.lion(1e-4, weight_decay=1.0), params, grads),
        optax_row("optax.adamw", 28, optax.adamw(1e-4), params, grads),
        optax_row("optax.sgd", 12, optax.sgd(1e-4), params, grads),
        torch_row(params),
        flashoptim_row(params, grads),
    ]
    return [row for row in made if row is not None]


def measure(table: list[Row], rounds: int) -> None:
    """Times all rows in turn, `rounds` times after one round that does not count."""
    for row in table:
        row.run()
        row.seconds.clear()
    for _ in range(rounds):
        for row in table:
            started = time.perf_counter()
            row.run()
            row.seconds.append((time.perf_counter() - started) / CALLS)


def ratio(slower: Row, faster: Row) -> float:
    """Median over rounds of how many times as long the first takes."""
    pairs = zip(slower.seconds, faster.seconds, strict=True)
    return statistics.median(a / b for a, b in pairs)


def report(table: list[Row], size: int) -> dict[str, Any]:
    """Prints the table, and returns it."""
    triad, ours = table[0], table[1]
    print(
        f"{'':24}{'ms':>8}{'x lion_jax':>12}{'GB/s':>8}{'of triad':>10}"
        f"{'B/param':>9}  compiled to"
    )
    lines = []
    for row in table:
        seconds = statistics.median(row.seconds)
        share = ratio(triad, row) * row.bytes_moved / triad.bytes_moved
        line = {
            "name": row.name,
            "milliseconds": 1e3 * seconds,
            "times_lion_jax_float32": ratio(row, ours),
            "gigabytes_per_second": row.bytes_moved * size / seconds / 1e9,
            "share_of_triad": share,
            "state_bytes_per_parameter": row.bytes_kept,
            "notes": row.notes,
        }
        lines.append(line)
        print(
            f"{row.name:24}{line['milliseconds']:8.1f}"
            f"{line['times_lion_jax_float32']:12.2f}"
            f"{line['gigabytes_per_second']:8.1f}{share:10.2f}"
            f"{row.bytes_kept:9.3f}  {row.notes}"
        )
    by_name = {line["name"]: line for line in lines}
    met = [by_name[n]["times_lion_jax_float32"] >= goal for n, goal in GOALS.items()]
    met.append(by_name["lion_jax float32"]["share_of_triad"] >= GOAL_SHARE)
    if jax.default_backend() == "cpu":
        print(
            "goals on a CPU (3.0 x optax.lion, 1.25 x optax.adamw, 0.65 of the triad):"
            f" {', '.join('met' if m else 'MISSED' for m in met)}\n"
        )
    return {"rows": lines, "goals_met": met}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--tree", choices=TREES, default="vit_b16", help="whose parameters"
    )
    parser.add_argument("--rounds", type=int, default=15, help="in a run; default 15")
    parser.add_argument("--runs", type=int, default=1, help="tables; default 1")
    parser.add_argument("--one-loop", action="store_true", help="see above")
    parser.add_argument("--out", type=Path, help="file for the numbers, JSON")
    parsed = parser.parse_args()
    if parsed.rounds < 1 or parsed.runs < 1:
        parser.error("--rounds and --runs must be at least 1")
    flags = os.environ.get("XLA_FLAGS", "")
    if parsed.one_loop and ONE_LOOP not in flags:
        # XLA reads its flags once, before this line can be reached.
        os.environ["XLA_FLAGS"] = f"{flags} {ONE_LOOP}".strip()
        os.execv(sys.executable, [sys.executable, *sys.argv])
    params = parameters(parsed.tree)
    grads = jax.tree.map(jnp.cos, params)
    size = sum(p.size for p in params.values())
    print(
        f"{parsed.tree}: {size:,} parameters in {len(params)} leaves,"
        f" {jax.devices()[0].device_kind}, {os.cpu_count()} CPU cores,"
        f" jax {jax.__version__}{', one loop' if parsed.one_loop else ''}\n"
    )
    table, tables = rows(params, grads), []
    for _ in range(parsed.runs):
        measure(table, parsed.rounds)
        tables.append(report(table, size))
    if parsed.out:
        record = {"tree": parsed.tree, "parameters": size, "one_loop": parsed.one_loop}
        record |= {"environment": environment.describe(), "tables": tables}
        parsed.out.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
