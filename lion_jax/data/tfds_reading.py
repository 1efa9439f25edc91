"""The arrays of a prepared set of TensorFlow Datasets, without TensorFlow."""

import functools
import logging
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from lion_jax.data import pictures
from lion_jax.data.class_folders import TEST_NAMES
from lion_jax.data.dataset import DataError, Dataset
from lion_jax.data.hold_out import hold_out
from lion_jax.data.idx import FILE_FORMAT

BATCH = 1000  # examples read at once: three times as fast as one by one

_log = logging.getLogger(__name__)


def read(builder: Any, name: str, source: str, image_size: int = 0) -> Dataset:
    """Decodes the train and the test split into arrays.

    Args:
      builder: TFDS's, of a prepared set.
      name: Of the set.
      source: Where it came from, in words.
      image_size: Height and width to which images are cut and resized; 0: as they are.

    Raises:
      DataError: If it is prepared in another format, or is none of uint8 images with a
        class label and a train split, or of several sizes without `image_size`.
    """
    keys = _keys(builder.info, name)

    @functools.cache
    def examples(split: str) -> Any:
        try:
            return builder.as_data_source(split=split)
        except NotImplementedError as error:
            raise DataError(
                f"data.name={name!r}: {builder.data_path} is prepared in a format that"
                f" needs TensorFlow; prepare it in the {FILE_FORMAT} format elsewhere"
                " and give --config.data.data_dir."
            ) from error

    def is_labelled(split: str) -> bool:
        found = examples(split)
        return len(found) > 0 and found[0][keys[1]] >= 0

    splits = _splits(name, set(builder.info.splits), is_labelled)
    arrays = {
        part: _decode(name, _in_batches(examples(split)), keys, image_size)
        for part, split in splits.items()
    }
    if "test" not in arrays:
        images, labels = arrays["train"]
        train, test = hold_out(labels, f"data.name={name!r}")
        rows = {"train": train, "test": test}
        arrays = {part: (images[i], labels[i]) for part, i in rows.items()}
    names = tuple(builder.info.features[keys[1]].names)
    version = str(builder.version)
    return Dataset(name, version, source, names, *arrays["train"], *arrays["test"])


def _keys(info: Any, name: str) -> tuple[str, str]:
    """Returns the names of the images and of the labels in an example."""
    keys = (info.supervised_keys or ("image", "label"))[:2]
    image, label = (
        info.features[key] if isinstance(key, str) and key in info.features else None
        for key in keys
    )
    if len(getattr(image, "shape", None) or ()) != 3 or not hasattr(label, "names"):
        raise DataError(
            f"data.name={name!r}: {keys[0]!r} and {keys[1]!r} are no image and no class"
            " label; choose a set for image classification."
        )
    return keys


def _in_batches(source) -> Iterator[dict[str, Any]]:
    """Reads a TFDS data source in order."""
    for start in range(0, len(source), BATCH):
        yield from source.__getitems__(range(start, min(start + BATCH, len(source))))


def _splits(
    name: str, there: set[str], is_labelled: Callable[[str], bool]
) -> dict[str, str]:
    """Returns the names of the set's training and, if it has one, its test split."""
    if "train" not in there:
        raise DataError(
            f"data.name={name!r}: its splits are {sorted(there)}, but a split named"
            " train is needed; choose another set."
        )
    found = [split for split in TEST_NAMES if split in there and is_labelled(split)]
    if found and found[0] != "test":
        without = "no test split" if "test" not in there else "a test split unlabelled"
        _log.info("%s has %s: %s serves as one.", name, without, found[0])
    return {"train": "train"} | ({"test": found[0]} if found else {})


def _decode(
    name: str, examples: Iterator[Any], keys: tuple[str, str], image_size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns a split's images and labels."""
    images, labels, shapes = [], [], set()
    for example in examples:
        image, label = (example[key] for key in keys)
        if image.dtype != np.uint8:
            raise DataError(
                f"data.name={name!r}: its images are {image.dtype}, but must be uint8;"
                " choose another set."
            )
        shapes.add(image.shape)
        images.append(pictures.fit(image, image_size) if image_size else image)
        labels.append(label)
    if len(shapes) > 1 and not image_size:
        small, *_, large = sorted(shapes, key=lambda shape: (np.prod(shape), shape))
        raise DataError(
            f"data.name={name!r}: its images have {len(shapes)} shapes, from"
            f" {'x'.join(map(str, small))} to {'x'.join(map(str, large))}; set"
            " --config.data.image_size=224, for instance, to cut and resize them."
        )
    return np.stack(images), np.asarray(labels, np.int32)
