"""A configuration made runnable: data on the devices, compiled functions."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, Key, PyTree, UInt

from lion_jax.config import Config
from lion_jax.training import lowering, sharding
from lion_jax.training.evaluation import Evaluation
from lion_jax.training.optimizers import make_schedule
from lion_jax.training.state import NEVER, Metrics, Model, TrainState
from lion_jax.training.step import begin, epoch_order
from lion_jax.training.streaming import Batches, Stream
from lion_jax.training.task import Splits, Task, total_steps


class EpochInputs(NamedTuple):
    """What the steps of one epoch read; all of it on the devices, or sent there."""

    order: Int[Array, " n"]  # of the training examples, or of those sent
    key: Key[Array, ""]  # the seed's, of augmentation
    zeros: Metrics  # the epoch's sums before its first step
    batches: Batches | None  # of a training split that is streamed


class Program:
    """What a run calls: the compiled steps over data on the devices, or sent there.

    Nothing here depends on the seed, which is an argument of the methods that need it,
    so all seeds of a configuration share one program.
    """

    def __init__(self, config: Config, task: Task, splits: Splits, mesh: Mesh) -> None:
        """Puts the splits on the devices, or on the way, and compiles the two steps.

        Args:
          config: Sharding, steps per dispatch, compiler options.
          task: From `make_task`.
          splits: From `split`.
          mesh: The devices.
        """
        self._whole = sharding.replicated(mesh)
        n = len(splits.train.labels)
        self.signature = task.signature
        self.batch_size = config.batch_size
        self.steps_per_epoch = n // config.batch_size
        # An epoch's steps at most.
        self.scan_steps = min(config.scan_steps, self.steps_per_epoch)
        self._schedule = make_schedule(config.optimizer, total_steps(config, n))
        self.voters = mesh.size if task.layout.vote else 0
        self.evaluation = Evaluation(config, task, splits, mesh)
        self.evaluate = self.evaluation.evaluate
        self.abstract = self.evaluation.abstract
        self._keys = jax.jit(_keys_of, out_shardings=self._whole)
        self._init = lowering.init(task, self.abstract)
        shardings = lowering.shardings(self.abstract)
        self._begin = jax.jit(partial(begin, task), out_shardings=shardings)
        self._order = jax.jit(partial(epoch_order, n=n), out_shardings=self._whole)
        self._zeros = jax.jit(Metrics.zeros, out_shardings=self._whole)
        self._finite = jax.jit(_all_finite, out_shardings=self._whole)
        self._stream = None
        if task.streamed:
            rows = self.scan_steps * config.batch_size
            self._stream = Stream(splits.train, rows, sharding.batch(mesh))
            self._train = self._stream.abstract()
            self._positions = sharding.put(np.arange(n, dtype=np.int32), self._whole)
        else:
            self._train = sharding.put(splits.train, self._whole)
        self._lower = partial(
            lowering.training, config, task, self.abstract, self._train, n, mesh
        )
        self.compiled = self._lower(self.scan_steps).compile()
        self._single = self.compiled if self.scan_steps == 1 else None
        if self.steps_per_epoch % self.scan_steps:
            self._single_step()

    def init(self, seed: int) -> TrainState:
        """Returns the seed's state before the first step."""
        return self._init(self._keys(np.uint32(seed))[0])

    def begin_with(self, model: Model) -> TrainState:
        """Returns the state before the first step with other weights.

        The optimizer begins with them too: some keep a copy of the first weights.
        """
        return self._begin(model)

    def start_epoch(self, seed: int, epoch: int, done: int = 0) -> EpochInputs:
        """Returns what the steps of an epoch read.

        Args:
          seed: The run's.
          epoch: The epoch's number, from 0.
          done: Steps of it that were taken before.
        """
        _, order_key, augment_key = self._keys(np.uint32(seed))
        order, batches = self._order(order_key, np.int32(epoch)), None
        if self._stream:
            rows, order = np.asarray(order), self._positions
            sizes = self.batch_size, self.scan_steps
            batches = Batches(self._stream, rows, *sizes, done)
        return EpochInputs(order, augment_key, self._zeros(), batches)

    def train_step(
        self, state: TrainState, inputs: EpochInputs, steps: int = 1
    ) -> tuple[TrainState, Float[Array, ""]]:
        """Takes some steps: `scan_steps` of them in one dispatch, fewer one by one.

        Moves nothing between host and devices, but for a window that is streamed.

        Args:
          state: The state before, which is consumed.
          inputs: From `start_epoch`.
          steps: How many, at most `scan_steps`.

        Returns:
          The state after, and the last step's loss.
        """
        if not 1 <= steps <= self.scan_steps:
            raise ValueError(f"{steps=}, but it must be 1 to {self.scan_steps}.")
        examples = inputs.batches.take(steps) if inputs.batches else self._train
        rest = examples, inputs.order, inputs.key
        if steps == self.scan_steps:
            return self.compiled(state, *rest)
        single = self._single_step()
        for _ in range(steps - 1):
            state, _ = single(state, *rest)
        return single(state, *rest)

    def learning_rate(self, step: int) -> float:
        """Returns the learning rate of a step, counted from 0."""
        return float(jnp.asarray(self._schedule(jnp.int32(step))))

    def all_finite(self, state: TrainState) -> bool:
        """Returns whether parameters and batch-norm statistics are finite."""
        return bool(self._finite(state.params, state.batch_stats))

    def is_finite(self, state: TrainState) -> bool:
        """Returns whether these, and the epoch's losses so far, are finite."""
        losses = int(state.metrics.first_bad_step) == NEVER
        return losses and self.all_finite(state)

    def memory(self) -> dict[str, int]:
        """Returns bytes that one device holds, by what holds them."""
        trees = {
            "parameters": self.abstract.params,
            "optimizer_state": self.abstract.opt_state,
        }
        sizes = {
            name: sum(sharding.bytes_of_a_part(x) for x in jax.tree.leaves(tree))
            for name, tree in trees.items()
        }
        if analysis := self.compiled.memory_analysis():
            parts = analysis.argument_size_in_bytes, analysis.output_size_in_bytes
            sizes["step"] = (
                sum(parts) + analysis.temp_size_in_bytes - analysis.alias_size_in_bytes
            )
        return sizes

    def _single_step(self) -> jax.stages.Compiled:
        """Returns the program of one step: of those that a whole dispatch leaves."""
        if self._single is None:
            with jax.transfer_guard("allow"):
                self._single = self._lower().compile()
        return self._single


def _keys_of(seed: UInt[Array, ""]) -> Key[Array, " 3"]:
    """Returns a seed's keys: of weights, of the epochs' orders, of augmentation."""
    return jax.random.split(jax.random.key(seed), 3)


def _all_finite(*trees: PyTree[Array]) -> Array:
    leaves = [jnp.isfinite(x).all() for x in jax.tree.leaves(trees)]
    return jnp.stack(leaves).all()
