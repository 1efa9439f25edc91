"""A compiled program's text (XLA's HLO) as instructions."""

import dataclasses
import math
import re
from collections.abc import Iterator, Mapping

BYTES = {"pred": 1, "s4": 0.5, "u4": 0.5, "bf16": 2, "c64": 8, "c128": 16}
SHAPE = re.compile(r"\b([a-z]\w*)\[([\d,]*)\]")
HEAD = re.compile(r"^(ENTRY )?%(\S+) \(.*\{$")
INSTRUCTION = re.compile(r"^ +(?:ROOT )?%(\S+) = (.*)$")
CODE = re.compile(r" ([a-z][a-z0-9-]*)\(")


@dataclasses.dataclass(frozen=True)
class Shape:
    """Dtype and dimensions of an array."""

    dtype: str
    dims: tuple[int, ...]

    @property
    def size(self) -> int:
        return math.prod(self.dims)

    @property
    def nbytes(self) -> int:
        digits = re.search(r"\d+", self.dtype)
        width = BYTES.get(self.dtype) or int(digits[0] if digits else 0) / 8
        return math.ceil(self.size * width)


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One operation of a computation."""

    name: str
    opcode: str
    shapes: tuple[Shape, ...]  # of its results
    operands: tuple[str, ...]  # names
    number: int  # of a parameter
    attributes: str  # the rest of the line
    is_root: bool

    @property
    def nbytes(self) -> int:
        return sum(shape.nbytes for shape in self.shapes)

    @property
    def op_name(self) -> str:
        """The path of JAX's scopes and primitive from which it came; may be empty."""
        return self._attribute(r'op_name="([^"]*)"')

    @property
    def target(self) -> str:
        """What a custom call calls."""
        return self._attribute(r'custom_call_target="([^"]*)"')

    @property
    def called(self) -> str:
        """The computation that a fusion, a loop, a reduction or a call runs."""
        return self._attribute(r"(?:calls|body|to_apply)=%([^,\s}]+)")

    @property
    def trip_count(self) -> int | None:
        """How often a loop runs; None if that is not known beforehand."""
        count = self._attribute(r'"known_trip_count":\{"n":"(\d+)"')
        return int(count) if count else None

    def dimensions(self, name: str) -> tuple[int, ...]:
        """The numbers of an attribute such as `lhs_contracting_dims={0,1}`."""
        return tuple(
            map(int, re.findall(r"\d+", self._attribute(name + r"=\{([^}]*)")))
        )

    def _attribute(self, pattern: str) -> str:
        match = re.search(pattern, self.attributes)
        return match[1] if match else ""


Computation = Mapping[str, Instruction]


@dataclasses.dataclass(frozen=True)
class Module:
    """A program: its computations, one of which is its entry."""

    computations: Mapping[str, Computation]
    entry: str

    def called_by(self, instruction: Instruction) -> Computation:
        """The computation that an instruction runs; empty if it runs none."""
        return self.computations.get(instruction.called, {})

    def instructions(self) -> Iterator[Instruction]:
        """All instructions of all computations."""
        for computation in self.computations.values():
            yield from computation.values()


def parse(text: str) -> Module:
    """Reads what `Compiled.as_text` returns."""
    computations: dict[str, dict[str, Instruction]] = {}
    entry, current = "", {}
    for line in text.splitlines():
        if head := HEAD.match(line):
            current = computations.setdefault(head[2], {})
            entry = head[2] if head[1] else entry
        elif match := INSTRUCTION.match(line):
            current[match[1]] = _instruction(match[1], match[2], "ROOT %" in line[:9])
    return Module(computations, entry)


def _instruction(name: str, text: str, is_root: bool) -> Instruction:
    end = _closing(text) + 1 if text.startswith("(") else text.index(" ")
    result, rest = text[:end], text[end:]
    code = CODE.match(rest)
    assert code is not None, text
    rest = rest[code.end() - 1 :]
    close = _closing(rest)
    return Instruction(
        name,
        code[1],
        tuple(shapes_in(result)),
        tuple(re.findall(r"%([^\s,()]+)", rest[:close])),
        int(rest[1:close]) if code[1] == "parameter" else 0,
        rest[close + 1 :],
        is_root,
    )


def shapes_in(text: str) -> list[Shape]:
    """The arrays that a type such as `(f32[2,3]{1,0}, s32[])` names."""
    return [
        Shape(dtype, tuple(int(n) for n in dims.split(",") if n))
        for dtype, dims in SHAPE.findall(text)
    ]


def _closing(text: str) -> int:
    """The place of the bracket that closes the one at the beginning."""
    depth = 0
    for place, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if not depth:
            return place
    raise ValueError(f"no closing bracket in {text[:80]!r}")
