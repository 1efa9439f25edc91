"""What a compiled program is made of, and what is wrong with it, as JSON."""

from collections import Counter, defaultdict
from typing import Any

from gpu_kernels import Gpu, Kernel, kernels
from hlo import Module, Shape, parse

SHARE_OF_MEMORY = 0.9  # cuDNN's workspaces are not in the program
MAY_GROW = 1.03  # kernels and bytes, beside what is committed
FLOAT32_SHARE = 0.01  # of a bfloat16 program's FLOPs: the head's
MEBI = 2**20  # values: a smaller array in float32 is no activation's
# Of the bytes moved: XLA keeps the gradients of some small maps in float32.
WIDE_SHARE = 0.02


def report(compiled: Any, gpu: Gpu, devices: int, **expected: Any) -> dict[str, Any]:
    """Returns the figures of a program, and under `faults` what a fence found.

    Args:
      compiled: A `jax.stages.Compiled`.
      gpu: For which.
      devices: How many of them.
      **expected: What `faults` takes.
    """
    module = parse(compiled.as_text())
    found = list(kernels(module))
    figures = summary(found, gpu, devices)
    memory = compiled.memory_analysis()
    arguments = memory.argument_size_in_bytes
    outputs = memory.output_size_in_bytes - memory.alias_size_in_bytes
    figures["memory"] = arguments + outputs + memory.temp_size_in_bytes
    wide = wide_bytes(module, found)
    figures["float32_megabytes"] = round(sum(wide.values()) / 1e6, 1)
    figures["faults"] = [
        *faults(module, found, **expected),
        *memory_faults(figures["memory"], gpu),
    ]
    return figures


def summary(found: list[Kernel], gpu: Gpu, devices: int) -> dict[str, Any]:
    """Adds kernels up by kind and by part of the model."""
    number, by_part, collectives = Counter[str](), Counter[str](), Counter[str]()
    moved, flops, seconds = (defaultdict[str, float](float) for _ in range(3))
    for kernel in found:
        time = kernel.seconds(gpu, devices) * kernel.times
        number[kernel.kind] += kernel.times
        for key in (kernel.kind, kernel.part):
            moved[key] += kernel.nbytes * kernel.times
            flops[key] += kernel.flops * kernel.times
            seconds[key] += time
        by_part[kernel.part] += kernel.times
        if kernel.kind == "collective":
            dtypes = "+".join(sorted({x.dtype for x in kernel.results}))
            name = kernel.name.rstrip("0123456789.")
            collectives[f"{name} {dtypes}"] += kernel.nbytes // 2 * kernel.times

    def rows(names: Counter[str]) -> dict[str, Any]:
        return {
            name: {
                "kernels": names[name],
                "megabytes": round(moved[name] / 1e6, 1),
                "gigaflops": round(flops[name] / 1e9, 1),
                "milliseconds": round(1e3 * seconds[name], 3),
            }
            for name in sorted(names)
        }

    kinds = rows(number)
    return {
        "kernels": sum(number.values()),
        "megabytes": round(sum(moved[name] for name in number) / 1e6, 1),
        "gigaflops": round(sum(flops[name] for name in number) / 1e9, 1),
        "milliseconds": round(1e3 * sum(seconds[name] for name in number), 3),
        "kinds": kinds,
        "parts": rows(by_part),
        "collective_bytes": dict(sorted(collectives.items())),
    }


def faults(
    module: Module,
    found: list[Kernel],
    *,
    bfloat16: bool,
    attention: int,
    step_loops: int = 0,
) -> list[str]:
    """Names what must not be in a program.

    Args:
      module: The program.
      found: Its kernels.
      bfloat16: Whether it computes in bfloat16.
      attention: How many calls of cuDNN's attention it should have at least.
      step_loops: Number of loops around a whole training step.
    """
    wrong = [
        f"the host steps a loop: {x.name}"
        for x in module.instructions()
        if x.opcode == "while" and x.trip_count is None
    ]
    # Batch norm's sums are small, and are needed in each part of a batch.
    summed = sum(
        x.nbytes
        for kernel in found
        if kernel.loops > step_loops and kernel.kind == "collective"
        for x in kernel.results
    )
    if summed > sum(x.nbytes for x in _parameters(module)) / 2:
        wrong.append(f"a loop sums {summed / 1e6:.1f} MB over the devices each time")
    calls = sum(kernel.times for kernel in found if kernel.kind == "attention")
    if calls < attention:
        wrong.append(
            f"{calls} calls of cuDNN's attention, but {attention} are expected"
        )
    return wrong + (_of_bfloat16(module, found) if bfloat16 else [])


def _of_bfloat16(module: Module, found: list[Kernel]) -> list[str]:
    """Names sums in bfloat16, and products and activations in float32."""
    wrong = []
    for x in module.instructions():
        called = module.called_by(x)
        adds = any(y.is_root and y.opcode == "add" for y in called.values())
        if x.opcode == "reduce" and adds and x.shapes[0].dtype == "bf16":
            wrong.append(f"a sum in bfloat16: {x.name} ({x.op_name})")
    flops = sum(kernel.flops * kernel.times for kernel in found)
    for kernel in found:
        wide = kernel.dtype in ("f32", "tf32")
        if wide and kernel.flops * kernel.times > FLOAT32_SHARE * flops:
            wrong.append(f"a product in float32: {kernel.name} ({kernel.part})")
    by_part = wide_bytes(module, found)
    total = sum(by_part.values())
    if total > WIDE_SHARE * sum(kernel.nbytes * kernel.times for kernel in found):
        names = ", ".join(sorted(by_part))
        wrong.append(f"{total / 1e6:,.0f} MB of float32 activations: {names}")
    return wrong


def wide_bytes(module: Module, found: list[Kernel]) -> Counter[str]:
    """Returns, by part, the bytes of float32 arrays that are no gradients or sums."""
    parameters = {x.dims for x in _parameters(module)}
    by_part = Counter[str]()
    for kernel in found:
        # Gradients of weights, whatever shape XLA gives them.
        if kernel.kind in ("product", "collective") or kernel.part == "optimizer":
            continue
        for x in kernel.results:
            if x.dtype == "f32" and x.size > MEBI and x.dims not in parameters:
                by_part[kernel.part] += x.nbytes * kernel.times
    return by_part


def _parameters(module: Module) -> list[Shape]:
    """Returns the model's parameters; none in a program without a state."""
    return [
        shape
        for x in module.computations[module.entry].values()
        if x.opcode == "parameter" and "params" in x.op_name
        for shape in x.shapes
    ]


def memory_faults(memory: int, gpu: Gpu) -> list[str]:
    limit = SHARE_OF_MEMORY * gpu.memory
    if memory <= limit:
        return []
    return [f"{memory / 1e9:.1f} GB, but {limit / 1e9:.1f} GB are available"]


def grown(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Names what a program has more of than the figures that are committed."""
    return [
        f"{now[name]:,} {name}, but {before[name]:,} are committed"
        for name in ("kernels", "megabytes")
        if name in before and name in now and now[name] > MAY_GROW * before[name]
    ]
