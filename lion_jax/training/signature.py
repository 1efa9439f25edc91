"""A model's signature: the images that it reads, and what its logits mean.

It is saved with every checkpoint, so that a trained model needs no data to be used.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Array, Float, UInt8

from lion_jax import data
from lion_jax.config import Config
from lion_jax.training import images
from lion_jax.training.state import Examples


@dataclasses.dataclass(frozen=True)
class Signature:
    """What a trained model reads and what it says, beside its numbers."""

    dataset: str  # what it was trained on
    version: str  # of the data set
    class_names: tuple[str, ...]  # in the order of the logits
    image_shape: tuple[int, int, int]  # height, width, channels of the set's images
    image_size: int  # height and width to which they are resized
    channels: int  # of the model's input; grey images are repeated
    mean: tuple[float, ...]  # of each image channel in training, for pixels in [0, 1]
    std: tuple[float, ...]  # standard deviation, likewise

    @classmethod
    def of(cls, config: Config, dataset: data.Dataset, train: Examples) -> "Signature":
        """Returns the signature of a model that a configuration trains.

        Args:
          config: Image size and channels.
          dataset: Class names and the shape of the images.
          train: The training split, by whose pixels images are normalized.
        """
        pixels: Any = train.images  # on the host
        mean, std = data.pixel_statistics(pixels)
        height, width, channels = dataset.train_images.shape[1:]
        return cls(
            dataset=dataset.name,
            version=dataset.version,
            class_names=dataset.class_names,
            image_shape=(height, width, channels),
            image_size=config.image_size,
            channels=config.channels,
            mean=mean,
            std=std,
        )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Signature":
        """Returns the signature that `dataclasses.asdict` and JSON made a dictionary.

        Raises:
          TypeError: If a field is missing or unknown.
        """
        made: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
        }
        return cls(**made)

    def require_data_of(self, saved: "Signature | None") -> None:
        """Refuses data other than those that a saved model was trained on.

        Args:
          saved: The signature saved with the model; None of an earlier version's.

        Raises:
          DataError: If version, class names, shapes or the pixels' means and deviations
            differ from this signature's.
        """
        if saved is None:
            return
        fields = ("version", "class_names", "image_shape")
        same = all(getattr(saved, x) == getattr(self, x) for x in fields)
        # A function of the user's own may give other images under the same version.
        pixels = [np.array([x.mean, x.std]) for x in (saved, self)]
        # Of a constant channel earlier versions took a millionth for the deviation.
        pixels = [np.where(x <= 1e-6, 1.0, x) for x in pixels]
        if not same or not np.allclose(*pixels, rtol=1e-6, atol=0):
            raise data.DataError(
                f"the data have changed: the run was trained on {saved.data}, but"
                f" these are {self.data}{', with other pixels' * same}; restore the"
                " data, or begin another run in another folder (--workdir or --out)."
            )

    @property
    def data(self) -> str:
        """The data set with its version and its shape, in words."""
        shape = " x ".join(map(str, self.image_shape))
        return f"{self.dataset} {self.version} ({shape}, {self.num_classes} classes)"

    @property
    def num_classes(self) -> int:
        """Number of logits."""
        return len(self.class_names)

    def standardize(
        self, pixels: UInt8[Array, "b h w c"]
    ) -> Float[Array, "b h2 w2 c2"]:
        """Makes images of the set's kind the model's input; see `images.standardize`.

        Args:
          pixels: Images of any height and width, with the channels of the set's.
        """
        return images.standardize(
            pixels,
            size=self.image_size,
            channels=self.channels,
            mean=self.mean,
            std=self.std,
        )
