"""Trained models for other programs: compiled for other machines, or weights alone.

What is written needs neither this package nor the data: a program of `jax.export` runs
wherever JAX does, and safetensors are read by every framework.
"""

import dataclasses
import json
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import jax
import numpy as np
import safetensors.numpy
from jax import export

from lion_jax import models, references
from lion_jax.config import ConfigError
from lion_jax.config.reference import parse, short
from lion_jax.files import expanded, replacing
from lion_jax.training import stored
from lion_jax.training.restored import Restored

PLATFORMS = ("cpu", "cuda")
WEIGHTS = ".safetensors"


def write_program(
    model: Restored,
    path: str | PathLike[str],
    platforms: Sequence[str] = PLATFORMS,
) -> None:
    """Writes a model as a program of `jax.export`, and what it reads as JSON beside it.

    The program holds the weights. It takes uint8 images of shape (n, height, width,
    channels), as many as are given, and returns logits of shape (n, classes).

    Args:
      model: From `training.load`.
      path: The file, or a link to it; the description is beside it, with `.json`
        appended to its name.
      platforms: For which it is compiled: `cpu`, `cuda`, `rocm`, `tpu`.

    Raises:
      OSError: If a file cannot be written.

    Examples:
      >>> training.write_program(model, "model.jaxexport")  # doctest: +SKIP
      >>> from jax import export
      >>> from pathlib import Path
      >>> file = Path("model.jaxexport")
      >>> program = export.deserialize(bytearray(file.read_bytes()))  # doctest: +SKIP
      >>> program.call(images).shape  # doctest: +SKIP
      (2, 10)
    """
    path = expanded(path).resolve()
    name, (batch,) = model.config.model.name, export.symbolic_shape("n")
    shape = (batch, *model.signature.image_shape)
    weights = jax.device_get((model.params, model.batch_stats))
    # Kernels of one platform alone, such as cuDNN's attention, would not run on others.
    with jax.default_device(_cpu()), references.blamed("model.name", name):
        exported = export.export(
            jax.jit(lambda images: model.apply(*weights, images)), platforms=platforms
        )(jax.ShapeDtypeStruct(shape, np.uint8))
    _write(path, bytes(exported.serialize()))
    about = json.dumps(description(model), indent=2) + "\n"
    _write(path.with_name(f"{path.name}.json"), about.encode())


def write_weights(model: Restored, path: str | PathLike[str]) -> None:
    """Writes parameters and batch-norm statistics as safetensors.

    Names are the arrays' paths in the model, such as `stem.kernel`; the metadata's
    `lion_jax` is the description as JSON.

    Args:
      model: From `training.load`.
      path: The file, or a link to it.

    Raises:
      OSError: If the file cannot be written.

    Examples:
      >>> from safetensors.numpy import load_file
      >>> training.write_weights(model, "model.safetensors")  # doctest: +SKIP
      >>> load_file("model.safetensors")["head.bias"].shape  # doctest: +SKIP
      (10,)
    """
    arrays = jax.device_get(stored.named((model.params, model.batch_stats)))
    metadata = {"lion_jax": json.dumps(description(model))}
    _write(expanded(path).resolve(), safetensors.numpy.save(arrays, metadata))


def description(model: Restored) -> dict[str, Any]:
    """Returns what a user of the exported model must know: its signature and origin.

    `model` and `options` are what `lion_jax.models.make` takes, or a reference of the
    user's own and its options.
    """
    config = model.config.model
    own = parse(config.name)
    options = models.options(config.name, dataclasses.asdict(config)) if not own else {}
    return {
        "model": short(config.name),
        "options": dict(config.options) if own else options,
        "step": model.step,
        **dataclasses.asdict(model.signature),
    }


def _cpu() -> Any:
    try:
        return jax.devices("cpu")[0]
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(
            "JAX finds no CPU here, for which the program is to be compiled too; set"
            " JAX_PLATFORMS=cuda,cpu."
        ) from error


def _write(path: Path, content: bytes) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(content)
