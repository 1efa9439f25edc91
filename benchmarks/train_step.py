"""How many images a second does a training step take in, beside its peers?

    python benchmarks/train_step.py --model resnet50 --image-size 32 --batch 128

Ours is the product's own step: the program that `lion_jax.train` runs, with images as
uint8 on the device, augmentation, metrics and optimizer. The peers are the same network
with the same optimizer, written as their own users would: PyTorch (if it is installed;
peer_torch.py) and a plain Flax network in the manner of Flax's ImageNet example
(peer_flax.py), both fed with finished float32 batches. The optimizer is Lion. On a CPU
ours keeps its memory between steps, as the trainer does (lion_jax.runtime.keep_memory);
start the script with MALLOC_ARENA_MAX=1 MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=-1 to
give the peers the same.

Every row lives in a process of its own, so that its peak of memory is its own; only one
of them computes at any time. Rounds go through all rows in turn, so that a slow minute
of the machine falls on all of them alike, and every ratio is the median over rounds of
two speeds measured side by side. "Of peak" is the share of the fastest large matrix
product (float32 or bfloat16, JAX's or PyTorch's) seen in the same run that the
arithmetic of the network, three times its forward pass, would take. "Ready" is the
time from nothing to the end of the first step: imports, initial values, compilation.
"""

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

SECONDS_A_TURN = 3.0  # at least one step, as many as fit
TURNS_BEFORE = 1  # that do not count
GOAL = 1.0  # times the best peer of the same arithmetic, or of any
OURS = ("lion_jax float32", "lion_jax bfloat16")
TORCH_MODES = (
    "torch eager",
    "torch channels-last",
    "torch compile",
    "torch bf16",
    "torch compile bf16",
)
MATMUL = (512, 2048, 4096)  # the next size only if it takes less than a second


@dataclass
class Job:
    """What a row's process is to do; travels as JSON."""

    row: str
    model: str
    image_size: int
    batch: int
    classes: int = 10


@dataclass
class Row:
    """One row of the table: its process and what it measured."""

    name: str
    process: subprocess.Popen[str]
    patience: int  # seconds until a process that does not answer is given up
    ready: dict[str, Any] = field(default_factory=dict)
    speeds: list[float] = field(default_factory=list)  # images a second
    error: str = ""

    def ask(self, question: str) -> dict[str, Any]:
        """Sends one line, and reads one line of JSON."""
        assert self.process.stdin
        try:
            self.process.stdin.write(question + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass
        return self.hear()

    def hear(self) -> dict[str, Any]:
        """Reads one line of JSON; a process that ends or takes too long is an error."""
        assert self.process.stdout
        watch = threading.Timer(self.patience, self.process.kill)
        watch.start()
        line = self.process.stdout.readline()
        late = not watch.is_alive()
        watch.cancel()
        why = f"no answer in {self.patience} s" if late else "its process ended"
        answer = json.loads(line) if line else {"error": why}
        self.error = self.error or answer.get("error", "")
        return answer


# ------------------------------------------------------------------ in a row's process


def work(job: Job) -> None:
    """Prepares a row, then measures whenever a line arrives; answers in JSON."""
    answers = os.fdopen(os.dup(1), "w")  # what libraries print goes to stderr instead
    os.dup2(2, 1)

    def answer(**values: Any) -> None:
        print(json.dumps(values), file=answers, flush=True)

    try:
        step, ready = _prepare(job)
        answer(**ready)
        for line in sys.stdin:
            if line.strip() == "turn":
                answer(speed=job.batch * _steps_per_second(step))
            else:
                answer(memory=_peak_memory(job.row))
    except Exception as error:  # a peer that does not run here is a row that says so
        answer(error=f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")


def _steps_per_second(step: Any) -> float:
    steps, started = 0, time.perf_counter()
    while not steps or time.perf_counter() - started < SECONDS_A_TURN:
        step()
        steps += 1
    return steps / (time.perf_counter() - started)


def _prepare(job: Job) -> tuple[Any, dict[str, Any]]:
    """Returns a function that takes one step and waits for it, and its figures."""
    started = time.perf_counter()
    if job.row.startswith("torch"):
        import peer_torch

        step = peer_torch.prepare(**asdict(job))
        step()
        ready = time.perf_counter() - started
        return step, {
            "seconds_ready": ready,
            "peak": {
                dtype: _peak(peer_torch.multiply, dtype)
                for dtype in ("float32", "bfloat16")
            },
            "version": peer_torch.version(),
        }
    import jax

    if job.row == "flax example":
        import peer_flax

        step = peer_flax.prepare(**asdict(job))
    else:
        step = _prepare_ours(job)
    step()
    return step, {
        "seconds_ready": time.perf_counter() - started,
        "peak": _jax_matmul_peak(),
        "version": f"jax {jax.__version__} on {jax.devices()[0].device_kind}",
        "flops": _flops(job) if job.row in OURS else 0,
    }


def _prepare_ours(job: Job) -> Any:
    import jax
    import numpy as np

    from lion_jax import config as configs
    from lion_jax import data, runtime
    from lion_jax.training import sharding
    from lion_jax.training.program import Program
    from lion_jax.training.task import make_task, split

    runtime.keep_memory()
    config = configs.Config(
        batch_size=job.batch, eval_batch_size=job.batch, image_size=job.image_size
    )
    config.model.name = job.model
    config.model.dtype = job.row.split()[-1]
    config.optimizer.learning_rate = 1e-4
    config.augment.flip = True
    n, rng = 10 * job.batch, np.random.default_rng(0)
    pixels = rng.integers(0, 256, (n, 28, 28, 1), dtype=np.uint8)
    labels = rng.integers(0, job.classes, n).astype(np.int32)
    classes = tuple(map(str, range(job.classes)))
    dataset = data.Dataset(
        "noise", "1", "the benchmark", classes, pixels, labels, pixels, labels
    )
    mesh = sharding.make_mesh(configs.check_devices(config, jax.device_count()))
    splits = split(config, dataset)
    task = make_task(config, dataset, splits, mesh)
    program = Program(config, task, splits, mesh)
    state = program.init(seed=0)
    inputs = program.start_epoch(seed=0, epoch=0)

    def step() -> None:
        nonlocal state  # past the epoch's end, a batch is its last one again
        state, loss = program.train_step(state, inputs)
        loss.block_until_ready()

    return step


def _jax_matmul_peak() -> dict[str, float]:
    """Returns FLOP/s of a large product, by dtype."""
    import jax
    import jax.numpy as jnp

    product = jax.jit(jnp.matmul)

    def multiply(size: int, dtype: str) -> Any:
        a = jnp.ones((size, size), dtype)
        return lambda: product(a, a).block_until_ready()

    return {dtype: _peak(multiply, dtype) for dtype in ("float32", "bfloat16")}


def _peak(multiply: Any, dtype: str) -> float:
    """Returns the fastest of products of growing size, in FLOP/s."""
    best = seconds = 0.0
    for before, size in zip((0, *MATMUL), MATMUL, strict=False):
        # A processor without arithmetic for a dtype may need minutes for it.
        if before and seconds * (size / before) ** 3 > 1.0:
            break
        run = multiply(size, dtype)
        run()
        for _ in range(3):
            started = time.perf_counter()
            run()
            seconds = time.perf_counter() - started
            best = max(best, 2 * size**3 / seconds)
    return best


def _flops(job: Job) -> float:
    """Returns the arithmetic of a training step for one image: thrice forward's."""
    import jax
    from flax import nnx

    from lion_jax import models

    shape = (1, job.image_size, job.image_size, 3)

    def forward(x):
        made = models.make(
            job.model,
            image_size=job.image_size,
            num_classes=job.classes,
            rngs=nnx.Rngs(0),
        )
        return made(x, train=False)

    traced = jax.make_jaxpr(forward)(jax.ShapeDtypeStruct(shape, "float32"))
    return 3 * _products(traced.jaxpr)


def _products(jaxpr: Any) -> float:
    """Returns the FLOPs of the matrix products and convolutions in a jaxpr."""
    import numpy as np

    total = 0.0
    for equation in jaxpr.eqns:
        parameters, inputs = equation.params, equation.invars
        if equation.primitive.name == "dot_general":
            contracted = parameters["dimension_numbers"][0][0]
            depth = np.prod([inputs[0].aval.shape[i] for i in contracted])
            total += 2 * equation.outvars[0].aval.size * depth
        elif equation.primitive.name == "conv_general_dilated":
            kernel = inputs[1].aval
            outputs = kernel.shape[parameters["dimension_numbers"].rhs_spec[0]]
            total += 2 * equation.outvars[0].aval.size * kernel.size / outputs
        elif "branches" in parameters:  # one form a platform; the last is the default
            total += _products(parameters["branches"][-1].jaxpr)
        else:
            inner = parameters.get("jaxpr") or parameters.get("call_jaxpr")
            if inner is not None:
                times = parameters.get("length", 1)
                total += times * _products(getattr(inner, "jaxpr", inner))
    return total


def _peak_memory(row: str) -> int:
    """Returns the most bytes used so far, of the device if it counts them."""
    if row.startswith("torch"):
        import peer_torch

        on_device = peer_torch.peak_device_memory()
    else:
        import jax

        on_device = (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return on_device or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


# ------------------------------------------------------------------------- in the main


def start(job: Job, patience: int, python: str) -> Row:
    """Starts a row's process and waits until it is ready."""
    command = [python, __file__, "--work", json.dumps(asdict(job))]
    environ = os.environ | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environ,
    )
    row = Row(job.row, process, patience)
    print(f"{job.row} ...", end=" ", flush=True)
    row.ready = row.hear()
    said = row.error or f"ready after {row.ready['seconds_ready']:.1f} s"
    print(said, flush=True)
    return row


def ratio(row: Row, peer: Row) -> float:
    """Median over rounds of one row's speed over another's."""
    pairs = zip(row.speeds, peer.speeds, strict=True)
    return statistics.median(a / b for a, b in pairs)


def measure(rows: list[Row], rounds: int) -> None:
    """Lets all rows compute in turn; one that fails says why and takes part no more."""
    for row in rows:
        row.speeds.clear()
    for turn in range(TURNS_BEFORE + rounds):
        for row in rows:
            if row.error:
                continue
            answer = row.ask("turn")
            if row.error:
                print(f"{row.name} gave up: {row.error}", flush=True)
            elif turn >= TURNS_BEFORE:
                row.speeds.append(answer["speed"])


def fastest(rows: list[Row]) -> Row | None:
    """The row of the highest median speed, or None if there is none."""
    return max(rows, key=lambda row: statistics.median(row.speeds), default=None)


def report(rows: list[Row]) -> dict[str, Any]:
    """Prints the table of a run and returns it."""
    rows = [row for row in rows if not row.error]
    ours = [row for row in rows if row.name in OURS]
    peers = [row for row in rows if row.name not in OURS]
    best = fastest(peers)
    peaks = {
        dtype: max((row.ready["peak"][dtype] for row in rows), default=0)
        for dtype in ("float32", "bfloat16")
    }
    peak = max(peaks.values())
    flops = max((row.ready.get("flops", 0) for row in rows), default=0)
    heads = ("images/s", "x best peer", "of peak", "ready (s)", "memory (GiB)")
    print("\n" + " " * 20 + "".join(f"{head:>13}" for head in heads))
    lines = []
    for row in rows:
        speed = statistics.median(row.speeds)
        line = {
            "name": row.name,
            "images_per_second": speed,
            "range": [min(row.speeds), max(row.speeds)],
            "times_best_peer": ratio(row, best) if best else None,
            "share_of_peak": speed * flops / peak if flops else None,
            "seconds_ready": row.ready["seconds_ready"],
            "peak_memory_bytes": row.ask("memory").get("memory"),
        }
        lines.append(line)
        cells = (
            f"{speed:.1f}",
            f"{line['times_best_peer']:.2f}" if best else "-",
            f"{line['share_of_peak']:.2f}" if flops else "-",
            f"{line['seconds_ready']:.1f}",
            f"{(line['peak_memory_bytes'] or 0) / 2**30:.2f}",
        )
        print(f"{row.name:20}" + "".join(f"{cell:>13}" for cell in cells))
    said = ", ".join(f"{dtype} {peaks[dtype] / 1e9:.0f}" for dtype in peaks)
    print(f"fastest matrix product, GFLOP/s: {said}")
    half = [row for row in peers if "bf16" in row.name]
    single = [row for row in peers if row not in half]
    goals = {}
    for text, peer in (
        ("the best float32 peer", fastest(single)),
        ("the best bfloat16 peer", fastest(half)),
        ("the best peer", best),
    ):
        if (our := fastest(ours)) and peer:
            times = goals[text] = ratio(our, peer)
            verdict = "met" if times >= GOAL else "MISSED"
            print(
                f"{our.name} is {times:.2f} x {text}, {peer.name}"
                f" (goal {GOAL}: {verdict})"
            )
    print(flush=True)
    return {"rows": lines, "matmul_flops": peaks, "times": goals}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=("resnet50", "vit_b16"), default="resnet50")
    parser.add_argument("--image-size", type=int, default=32, help="default 32 pixels")
    parser.add_argument("--batch", type=int, default=128, help="default 128 images")
    parser.add_argument(
        "--dtype",
        default="float32,bfloat16",
        help="of our rows' computation, with commas; default float32,bfloat16",
    )
    parser.add_argument("--rows", default="", help="only rows whose name holds this")
    parser.add_argument("--rounds", type=int, default=7, help="in a run; default 7")
    parser.add_argument("--runs", type=int, default=1, help="tables; default 1")
    parser.add_argument(
        "--patience",
        type=int,
        default=300,
        help="seconds until a row that does not answer is given up; default 300",
    )
    parser.add_argument(
        "--torch-python",
        default=sys.executable,
        help="interpreter with PyTorch, if another environment has it",
    )
    parser.add_argument("--out", type=Path, help="file for the numbers, JSON")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    parsed = parser.parse_args()
    if parsed.work:
        work(Job(**json.loads(parsed.work)))
        return
    if min(parsed.rounds, parsed.runs, parsed.batch, parsed.image_size) < 1:
        parser.error("--rounds, --runs, --batch and --image-size must be at least 1")
    if not set(parsed.dtype.split(",")) <= {"float32", "bfloat16"}:
        parser.error(f"--dtype={parsed.dtype} must be of float32 and bfloat16")
    names = [f"lion_jax {dtype}" for dtype in parsed.dtype.split(",")]
    names += ["flax example"] if parsed.model == "resnet50" else []
    elsewhere = parsed.torch_python != sys.executable
    if elsewhere or importlib.util.find_spec("torch"):
        names += TORCH_MODES
    else:
        print("PyTorch is not installed: no rows for it")
    job = Job("", parsed.model, parsed.image_size, parsed.batch)
    chosen = [n for n in names if parsed.rows in n or n in OURS]
    rows = [
        start(
            replace(job, row=name),
            parsed.patience,
            parsed.torch_python if name in TORCH_MODES else sys.executable,
        )
        for name in chosen
    ]
    tables = []
    for _ in range(parsed.runs):
        measure(rows, parsed.rounds)
        tables.append(report(rows))
    for row in rows:
        row.process.kill()
    if parsed.out:
        from lion_jax import environment

        record = {"model": parsed.model, "image_size": parsed.image_size}
        record |= {"batch": parsed.batch, "environment": environment.describe()}
        versions = {row.name: row.ready.get("version", row.error) for row in rows}
        record |= {"versions": versions, "tables": tables}
        parsed.out.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
