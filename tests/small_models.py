"""A model of a few of the package's own layers, whose steps compile in less time.

For what is said of every model; tests of one model name it.
"""

from lion_jax.models import ResNet

STEM = f"{__name__}:stem"


def stem(*, num_classes, channels, dtype, rngs):
    """A ResNet without blocks: a convolution, a batch norm, a pool and a head."""
    given = {"num_classes": num_classes, "channels": channels, "dtype": dtype}
    return ResNet((), width=8, **given, rngs=rngs)
