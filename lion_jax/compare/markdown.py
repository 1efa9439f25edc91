"""Tables and numbers as text."""

import math
import re
from collections.abc import Iterable, Sequence


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Returns a Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(map(cell, line)) + " |" for line in lines)


def cell(value: object) -> str:
    """Returns a value as a table's cell, which neither a bar nor a line end ends."""
    return " ".join(str(value).replace("|", "\\|").split())


def items(lines: Iterable[str]) -> str:
    """Returns a list with bullets."""
    return "\n".join(f"- {line}" for line in lines)


def fixed(value: float, decimals: int, infinite: str = "infinite") -> str:
    """Returns a number with fixed decimals; a dash where there is none.

    `infinite` is the word for one that has no bounds; the usual one has a sign.
    """
    if math.isnan(value):
        return "-"
    if math.isinf(value):
        return "-infinite" if infinite == "infinite" and value < 0 else infinite
    return f"{value:z.{decimals}f}"  # z: no -0.00


def digits(values: Iterable[float], decimals: int) -> int:
    """Returns decimals, no fewer than given, that show no small number as zero.

    Numbers below what four more decimals show count as rounding errors of zero.
    """
    least = 10.0 ** -(decimals + 4)
    small = [abs(x) for x in values if math.isfinite(x) and abs(x) >= least]
    while any(float(f"{value:.{decimals}f}") == 0 for value in small):
        decimals += 1
    return decimals


def escaped(value: object) -> str:
    """Returns a value's text so that none of it is markup, but for what `literal` is.

    It may hold anything: patterns with asterisks, paths, what somebody typed.
    """
    return re.sub(r"([\\`*\[\]<>&~])", r"\\\1", str(value))


def literal(text: str) -> str:
    """Returns Markdown in which no underscore is markup: they are parts of names.

    Those within a word, or in code, are taken as they are anyway.
    """
    parts = re.split("(`[^`\n]*`)", text)
    parts[::2] = (
        re.sub(r"(?<!\w)_+|_+(?!\w)", lambda found: r"\_" * len(found[0]), part)
        for part in parts[::2]
    )
    return "".join(parts)


def bracket(low: float, high: float, decimals: int, infinite: str = "infinite") -> str:
    """Returns two numbers in brackets; a dash where there are none."""
    if math.isnan(low) or math.isnan(high):
        return "-"
    texts = (fixed(value, decimals, infinite) for value in (low, high))
    return f"[{', '.join(texts)}]"


def spans(numbers: list[int]) -> str:
    """Returns whole numbers in short: `0-7, 9`."""
    found: list[list[int]] = []
    for number in sorted(set(numbers)):
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in found)


def seeds(numbers: list[int]) -> str:
    """Returns `seed 3`, `seeds 0-7, 9`."""
    return f"seed{'s' * (len({*numbers}) != 1)} {spans(numbers)}"


def counted(n: int, what: str) -> str:
    """Returns `1 pair`, `2 pairs`."""
    return f"{n} {what}{'s' * (n != 1)}"


def p_value(p: float) -> str:
    """Returns a p value in two digits, zeros included."""
    return "< 0.0001" if p < 0.0001 else f"{p:#.2g}"


def p_equals(p: float) -> str:
    """Returns `p = 0.012`, or `p < 0.0001`."""
    text = p_value(p)
    return f"p {text}" if text.startswith("<") else f"p = {text}"
