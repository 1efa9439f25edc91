"""Draws the measured steps of a GPU under its roofline, beside what was predicted.

    python benchmarks/roofline.py [results/gpu/speed.json]

writes roofline.png and roofline.svg beside the records. Each part of a network that
computes products is a small mark: its FLOPs per byte moved, counted from the compiled
program, and its predicted rate. A whole step is an empty mark as predicted and a full
one as measured, at the same FLOPs per byte. The lines are the data sheet's rates; the
predictions assume the shares of them that `gpu_kernels.py` states.
"""

import json
import statistics
import sys
from pathlib import Path
from typing import Any

import numpy as np
from gpu_kernels import MEMORY_SHARE, PRODUCT_SHARE, gpu
from matplotlib.figure import Figure

from lion_jax.compare import drawing
from lion_jax.plots import save

RECORDS = Path(__file__).parents[1] / "results" / "gpu" / "speed.json"
Figures = dict[str, Any]


def point(figures: Figures, milliseconds: float) -> tuple[float, float]:
    """Returns FLOPs per byte, and TFLOP/s if all took that long."""
    per_byte = figures["gigaflops"] * 1e3 / figures["megabytes"]
    return per_byte, figures["gigaflops"] / milliseconds


def draw(records: dict[str, Figures]) -> Figure:
    """Returns the picture of records of `gpu_speed.py`."""
    h100 = gpu("h100")
    bandwidth = h100.bandwidth / MEMORY_SHARE
    peak = h100.flops["bf16"] / PRODUCT_SHARE / 1e12
    figure, ((axis,),) = drawing.axes(1, 1, size=(7.5, 5.0))
    intensity = np.geomspace(8, 3e3, 200)
    roof = np.minimum(intensity * bandwidth / 1e12, peak)
    axis.plot(intensity, roof, color="black", label="data sheet")
    for number, (name, record) in enumerate(records.items()):
        predicted = record["predicted"]
        parts = [
            point(part, part["milliseconds"])
            for part in predicted["parts"].values()
            if part["gigaflops"] > 0.001 * predicted["gigaflops"]
        ]
        style = drawing.style(number, line=False) | {"ls": "none"}
        title = name.partition(",")[0]
        axis.plot(*zip(*parts, strict=True), **style, ms=4, alpha=0.6)
        whole = point(predicted, predicted["milliseconds"])
        label = f"{title}, predicted: {predicted['milliseconds']:.1f} ms"
        axis.plot(*whole, **style, ms=11, mfc="none", mew=2, label=label)
        measured = statistics.median(record["milliseconds"])
        label = f"{title}, measured: {measured:.1f} ms"
        axis.plot(*point(predicted, measured), **style, ms=11, label=label)
    axis.set(xscale="log", yscale="log", ylim=(10, 1.5 * peak))
    axis.set(xlabel="FLOP per byte moved", ylabel="TFLOP/s")
    axis.set_title(
        "Training steps on one H100: 256 images of 224 pixels, bfloat16, Lion\n"
        "(small: a network's parts, predicted)",
        fontsize=10,
    )
    axis.grid(alpha=0.3, which="both")
    axis.legend(loc="lower right")
    return figure


def main(argv: list[str]) -> None:
    path = Path(argv[0]) if argv else RECORDS
    for file in save(draw(json.loads(path.read_text())), path.parent / "roofline"):
        print(file)


if __name__ == "__main__":
    main(sys.argv[1:])
