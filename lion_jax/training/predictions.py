"""The likeliest classes of images, by a trained model."""

from typing import Any

import numpy as np

from lion_jax.training.restored import Restored


def predictions(
    model: Restored, images: np.ndarray, top: int = 0
) -> list[list[dict[str, Any]]]:
    """Returns the likeliest classes of each image, the likeliest first.

    Args:
      model: From `load`.
      images: As `Restored.predict` takes them.
      top: Classes per image; 0 for all.

    Raises:
      ValueError: If `top` is negative, or the images are not of the model's kind.

    Examples:
      >>> first, second = training.predictions(model, images, top=3)  # doctest: +SKIP
      >>> [sorted(row) for row in first]  # doctest: +SKIP
      [['class', 'probability'], ['class', 'probability'], ['class', 'probability']]
    """
    if top < 0:
        raise ValueError(f"top={top}, but it must be >= 0; set 0 for all classes.")
    rows = []
    for row in model.probabilities(images):
        order = np.argsort(-row, kind="stable")[: top or len(row)]
        rows.append(
            [
                {"class": model.class_names[i], "probability": float(row[i])}
                for i in order
            ]
        )
    return rows
