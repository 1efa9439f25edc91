"""What happens in the process of one row of train_step.py: prepare a step, time it."""

import json
import os
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

SECONDS_PER_TURN = 3.0  # at least one step, as many as fit
OURS = ("lion_jax float32", "lion_jax bfloat16")
MATMUL = (512, 2048, 4096)  # the next size only if it takes less than a second


@dataclass
class Job:
    """What a row's process is to do; travels as JSON."""

    row: str
    model: str
    image_size: int
    batch: int
    classes: int = 10


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
    while not steps or time.perf_counter() - started < SECONDS_PER_TURN:
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
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
    }


def _prepare_ours(job: Job) -> Any:
    import jax
    import numpy as np

    from lion_jax import config as configs
    from lion_jax import data, runtime
    from lion_jax.training import sharding
    from lion_jax.training.program import Program
    from lion_jax.training.task import make_task, split

    config = configs.Config(
        batch_size=job.batch, eval_batch_size=job.batch, image_size=job.image_size
    )
    model = {"model.name": job.model, "model.dtype": job.row.split()[-1]}
    config = configs.override(config, model)
    config.optimizer.learning_rate = 1e-4
    config.augment.flip = True
    runtime.start("off", **config.arithmetic())
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


if __name__ == "__main__":
    work(Job(**json.loads(sys.argv[1])))
