"""Whether the user's own model, optimizer and schedule fit: from shapes alone.

Nothing is compiled, computed or written here.
"""

import logging
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import PyTree

from lion_jax import data, references
from lion_jax.config import Config, ConfigError
from lion_jax.config.reference import parse, references_of
from lion_jax.training import calls, stored
from lion_jax.training.loss import Batch, loss_of
from lion_jax.training.optimizers import kernels, make_schedule
from lion_jax.training.task import Task

# What others call the flag of training, or its opposite, and how to get it of `train`.
MODES = {
    "training": "",
    "is_training": "",
    "deterministic": ", and give layers deterministic=not train",
    "use_running_average": ", and give layers use_running_average=not train",
}

_log = logging.getLogger(__name__)


def check(
    config: Config, task: Task, dataset: data.Dataset, *, resumed: bool = False
) -> None:
    """Checks whatever a configuration refers to against its data.

    Args:
      config: The configuration.
      task: Made of it.
      dataset: Its data.
      resumed: Whether a run of it has begun, with the same code.

    Raises:
      ConfigError: Names the reference, what it does, and what it must do.
    """
    names = references_of(config)
    if not names.keys() - {"data.name"}:
        return

    def parts() -> tuple[PyTree[Any], PyTree[Any]]:
        model = task.make_model(nnx.Rngs(0, params=0))
        if name := names.get("model.name"):
            _require_variables(name, model)
            _require_mode(name, model, resumed=resumed)
        return calls.parts_of(model)

    params, batch_stats = jax.eval_shape(parts)
    if name := names.get("model.name"):
        for part in params, batch_stats:
            _require_storable("model.name", name, part)
        _check_model(name, task, dataset, params, batch_stats)
        if not resumed:
            _require_kernels(config, params)
    if name := names.get("optimizer.schedule"):
        with references.blamed("optimizer.schedule", name):
            schedule = make_schedule(config.optimizer, 100)
            rate = jax.eval_shape(schedule, jax.ShapeDtypeStruct((), jnp.int32))
        if getattr(rate, "shape", None) != ():
            raise ConfigError(
                f"optimizer.schedule={name!r}: it returns {rate}, but must return the"
                " learning rate, a number."
            )
    if name := names.get("optimizer.name"):
        _check_optimizer(name, task, params)


def _require_kernels(config: Config, params: PyTree[Any]) -> None:
    """Refuses to decay only what is called kernel where nothing is."""
    rule, decay = config.optimizer.decay, config.optimizer.weight_decay
    if rule != "kernels" or not decay or parse(config.optimizer.name):
        return
    if not any(jax.tree.leaves(kernels(params))):
        raise ConfigError(
            f"optimizer.decay={rule!r}, but no parameter of {config.model.name} is"
            " called kernel; call its matrices so, or set --config.optimizer.decay=all,"
            " or --config.optimizer.weight_decay=0."
        )


def _check_model(
    name: str,
    task: Task,
    dataset: data.Dataset,
    params: PyTree[Any],
    batch_stats: PyTree[Any],
) -> None:
    if not jax.tree.leaves(params):
        raise ConfigError(
            f"model.name={name!r}: it has no nnx.Param, so nothing can be trained; make"
            " its weights of nnx.Param, or of Flax's layers."
        )
    graph, key = task.graph(), jax.eval_shape(lambda: jax.random.key(0))
    count, classes = task.batch_size // task.accumulate, dataset.num_classes
    shape = count, *dataset.train_images.shape[1:]
    pixels = jax.ShapeDtypeStruct(shape, jnp.uint8)
    for train in True, False:

        def call(params, batch_stats, pixels, key, train=train):
            key = key if train else None
            images = task.standardize(pixels)
            return task.call.raw(
                graph, params, batch_stats, images, train=train, key=key
            )

        with references.blamed("model.name", name):
            logits, after = jax.eval_shape(call, params, batch_stats, pixels, key)
        got = getattr(logits, "shape", None)
        if got != (count, classes) or not jnp.issubdtype(logits.dtype, jnp.floating):
            raise ConfigError(
                f"model.name={name!r}: for {count} images of {classes} classes it"
                f" returns {_described(logits)}, but must return logits, float32"
                f" {(count, classes)}; correct its last layer."
            )
        if changed := stored.differences(batch_stats, after):
            raise ConfigError(
                f"model.name={name!r}: what it holds changes its form when it is"
                f" called: {changed[0]}; make its variables in its constructor."
            )
    examples: Any = pixels, jax.ShapeDtypeStruct((count,), jnp.int32)
    batch = Batch(examples[0], examples[1], 0)
    differentiate = jax.value_and_grad(
        partial(loss_of, task=task, graph=graph), has_aux=True
    )
    with references.blamed("model.name", name):
        jax.eval_shape(differentiate, params, batch_stats, batch, key)


def _check_optimizer(name: str, task: Task, params: PyTree[Any]) -> None:
    with references.blamed("optimizer.name", name):
        state = jax.eval_shape(task.optimizer.init, params)
        updates, after = jax.eval_shape(task.optimizer.update, params, state, params)
    _require_storable("optimizer.name", name, state)
    for what, wanted, got in (
        ("updates", params, updates),
        ("its state", state, after),
    ):
        shapes = [jax.tree.map(lambda x: x.shape, tree) for tree in (wanted, got)]
        changed = stored.differences(wanted, got)
        is_other = jax.tree.structure(wanted) != jax.tree.structure(got)
        is_other = is_other or shapes[0] != shapes[1]
        # Updates are cast to the parameters' dtypes.
        if is_other or (changed and what != "updates"):
            raise ConfigError(
                f"optimizer.name={name!r}: {what} must have the form of"
                f" {'the parameters' if what == 'updates' else 'the state before'}"
                f"{f', but differ: {changed[0]}' if changed else ''}; correct its"
                " update."
            )


def _require_variables(name: str, model: nnx.Module) -> None:
    """Refuses JAX's arrays as they are, which Flax takes for part of the structure."""
    for path, node in nnx.iter_graph(model):
        attributes = vars(node) if isinstance(node, nnx.Module) else {}
        for attribute, value in attributes.items():
            if isinstance(value, jax.Array):
                place = ".".join(map(str, (*path, attribute)))
                raise ConfigError(
                    f"model.name={name!r}: its {place} is an array of JAX outside of a"
                    " variable; make it nnx.Variable(...), or an array of NumPy if it"
                    " is a constant."
                )


def _require_mode(name: str, model: nnx.Module, *, resumed: bool) -> None:
    """Refuses a mode that nothing sets: training and evaluation would share it.

    One whose default is None leaves its layers the mode that the model has. A run that
    has begun so goes on, with a warning.
    """
    for mode, parameter in calls.parameters_of(model).items():
        if mode not in MODES or not isinstance(parameter.default, bool):
            continue
        if resumed:
            told = "model.name=%r: its __call__ takes %s, which is %s in training, too."
            _log.warning(told, name, mode, parameter.default)
            continue
        raise ConfigError(
            f"model.name={name!r}: its __call__ takes {mode}, which would be"
            f" {parameter.default} in training and in evaluation; name its parameter"
            f" train{MODES[mode]}."
        )


def _require_storable(field: str, name: str, state: PyTree[Any]) -> None:
    """Refuses what is to be saved and checkpoints cannot hold."""
    seen: dict[str, str] = {}
    for place, leaf in jax.tree_util.tree_leaves_with_path(state):
        path = stored.key_of(place)
        if (known := seen.setdefault(stored.name_of(place), path)) != path:
            raise ConfigError(
                f"{field}={name!r}: its {known} and {path} are both called"
                f" {stored.name_of(place)} in a checkpoint, which would hold one of"
                " them; give one another name, without a dot."
            )
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            raise ConfigError(
                f"{field}={name!r}: its {path} is a random key of dtype {leaf.dtype},"
                " which checkpoints cannot hold; make it with jax.random.PRNGKey."
            )
        if 0 in leaf.shape:
            raise ConfigError(
                f"{field}={name!r}: its {path} is an array of shape {leaf.shape}, but"
                " checkpoints cannot hold empty ones; leave it out."
            )


def _described(outputs: Any) -> str:
    """Returns what a model returned, in words."""
    if isinstance(outputs, jax.ShapeDtypeStruct):
        return f"{outputs.dtype} {outputs.shape}"
    return f"a value of type {type(outputs).__name__}"
