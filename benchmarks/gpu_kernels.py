"""The kernels of a program that was compiled for a GPU: kind, part, bytes, FLOPs, time.

Times are predictions from a kernel's bytes and FLOPs alone, no measurements: the longer
of the two times at the rates in `Gpu`, at least LAUNCH, one kernel after the other.
"""

import dataclasses
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from hlo import Computation, Instruction, Module, Shape

GPUS = Path(__file__).with_name("gpu")
LAUNCH = 2e-6  # seconds that a kernel takes at least, launched from a command buffer
MEMORY_SHARE, PRODUCT_SHARE, LINK_SHARE = 0.9, 0.75, 0.8  # of the data sheet, reached
# Dense products in TFLOP/s by dtype; GB/s of NVLink in one direction (NVIDIA's data
# sheets of the SXM modules).
PEAKS = {
    "a100": ({"bf16": 312, "tf32": 156, "f32": 19.5}, 300),
    "h100": ({"bf16": 989, "tf32": 495, "f32": 67}, 450),
    "h200": ({"bf16": 989, "tf32": 495, "f32": 67}, 450),
}
FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all"}
FREE |= {"partition-id", "replica-id", "opt-barrier"}
COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all")
COLLECTIVES += ("collective-permute", "collective-broadcast", "ragged-all-to-all")
SLICES = {"gather", "dynamic-slice", "slice"}
SCOPE = re.compile(r"(stem|attention|perceptron|shortcut|optimizer|layer\d+|block\d+)")


@dataclasses.dataclass(frozen=True)
class Gpu:
    """A GPU: its description for XLA, and the rates that predictions assume."""

    name: str
    description: str
    memory: int  # bytes
    bandwidth: float  # bytes per second
    flops: dict[str, float]  # per second, by dtype
    link: float  # bytes per second in one direction


def gpu(name: str) -> Gpu:
    """Reads the description of a GPU in the folder `gpu`."""
    text = (GPUS / f"{name}.txtpb").read_text()

    def number(field):
        match = re.search(rf"{field}: (\d+)", text)
        assert match is not None, field
        return int(match[1])

    peaks, link = PEAKS[name]
    flops = {dtype: PRODUCT_SHARE * peak * 1e12 for dtype, peak in peaks.items()}
    bandwidth = MEMORY_SHARE * number("memory_bandwidth")
    memory = number("device_memory_size")
    return Gpu(name, text, memory, bandwidth, flops, LINK_SHARE * link * 1e9)


@dataclasses.dataclass(frozen=True)
class Kernel:
    """One kernel, or one call into a library, of a step."""

    name: str
    kind: str
    part: str
    nbytes: int
    flops: float
    dtype: str  # of a product's operands, `tf32` if it may be rounded to that
    times: int  # in a step
    loops: int  # around it
    results: tuple[Shape, ...]

    def seconds(self, gpu: Gpu, devices: int) -> float:
        """The predicted time of one run of it."""
        if self.kind == "collective":
            rounds = 2 if self.name.startswith("all-reduce") else 1
            sent = rounds * (devices - 1) / devices * self.nbytes / 2
            return max(sent / gpu.link, 5 * LAUNCH)
        peak = gpu.flops.get(self.dtype, gpu.flops["bf16"])
        return max(self.nbytes / gpu.bandwidth, self.flops / peak, LAUNCH)


def kernels(module: Module) -> Iterator[Kernel]:
    """Yields the kernels of a program, those of loops once with their number."""
    yield from _kernels(module, module.computations[module.entry], 1, 0)


def _kernels(
    module: Module, computation: Computation, times: int, loops: int
) -> Iterator[Kernel]:
    for instruction in computation.values():
        code = instruction.opcode
        if code in FREE or code.endswith(("-done", "-update")):
            continue
        called = module.called_by(instruction)
        if code == "while":
            yield from _kernels(
                module, called, times * (instruction.trip_count or 1), loops + 1
            )
        elif code in ("call", "async-start"):
            yield from _kernels(module, called, times, loops)
        else:
            flops, dtype = _flops(instruction, computation, called)
            yield Kernel(
                instruction.name,
                _kind(instruction, called),
                part_of(instruction.op_name),
                _bytes(instruction, computation, called),
                flops,
                dtype,
                times,
                loops,
                _results(instruction),
            )


def _kind(instruction: Instruction, called: Computation) -> str:
    code, target = instruction.opcode, instruction.target
    inner = {x.opcode for x in called.values()} - FREE - {"reshape"} or {code}
    if code.removesuffix("-start") in COLLECTIVES:
        return "collective"
    if "$conv" in target or "convolution" in inner:
        return "convolution"
    if "fmha" in target:
        return "attention"
    if "gemm" in target or "$lt$matmul" in target or "dot" in inner:
        return "product"
    if code == "custom-call":
        return f"custom call {target}"
    if inner <= {"convert"}:
        return "convert"
    if inner <= {"transpose", "convert", "copy"}:
        return "copy" if inner <= {"copy", "convert"} else "layout change"
    return "reduction" if inner & {"reduce", "reduce-window"} else "elementwise"


def _results(instruction: Instruction) -> tuple[Shape, ...]:
    """What a kernel computes: without a library's workspace."""
    scratch = {"u8", "s8"} if instruction.opcode == "custom-call" else set[str]()
    return tuple(x for x in instruction.shapes if x.dtype not in scratch)


def _bytes(
    instruction: Instruction, computation: Computation, called: Computation
) -> int:
    """What a kernel reads and writes; of arrays that it cuts from, what it cuts out.

    Of a collective, twice the arrays that the devices sum or gather together.
    """
    code = instruction.opcode
    if code.removesuffix("-start") in COLLECTIVES:
        given = sum(
            computation[x].nbytes for x in instruction.operands if x in computation
        )
        if "gather" not in code:
            return 2 * given
        # The results of an asynchronous one begin with its operands.
        return 2 * (instruction.nbytes - (given if code.endswith("-start") else 0))
    total = sum(shape.nbytes for shape in _results(instruction))
    parameters = {x.number: x.name for x in called.values() if x.opcode == "parameter"}
    for place, name in enumerate(instruction.operands):
        if name in instruction.operands[:place] or name not in computation:
            continue
        read = computation[name].nbytes
        inside = parameters.get(place, "")
        users = [x for x in called.values() if inside in x.operands]
        if users and all(x.opcode in SLICES and x.operands[0] == inside for x in users):
            read = min(read, sum(x.nbytes for x in users))
        total += read
    return total


def _flops(
    instruction: Instruction, computation: Computation, called: Computation
) -> tuple[float, str]:
    """A kernel's FLOPs in products, and the dtype of their operands."""
    target = instruction.target
    shapes = [
        computation[x].shapes[0] for x in instruction.operands if x in computation
    ]
    if "fmha" in target:
        # Products of queries and keys, and of weights and values; backward five.
        products = 5 if "Backward" in target else 2
        scores = _listed(instruction, r'"intermediate_tensor_shape".*?"dimensions"')
        return 2.0 * products * math.prod(scores) * shapes[0].dims[-1], shapes[0].dtype
    if "$conv" in target:
        return _of_convolution(instruction, shapes), _rate(shapes[0], instruction)
    if "gemm" in target or "$lt$matmul" in target:
        axes = _listed(instruction, '"lhs_contracting_dimensions"')
        return _of_product(instruction, shapes[0], axes)
    for x in called.values():
        if x.opcode == "dot":
            left = called[x.operands[0]].shapes[0]
            return _of_product(x, left, x.dimensions("lhs_contracting_dims"))
    return 0.0, ""


def _of_product(
    product: Instruction, left: Shape, axes: Sequence[int]
) -> tuple[float, str]:
    depth = math.prod(left.dims[axis] for axis in axes)
    return 2.0 * product.shapes[0].size * depth, _rate(left, product)


def _of_convolution(instruction: Instruction, shapes: list[Shape]) -> float:
    """Counts by the map and the kernel whose sizes a convolution or a gradient has."""
    (result, *_), kind = instruction.shapes, instruction.target
    if "BackwardFilter" in kind:
        pixels, kernel = shapes[1], result
    elif "BackwardInput" in kind:
        pixels, kernel = shapes[0], shapes[1]
    else:
        pixels, kernel = result, shapes[1]
    labels = re.search(r"dim_labels=\w+_(\w+)->", instruction.attributes)
    assert labels is not None, instruction
    return 2.0 * pixels.size * kernel.size / kernel.dims[labels[1].index("o")]


def _rate(shape: Shape, instruction: Instruction) -> str:
    """The row of PEAKS for a product: float32 becomes TF32 unless that is forbidden."""
    exact = "highest" in instruction.attributes.lower()
    return "tf32" if shape.dtype == "f32" and not exact else shape.dtype


def _listed(instruction: Instruction, key: str) -> list[int]:
    """The numbers of a list in an instruction's configuration, which is JSON."""
    found = re.search(key + r": ?\[([^\]]*)\]", instruction.attributes)
    assert found is not None, (key, instruction)
    return [int(n) for n in re.findall(r"\d+", found[1])]


def part_of(op_name: str) -> str:
    """The part of the model that an operation belongs to, such as `layer attention`.

    Layers and blocks are not told apart; the backward pass is.
    """
    names = []
    for segment in op_name.split("/"):
        inner = re.sub(r"^(?:\w+\()+|\)+$", "", segment)
        if SCOPE.fullmatch(inner):
            names.append(inner)
    if names and re.fullmatch(r"(layer|block)\d+", names[0]):
        names[0] = names[0].rstrip("0123456789")
    backward = " backward" if "transpose(" in op_name else ""
    return (" ".join(names[:2]) or "rest") + backward
