"""Evaluation alone: the held-out splits on the devices and one compiled step."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, PyTree

from lion_jax import cluster
from lion_jax.config import Config
from lion_jax.training import lowering, sharding
from lion_jax.training.state import Evaluated, Examples, Model, TrainState
from lion_jax.training.step import init_model, init_state
from lion_jax.training.streaming import Batches, Stream
from lion_jax.training.task import Splits, Task

AHEAD = 8  # batches between two checks for an interruption


def abstract_state(config: Config, task: Task, mesh: Mesh) -> TrainState:
    """Returns shapes, dtypes and shardings of the training state."""
    shapes = jax.eval_shape(lambda: init_state(task, jax.random.key(0)))
    layout = sharding.Layout.of(config, mesh)
    optimizer = _placed(shapes.opt_state, layout.of_optimizer)
    return _placed(shapes, layout.of_model)._replace(opt_state=optimizer)


def abstract_model(
    config: Config, make_model: Callable[[nnx.Rngs], nnx.Module], mesh: Mesh
) -> Model:
    """Returns shapes, dtypes and shardings of the model alone."""
    shapes = jax.eval_shape(lambda: init_model(make_model, jax.random.key(0)))
    return _placed(shapes, sharding.Layout.of(config, mesh).of_model)


def _placed(shapes: Any, place: Callable[[Any], Any]) -> Any:
    return jax.tree.map(
        lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s),
        shapes,
        place(shapes),
    )


class Evaluation:
    """Loss and accuracy of a model on the validation and the test split."""

    def __init__(self, config: Config, task: Task, splits: Splits, mesh: Mesh) -> None:
        """Puts the held-out splits on the devices, or on the way; compiles the step.

        Args:
          config: Sharding and compiler options.
          task: From `make_task`.
          splits: From `split`.
          mesh: The devices.
        """
        whole = sharding.replicated(mesh)
        # Of the state, only the model is used here.
        self.abstract = abstract_state(config, task, mesh)
        held_out = {"validation": splits.validation, "test": splits.test}
        self._counts = {name: len(part.labels) for name, part in held_out.items()}
        self._batch_size = task.eval_batch_size
        # One program for both splits.
        counts = {name: np.int32(count) for name, count in self._counts.items()}
        self._numbers = sharding.put(counts, whole)
        self._streams: dict[str, Stream] = {}
        if task.streamed:
            self._streams = {
                name: Stream(examples, self._batch_size, sharding.batch(mesh))
                for name, examples in held_out.items()
            }
            self._placed = {name: x.abstract() for name, x in self._streams.items()}
        else:
            length = max(self._counts.values())  # the shorter split is padded
            padded = {
                name: Examples(*(_pad(a, length) for a in examples))
                for name, examples in held_out.items()
            }
            self._placed = sharding.put(padded, whole)
        self._zeros = lowering.sums(task, mesh)
        self._step = self._compile(lowering.evaluation(config, task, mesh))

    def evaluate(
        self,
        params: PyTree[Array],
        batch_stats: PyTree[Array],
        name: str,
        interrupted: Callable[[], int] = lambda: 0,
    ) -> Evaluated:
        """Evaluates a model on a split.

        Args:
          params: The model's parameters.
          batch_stats: Its batch-norm statistics.
          name: `validation` or `test`.
          interrupted: Ends the evaluation early once it returns a true value.

        Returns:
          Sums over the split's examples, each of which counts once.
        """
        sums, examples = self._zeros(), self._examples(name)
        for batch in range(-(-self._counts[name] // self._batch_size)):
            if batch % AHEAD == 0:
                sums.top5.block_until_ready()
                cluster.progress()
                if interrupted():
                    break
            number = self._numbers[name]
            sums = self._step(params, batch_stats, examples(), number, sums)
        return sums

    def _examples(self, name: str) -> Callable[[], Examples]:
        """Returns what gives the split, or the window with its next batch."""
        if name not in self._streams:
            return lambda: self._placed[name]
        size, count = self._batch_size, self._counts[name]
        rows = np.arange(-(-count // size) * size)
        batches = Batches(self._streams[name], np.minimum(rows, count - 1), size)
        return lambda: batches.take(1)

    def _compile(self, jitted: Any) -> Callable[..., Evaluated]:
        model = self.abstract.params, self.abstract.batch_stats
        inputs = self._placed["test"], self._numbers["test"], self._zeros()
        return jitted.lower(*model, *inputs).compile()


def _pad(array: Any, length: int) -> np.ndarray:
    missing = length - len(array)
    return np.pad(array, [(0, missing)] + [(0, 0)] * (array.ndim - 1))
