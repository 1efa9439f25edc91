"""Classifies images: `python -m lion_jax.predict --workdir DIR FILE ...`."""

import dataclasses
import json
from typing import Annotated

from lion_jax import cli, model_flags
from lion_jax.config import About, ConfigError
from lion_jax.data import pictures
from lion_jax.files import expanded
from lion_jax.model_flags import FAILURES, MISTAKES
from lion_jax.training import load, predictions

PROG = "python -m lion_jax.predict"


@dataclasses.dataclass
class Flags(model_flags.ModelFlags):
    """Classifies image files by the trained model of a run's folder.

    Prints the likeliest classes of each file with their probabilities. The data that
    the model was trained on are not needed. Files are made alike to the data set's
    images: grey or RGB, cut to their proportions around the centre, and resized.
    --config.<field> sets a field that changes no numbers, such as devices, or where
    the file of a reference is now.
    """

    images: Annotated[list[str], About("image files (required)", positional=True)] = (
        dataclasses.field(default_factory=list)
    )
    top: Annotated[int, About("classes per file; 0: all", ge=0)] = 3
    json: Annotated[bool, About("print JSON, one object per line and file")] = False


def main(argv: list[str]) -> int:
    """Runs the command; returns its exit status."""
    line = model_flags.read(PROG, Flags, argv)
    flags = line.flags
    if not flags.images:
        raise ConfigError("there is no image file; give one or more, such as shoe.png.")
    model = load(flags.folder, flags.checkpoint, model_flags.start(line))
    channels = model.signature.image_shape[-1]
    if channels not in (1, 3):
        raise ConfigError(
            f"{flags.folder} holds a model of images with {channels} channels, but"
            " image files have 1 or 3; use training.load(...).predict(array) in Python."
        )
    paths = [expanded(name) for name in flags.images]
    images = pictures.read_all(paths, model.signature.image_shape)
    table = predictions(model, images, flags.top)
    wide = max(len(name) for name in flags.images)
    for name, row in zip(flags.images, table, strict=True):
        if flags.json:
            print(json.dumps({"file": name, "predictions": row}))
        else:
            shown = (f"{item['class']} {item['probability']:.1%}" for item in row)
            print(f"{name:<{wide}}  {', '.join(shown)}")
    return 0


if __name__ == "__main__":
    cli.run(main, MISTAKES, FAILURES)
