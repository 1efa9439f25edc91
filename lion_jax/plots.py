"""How plots are written: whole, as PNG to look at and as SVG to print."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lion_jax.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Of Okabe and Ito, whom the colour-blind can read: blue, vermilion, green, purple, ...
COLORS = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#E69F00"
# The same figure makes the same files: no dates, and ids that are not random.
FORMATS: dict[str, dict[str, Any]] = {
    "png": {"dpi": 120},
    "svg": {"metadata": {"Date": None}},
}


def save(figure: Figure, path: Path) -> list[Path]:
    """Writes a figure in each format; returns the files, the PNG first.

    `path` has no ending. A file is replaced whole, or not at all.
    """
    import matplotlib  # here, since most commands draw nothing

    written = []
    for kind, options in FORMATS.items():
        # Not with_suffix: a name may hold dots.
        file = path.parent / f"{path.name}.{kind}"
        with (
            matplotlib.rc_context({"svg.hashsalt": path.name}),
            replacing(file) as temporary,
        ):
            figure.savefig(temporary, format=kind, **options)
        written.append(file)
    return written
