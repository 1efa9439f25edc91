"""The state before the first step: by the seed alone, or from other weights."""

import contextlib
import dataclasses

import jax
import jax.numpy as jnp

from lion_jax.config import Config, ConfigError
from lion_jax.config.reference import parse
from lion_jax.training import pretrained, sharding, stored
from lion_jax.training.console import Print
from lion_jax.training.optimizers import frozen
from lion_jax.training.pretrained import Weights
from lion_jax.training.program import Program
from lion_jax.training.signature import Signature
from lion_jax.training.state import Model, TrainState
from lion_jax.training.step import init_model
from lion_jax.training.task import Task, model_maker


def check(config: Config, task: Task) -> Weights | None:
    """Checks what is named in the model's parameters, before anything is compiled.

    Returns:
      The weights of `init_from`, if there are any.

    Raises:
      ConfigError: If the weights of `init_from` cannot be read, or none fits the model,
        or if `optimizer.freeze` names no parameter, or all.
      RunFolderError: If it is the folder of no run with a best state.
      CheckpointError: If that state is damaged.
    """
    freeze = config.optimizer.freeze
    if not (config.init_from or freeze):
        return None
    model = jax.eval_shape(lambda: init_model(task.make_model, jax.random.key(0)))
    if freeze:
        frozen(model.params, freeze)
    if not config.init_from:
        return None
    weights = pretrained.read(config.init_from)
    _fit(config, task.signature, weights, model)
    return weights


def first_state(
    config: Config, program: Program, say: Print, weights: Weights | None = None
) -> TrainState:
    """Returns the state that a run begins with.

    Order of the batches, augmentation and the optimizer's state are those of the seed
    in either case, and so are arrays that `init_from` lacks or has in other shapes;
    what was taken is said.

    Args:
      config: The run's configuration.
      program: Compiled of it.
      say: Prints a line.
      weights: From `check`; None to read those of `init_from`, if there are any.

    Raises:
      ConfigError: As `check`, or if a model of the user's own begins with values that
        are not finite.
      RunFolderError, CheckpointError: As `check`.
    """
    state = program.init(config.seed)
    if parse(config.model.name) and not program.all_finite(state):
        model = {"parameters": state.params, "statistics": state.batch_stats}
        bad = [
            path
            for path, x in stored.leaves(model).items()
            if not jnp.isfinite(x).all()
        ]
        raise ConfigError(
            f"model.name={config.model.name!r}: before the first step {bad[0]} has"
            " values that are not finite; correct how they are initialized."
        )
    if not config.init_from:
        return state
    weights = weights or pretrained.read(config.init_from)
    model = state.params, state.batch_stats
    fitted = _fit(config, program.signature, weights, Model(*model))
    for line in fitted.lines(weights.source):
        say(line)
    if config.optimizer.freeze:
        mask = stored.named([frozen(state.params, config.optimizer.freeze)])
        lost = [name for name, fixed in mask.items() if fixed and name in fitted.own]
        if lost:
            say(f"warning: frozen as drawn at random, for good: {', '.join(lost)}")

    def choose(path, array):
        name = stored.name_of(path[1:])
        if name not in fitted.taken:
            return array
        return sharding.put(fitted.taken[name].astype(array.dtype), array.sharding)

    chosen = Model(*jax.tree_util.tree_map_with_path(choose, model))
    return program.begin_with(chosen)


def _fit(
    config: Config, signature: Signature, weights: Weights, model: Model
) -> pretrained.Fitted:
    """Fits weights to a model; its head is what one more class would change."""
    wanted, names = stored.named(model), signature.class_names
    if weights.class_names in ((), names):
        return pretrained.fit(weights, wanted)
    more = dataclasses.replace(signature, class_names=(*names, "another"))
    make, other = model_maker(config, more), {}
    with contextlib.suppress(Exception):  # a model of the user's own may allow no more
        shapes = jax.eval_shape(lambda: init_model(make, jax.random.key(0)))
        other = stored.named(shapes)
    head = {x for x in wanted if x in other and wanted[x].shape != other[x].shape}
    fitted = pretrained.fit(weights, wanted, head)
    if not head:
        fitted.changed.append(
            "its classes are others, and which arrays are of its head is not known:"
            " all that fit are taken"
        )
    return fitted
