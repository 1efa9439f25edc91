"""Tables and numbers as text."""

import math
from collections.abc import Iterable, Sequence


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Returns a Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def number(value: float, digits: int = 4, infinite: str = "infinite") -> str:
    """Returns a number with some digits; a dash where there is none.

    `infinite` is the word for one that has no bounds.
    """
    if math.isnan(value):
        return "-"
    if math.isinf(value):
        return infinite
    if abs(value) >= 10**digits:
        return f"{value:.0f}"
    return f"{value:.{digits}g}"


def p_value(p: float) -> str:
    """Returns a p value in three digits at most."""
    return "< 0.0001" if p < 0.0001 else f"{p:.2g}"
