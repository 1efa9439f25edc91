"""How long do the trainer's steps take on this GPU, beside what was predicted?

    python benchmarks/gpu_speed.py --out results/gpu/speed.json [--cases resnet50]

For each row of CASES, in a process of its own and alone: the trainer's own program is
compiled and run, at first WARM_UP steps, then CHUNKS times as many as fit in SECONDS,
of which the median counts; evaluation likewise. Beside them stand the prediction from
the program's own kernels (gpu_kernels.py states its assumptions), the bytes of device
memory, and from a trace of five steps the time on the device by kind of kernel. Further
flags, --config.<field>=<value>, are set in every case.
"""

import argparse
import json
import re
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import own_process

ROOT = Path(__file__).parents[1]
LARGE = {"batch_size": "256", "model.dtype": "bfloat16", "eval_batch_size": "256"}
SMALL = {"image_size": "32", "model.dtype": "bfloat16"}
CASES: dict[str, tuple[str, dict[str, str]]] = {
    "resnet50, 224 px, batch 256, bfloat16": ("resnet50_lion", LARGE),
    "vit_b16, 224 px, batch 256, bfloat16": ("vitb16_lion", LARGE),
    "resnet50_lion_tuned": ("resnet50_lion_tuned", {}),
    "vitb16_lion_tuned": ("vitb16_lion_tuned", {}),
    "resnet50, 32 px, batch 64, bfloat16": ("resnet50_lion", SMALL),
    "resnet50_lion": ("resnet50_lion", {}),
    "vitb16_lion": ("vitb16_lion", {}),
    "resnet50, 224 px, batch 256, int8 momentum": (
        "resnet50_lion",
        LARGE | {"optimizer.mu_dtype": "int8"},
    ),
}
WARM_UP, CHUNKS, SECONDS = 5, 5, 1.0
MOST = 25  # kernels that are named


def measure(name: str, overrides: dict[str, str]) -> dict[str, Any]:
    """Compiles and times a case in this process."""
    import jax

    from lion_jax import cli, data, runtime
    from lion_jax import config as configs
    from lion_jax.training import sharding
    from lion_jax.training.program import Program
    from lion_jax.training.task import make_task, requested, split

    path, fields = CASES[name]
    config = cli.load_config(str(ROOT / "configs" / f"{path}.py"))
    config = configs.override(config, fields | {"devices": "1"} | overrides)
    runtime.start("", **config.arithmetic())
    started = time.perf_counter()
    dataset, mesh = data.load(*requested(config)), sharding.make_mesh(1)
    splits = split(config, dataset)
    program = Program(config, make_task(config, dataset, splits, mesh), splits, mesh)
    state = jax.block_until_ready(program.init(seed=0))
    row: dict[str, Any] = {"seconds_compile": time.perf_counter() - started}
    inputs = program.start_epoch(seed=0, epoch=0)

    def step() -> Any:
        nonlocal state
        state, loss = program.train_step(state, inputs, program.scan_steps)
        return loss

    speeds = timed(step)
    row["milliseconds"] = [1e3 * x / program.scan_steps for x in speeds]
    images = config.batch_size * program.scan_steps
    row["images_per_second"] = images / statistics.median(speeds)
    model = state.params, state.batch_stats
    program.evaluate(*model, "validation").top5.block_until_ready()
    started = time.perf_counter()
    program.evaluate(*model, "validation").top5.block_until_ready()
    seconds = time.perf_counter() - started
    row["evaluated_images_per_second"] = len(splits.validation.labels) / seconds
    row["memory"] = jax.devices()[0].memory_stats()
    row["device"] = jax.devices()[0].device_kind
    try:
        row |= traced(step, program.compiled, row["device"])
    except Exception as error:  # the times above stand without it
        row["trace"] = f"{type(error).__name__}: {error}"[:300]
    return row


def timed(step: Callable[[], Any]) -> list[float]:
    """Returns seconds per step, of several chunks of steps sent ahead."""
    for _ in range(WARM_UP):
        step().block_until_ready()
    started = time.perf_counter()
    step().block_until_ready()
    count = max(1, round(SECONDS / (time.perf_counter() - started)))
    chunks = []
    for _ in range(CHUNKS):
        started = time.perf_counter()
        for _ in range(count - 1):
            step()
        step().block_until_ready()
        chunks.append((time.perf_counter() - started) / count)
    return chunks


def traced(step: Callable[[], Any], compiled: Any, device: str) -> dict[str, Any]:
    """Returns predicted and traced time by kind of kernel, in ms a step."""
    from gpu_kernels import gpu, kernels
    from gpu_report import report
    from hlo import parse

    import lion_jax.training.profiling as profiling

    name = next((x for x in ("a100", "h200") if x.upper() in device.upper()), "h100")
    wanted = {"bfloat16": False, "attention": 0, "step_loops": 0}
    predicted = report(compiled, gpu(name), 1, **wanted)
    found = list(kernels(parse(compiled.as_text())))
    kinds = {in_cuda(kernel.name): kernel.kind for kernel in found}
    expected = {in_cuda(k.name): 1e3 * k.seconds(gpu(name), 1) * k.times for k in found}
    with tempfile.TemporaryDirectory() as folder:
        profiling.record(Path(folder) / "trace", lambda: step().block_until_ready())
        milliseconds, runs = device_time(Path(folder), profiling.STEPS)
    by_kind: dict[str, float] = defaultdict(float)
    for kernel, cost in milliseconds.items():
        by_kind[kinds.get(kernel, "unknown")] += cost
    most = sorted(milliseconds.items(), key=lambda item: -item[1])[:MOST]
    return {
        "predicted": predicted,
        "traced_milliseconds_by_kind": dict(by_kind),
        "traced_milliseconds": sum(by_kind.values()),
        "traced_kernels": runs,
        "most_expensive": [
            {
                "kernel": kernel,
                "kind": kinds.get(kernel, "unknown"),
                "milliseconds": round(cost, 4),
                "predicted": round(expected.get(kernel, 0.0), 4),
            }
            for kernel, cost in most
        ],
    }


def device_time(folder: Path, steps: int) -> tuple[dict[str, float], float]:
    """Returns ms a step by kernel on the GPU's streams, and kernels a step.

    A kernel that XLA wrote bears its instruction's name, with `_` for what a name in
    CUDA must not have; a library's is known by the instruction that launched it, if it
    was not launched from a command buffer.
    """
    import jax

    (trace,) = folder.rglob("*.xplane.pb")
    spent, runs = defaultdict[str, float](float), 0
    for plane in jax.profiler.ProfileData.from_file(str(trace)).planes:
        if plane.name.startswith("/device:GPU"):
            for line in plane.lines:
                if line.name.startswith("Stream"):
                    for event in line.events:
                        launched = str(dict(event.stats).get("hlo_op", ""))
                        buffered = launched.startswith("command_buffer")
                        name = event.name if buffered or not launched else launched
                        spent[in_cuda(name)] += event.duration_ns / 1e6 / steps
                        runs += 1
    return dict(spent), runs / steps


def in_cuda(name: str) -> str:
    """Returns an instruction's name as a kernel bears it."""
    return re.sub(r"\W", "_", name)


def ask(name: str, seconds: float, overrides: dict[str, str]) -> dict[str, Any]:
    """Returns the figures of a case, from a process of its own."""
    given = [f"--config.{field}={value}" for field, value in overrides.items()]
    return own_process.ask(__file__, ["--measure", name, *given], seconds)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="file for the numbers, JSON")
    parser.add_argument("--cases", default="", help="only those that hold this")
    parser.add_argument("--budget", type=float, default=86_400, help="seconds in all")
    parser.add_argument("--measure", choices=CASES, help=argparse.SUPPRESS)
    parsed, rest = parser.parse_known_args()
    overrides = own_process.changes(rest, parser)
    if parsed.measure:
        print(json.dumps(measure(parsed.measure, overrides)))
        return 0
    end, record, wrong = time.monotonic() + parsed.budget, dict[str, Any](), 0
    if parsed.out and parsed.out.exists():
        record = json.loads(parsed.out.read_text())
    for name in (x for x in CASES if parsed.cases in x):
        if name in record and "error" not in record[name]:
            continue
        left = end - time.monotonic()
        row: dict[str, Any] = {"error": "no time left"}
        if left > 10:
            row = ask(name, left, overrides)
        record[name], wrong = row, wrong + ("error" in row)
        said = row.get("error") or (
            f"{statistics.median(row['milliseconds']):.2f} ms a step,"
            f" {row.get('predicted', {}).get('milliseconds', 0):.2f} predicted,"
            f" {row['images_per_second']:,.0f} images/s,"
            f" compiled in {row['seconds_compile']:.0f} s {row.get('trace', '')}"
        )
        print(f"{name:45} {said}", flush=True)
        if parsed.out:
            own_process.keep(parsed.out, record)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
