"""What a test says of each class: accuracies, the confusion matrix and its picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lion_jax.plots import drawable, save
from lion_jax.training.run_folder import CONFUSION
from lion_jax.training.state import Evaluated

LISTED = 100  # classes at most of which result.json holds the matrix
DRAWN = 50  # and confusion.png shows it
NUMBERED = 20  # and has its numbers in it


def figures(sums: Evaluated, class_names: Sequence[str]) -> dict[str, Any]:
    """Returns those fields of a `Result` that are about classes.

    A class without test images has no accuracy; for five classes or fewer there is no
    top-5 accuracy, which would be 1.
    """
    fields: dict[str, Any] = {}
    if len(class_names) > 5:
        top5 = int(sums.top5) / int(sums.metrics.examples)
        fields["test_top5_accuracy"] = top5
    matrix = np.asarray(sums.confusion)
    if matrix.size:
        counts = matrix.sum(axis=1)
        fields["test_class_accuracy"] = {
            name: int(hits) / int(count) if count else None
            for name, hits, count in zip(
                class_names, matrix.diagonal(), counts, strict=True
            )
        }
    if 0 < len(matrix) <= LISTED:
        fields["test_confusion"] = matrix.tolist()
    return fields


def worst(accuracies: dict[str, float | None]) -> tuple[str, float] | None:
    """Returns the class of the lowest accuracy with it; None if none has any."""
    known = [(name, value) for name, value in accuracies.items() if value is not None]
    return min(known, key=lambda item: item[1]) if known else None


def plot(
    folder: Path, matrix: Sequence[Sequence[int]] | None, class_names: Sequence[str]
) -> None:
    """Draws a confusion matrix of few classes into confusion.png and confusion.svg.

    Rows are the true classes, columns the predicted ones; a colour is a share of its
    row, and the numbers are examples.
    """
    if not matrix or len(matrix) > DRAWN:
        return
    # Imported here, since no other path needs it; not pyplot, which would choose a
    # screen, or take the one of somebody's notebook.
    from matplotlib.figure import Figure

    counts = np.asarray(matrix)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = max(4.0, 1.8 + 0.42 * min(len(counts), NUMBERED))
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axis = figure.subplots()
    picture = axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(picture, ax=axis, label="share of the true class", shrink=0.8)
    ticks = range(len(counts))
    size = 8 if len(counts) <= NUMBERED else 5
    names, said = drawable(class_names)
    axis.set_xticks(ticks, names, rotation=90, fontsize=size)
    axis.set_yticks(ticks, names, fontsize=size)
    axis.set(xlabel="predicted", ylabel="true")
    if said:
        figure.supxlabel(f"A number stands for a name:\n{said}.", fontsize=7)
    if len(counts) <= NUMBERED:
        for (i, j), count in np.ndenumerate(counts):
            if count:
                color = "white" if shares[i, j] > 0.5 else "black"
                axis.text(
                    j,
                    i,
                    str(count),
                    ha="center",
                    va="center",
                    color=color,
                    fontsize=size,
                )
    axis.set_title(f"Test set, {counts.sum():,} images, best state", fontsize=10)
    save(figure, (folder / CONFUSION).with_suffix(""))
