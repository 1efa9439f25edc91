"""What a run computes with: examples, sums over batches, the training state."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int, PyTree, UInt8

CONFUSED = 1000  # classes at most of which a confusion matrix is counted
NEVER = jnp.iinfo(jnp.int32).max


class Examples(NamedTuple):
    """A split of a data set, or part of one, on the host or on the devices."""

    images: UInt8[Array | np.ndarray, "n h w c"]  # of a streamed split: `data.Rows`
    labels: Int[Array | np.ndarray, " n"]


class Metrics(NamedTuple):
    """Sums over the batches seen so far."""

    batches: Int[Array, ""]
    loss: Float[Array, ""]  # sum over examples
    correct: Int[Array, ""]
    examples: Int[Array, ""]
    first_bad_step: Int[Array, ""]  # first of non-finite loss, from 1, or NEVER

    @classmethod
    def zeros(cls) -> "Metrics":
        """Returns the sums of nothing."""
        batches, correct, examples = (jnp.zeros([], jnp.int32) for _ in range(3))
        never = jnp.full([], NEVER, jnp.int32)
        return cls(batches, jnp.zeros([], jnp.float32), correct, examples, never)

    def add(
        self,
        losses: Float[Array, " b"],
        logits: Float[Array, "b k"],
        labels: Int[Array, " b"],
        counts: Bool[Array, " b"],
        step: Int[Array, ""],
    ) -> "Metrics":
        """Returns the sums with those examples of a batch that count.

        Args:
          losses: One per example.
          logits: What the model computed.
          labels: The true classes.
          counts: Which examples count.
          step: The batch's number, noted if its loss is not finite.
        """
        loss = jnp.sum(losses, where=counts)
        bad_step = jnp.where(jnp.isfinite(loss), NEVER, step)
        hits = jnp.argmax(logits, axis=-1) == labels
        return Metrics(
            batches=self.batches + 1,
            loss=self.loss + loss,
            correct=self.correct + jnp.sum(hits, where=counts, dtype=jnp.int32),
            examples=self.examples + jnp.sum(counts, dtype=jnp.int32),
            first_bad_step=jnp.minimum(self.first_bad_step, bad_step),
        )

    def means(self) -> tuple[float, float]:
        """Returns mean loss (a float32 value) and accuracy, on the host."""
        n = int(self.examples)
        return float(np.float32(float(self.loss) / n)), int(self.correct) / n


class Evaluated(NamedTuple):
    """Sums over the batches of a held-out split seen so far."""

    metrics: Metrics
    top5: Int[Array, ""]  # examples whose class is among the five largest logits
    confusion: Int[Array, "k k"]  # examples by true and by predicted class; or (0, 0)

    @classmethod
    def zeros(cls, num_classes: int) -> "Evaluated":
        """Returns the sums of nothing; no matrix for more than `CONFUSED` classes."""
        k = num_classes if num_classes <= CONFUSED else 0
        none = jnp.zeros([], jnp.int32)
        return cls(Metrics.zeros(), none, jnp.zeros((k, k), jnp.int32))

    def add(
        self,
        losses: Float[Array, " b"],
        logits: Float[Array, "b k"],
        labels: Int[Array, " b"],
        counts: Bool[Array, " b"],
    ) -> "Evaluated":
        """Returns the sums with those examples of a batch that count.

        Args:
          losses: One per example.
          logits: What the model computed.
          labels: The true classes.
          counts: Which examples count.
        """
        batch = self.metrics.batches + 1
        own = jnp.take_along_axis(logits, labels[:, None], axis=1)
        earlier = (
            jnp.arange(logits.shape[1], dtype=labels.dtype)[None] < labels[:, None]
        )
        # A NaN is ahead of all; of equal logits, as in argmax, the first is.
        ahead = jnp.sum(~(logits <= own) | ((logits == own) & earlier), axis=1)
        confusion = self.confusion
        if confusion.size:
            predicted = jnp.argmax(logits, axis=-1)
            confusion = confusion.at[labels, predicted].add(counts.astype(jnp.int32))
        return Evaluated(
            self.metrics.add(losses, logits, labels, counts, batch),
            self.top5 + jnp.sum(ahead < 5, where=counts, dtype=jnp.int32),
            confusion,
        )

    def means(self) -> tuple[float, float]:
        """Returns mean loss (a float32 value) and accuracy, on the host."""
        return self.metrics.means()


class Model(NamedTuple):
    """A model's numbers."""

    params: PyTree[Array]
    batch_stats: PyTree[Array]


class TrainState(NamedTuple):
    """Everything that a step changes."""

    step: Int[Array, ""]  # steps taken so far
    params: PyTree[Array]
    batch_stats: PyTree[Array]
    opt_state: optax.OptState
    metrics: Metrics  # of the current epoch
    stats_ema: Any = None  # of the statistics' average; None without one


class Outputs(NamedTuple):
    """What a loss was computed from, and the model's statistics after it."""

    losses: Float[Array, " b"]
    logits: Float[Array, "b k"]
    batch_stats: PyTree[Array]


class Stepped(NamedTuple):
    """What a step made of a state and a batch."""

    loss: Float[Array, ""]
    outputs: Outputs
    params: PyTree[Array]
    opt_state: optax.OptState
