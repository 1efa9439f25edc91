"""Models of a few of the package's own layers, whose steps compile in less time.

For what is said of every model; tests of one model name it.
"""

from lion_jax.models import ResNet, ViT

STEM = f"{__name__}:stem"
LAYER = f"{__name__}:layer"


def stem(*, num_classes, channels, dtype, rngs):
    """A ResNet without blocks: a convolution, a batch norm, a pool and a head."""
    given = {"num_classes": num_classes, "channels": channels, "dtype": dtype}
    return ResNet((), width=8, **given, rngs=rngs)


def layer(*, image_size, num_classes, channels, dtype, rngs):
    """A ViT of one layer."""
    given = {"num_classes": num_classes, "channels": channels, "dtype": dtype}
    shape = {"patch": 4, "width": 16, "layers": 1, "heads": 2, "mlp_width": 32}
    return ViT(image_size=image_size, **shape, **given, rngs=rngs)
