"""How plots are written: whole, as PNG to look at and as SVG to print."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lion_jax.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Of Okabe and Ito, whom the colour-blind can read: blue, vermilion, green, purple, ...
COLORS = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#E69F00"
# The same figure makes the same files: no dates, and ids that are not random.
USUAL = "DejaVu Sans"  # which comes with Matplotlib
FORMATS: dict[str, dict[str, Any]] = {
    "png": {"dpi": 120},
    "svg": {"metadata": {"Date": None}},
}


def save(figure: Figure, path: Path) -> list[Path]:
    """Writes a figure in each format; returns the files, the PNG first.

    `path` has no ending. A file is replaced whole, or not at all. Texts are taken as
    they are, dollars too, in fonts that have their characters; it is warned of those
    that no font has.
    """
    import matplotlib  # here, since most commands draw nothing
    from matplotlib.text import Text

    # Not those of scales, which are formulas and come later.
    texts = [text for text in figure.findobj(Text) if text.get_text()]
    families, missing = _fonts("".join(text.get_text() for text in texts))
    for text in texts:
        text.set(parse_math=False, fontfamily=families)
    if missing:
        warnings.warn(f"{path.name}.png: {without_font(missing)}.", stacklevel=2)
    written = []
    for kind, options in FORMATS.items():
        # Not with_suffix: a name may hold dots.
        file = path.parent / f"{path.name}.{kind}"
        with (
            matplotlib.rc_context({"svg.hashsalt": path.name}),
            warnings.catch_warnings(),
            replacing(file, shared=True) as temporary,
        ):
            if missing:  # said above, once
                warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)
            figure.savefig(temporary, format=kind, **options)
        written.append(file)
    return written


def drawable(names: Iterable[str]) -> tuple[list[str], str]:
    """Returns names as they can be drawn, and what is to be said of them, if anything.

    A name with characters that no installed font has is its number, from 0.
    """
    shown = [name.encode("utf-8", "replace").decode() for name in names]
    _, missing = _fonts("".join(shown))
    if not missing:
        return shown, ""
    numbered = [
        str(number) if missing & {*name} else name for number, name in enumerate(shown)
    ]
    return numbered, without_font(missing)


def without_font(missing: Iterable[str]) -> str:
    """Says which characters no font has, and what to do."""
    some = ", ".join(f"U+{ord(x):04X}" for x in sorted(missing)[:3])
    return f"no installed font has {some}; install one, such as Noto Sans CJK"


def _fonts(text: str) -> tuple[list[str], set[str]]:
    """Returns families of fonts for a text, the usual one first, and what none has."""
    from matplotlib import font_manager

    usual = font_manager.FontProperties(family=USUAL)
    families, missing = [USUAL], {*text} - {"\n"}
    missing -= _characters(font_manager.findfont(usual))
    known = {entry.fname: entry.name for entry in font_manager.fontManager.ttflist}
    # Matplotlib's own list is of the fonts that there were when it was made.
    for path in sorted(font_manager.findSystemFonts()) if missing else ():
        found = missing & _characters(path)
        if found and path not in known:
            font_manager.fontManager.addfont(path)
            known[path] = font_manager.fontManager.ttflist[-1].name
        # Not a bold face, whose family's usual one may lack them.
        if found and font_manager.findfont(known[path]) == path:
            families.append(known[path])
            missing -= found
    return families, missing


@functools.cache  # a run draws its curves after every epoch
def _characters(font: str) -> set[str]:
    """Returns the characters that a font has; none if it cannot be read."""
    from matplotlib import ft2font

    try:
        return {chr(code) for code in ft2font.FT2Font(font).get_charmap()}
    except (OSError, RuntimeError):
        return set()
