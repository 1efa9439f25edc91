"""By-products of a run: pictures of its curves and TensorBoard events.

A by-product that cannot be written is warned of once and never ends or holds up a run.
"""

import contextlib
import logging
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lion_jax import cluster
from lion_jax.plots import COLORS, save
from lion_jax.training.history import Epoch
from lion_jax.training.history import best as best_of
from lion_jax.training.run_folder import CURVES

_log = logging.getLogger(__name__)


@contextlib.contextmanager
def optional(name: str) -> Iterator[None]:
    """Warns of whatever goes wrong in the block, and continues after it."""
    try:
        yield
    except Exception as error:  # whatever a library raises
        _log.warning(
            "%s cannot be written (%s: %s); training continues without it.",
            name,
            type(error).__name__,
            error,
        )


class Events:
    """TensorBoard events of a run, written at once and in this thread.

    tensorboardX's own writer hands them to a thread and blocks for ever once that
    thread has met an error.
    """

    def __init__(self, folder: Path, resume_at: int) -> None:
        """Begins a file that replaces older ones from a step on."""
        self._writer: Any = None
        if not cluster.is_primary():
            return
        with optional("TensorBoard's event file"):
            # Imported here: no other path needs it, and it takes most of a second.
            from tensorboardX.event_file_writer import EventsWriter
            from tensorboardX.proto import event_pb2

            events: Any = event_pb2
            self._event = events.Event
            start = events.SessionLog(status=events.SessionLog.START)
            writer = EventsWriter(str(folder / "events"))
            writer.write_event(self._event(step=resume_at, session_log=start))
            self._writer = writer

    def add(self, record: Epoch) -> None:
        """Writes the numbers of an epoch's record."""
        if self._writer is None:
            return
        written = False
        with optional("TensorBoard's event file"):
            self._write(self._writer, record)
            written = True
        if not written:
            self._abandon()

    def _write(self, writer: Any, record: Epoch) -> None:
        from tensorboardX.summary import scalar

        for name, value in record.to_dict().items():
            if name not in ("epoch", "step") and value is not None:
                writer.write_event(
                    self._event(
                        wall_time=time.time(),
                        step=record.step,
                        summary=scalar(name, value),
                    )
                )
        writer.flush()

    def close(self) -> None:
        """Closes the file."""
        if self._writer is not None:
            with optional("TensorBoard's event file"):
                self._writer.close()

    def _abandon(self) -> None:
        writer, self._writer = self._writer, None
        with contextlib.suppress(Exception):
            writer.close()


def plot(folder: Path, history: list[Epoch], title: str) -> Path:
    """Draws loss and accuracy over the epochs; returns the path of curves.png.

    curves.svg lies beside it. The epoch of the lowest validation loss is marked.
    """
    # Imported here, since no other path needs it; not pyplot, which would choose a
    # screen, or take the one of somebody's notebook.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    axes = figure.subplots(1, 2)
    epochs = [record.epoch for record in history]
    styles = {"train": (COLORS[0], "--", "o"), "val": (COLORS[1], "-", "s")}
    best = best_of(history)
    for axis, measure in zip(axes, ("loss", "accuracy"), strict=True):
        unit, scale = ("", 1.0) if measure == "loss" else (", %", 100.0)
        for part, (color, line, marker) in styles.items():
            values = [getattr(record, f"{part}_{measure}") for record in history]
            values = [math.nan if value is None else scale * value for value in values]
            label = {"train": "training", "val": "validation"}[part]
            axis.plot(
                epochs, values, color=color, ls=line, marker=marker, ms=4, label=label
            )
        if best:
            label = f"best: epoch {best.epoch}"
            axis.axvline(best.epoch, color="0.5", ls=":", label=label)
        axis.set(xlabel="epoch", ylabel=measure + unit)
        axis.spines[["top", "right"]].set_visible(False)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
        axis.legend()
    figure.suptitle(title)
    return save(figure, (folder / CURVES).with_suffix(""))[0]
