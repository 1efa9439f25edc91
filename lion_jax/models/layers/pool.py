"""Max pooling that remembers which value it took."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float


def max_pool(
    x: Float[Array, "b h w c"], size: int, stride: int
) -> Float[Array, "b h2 w2 c"]:
    """Returns the largest value of each square window, padded by `size // 2`.

    The gradient goes to the first of the largest values, as in `flax.nnx.max_pool`.
    The backward pass of that searches every window again, carrying an index for every
    pixel; here the forward pass leaves one byte for each window. A NaN wins, the last
    of several.

    Args:
      x: Images.
      size: Height and width of a window in pixels; odd, at most 15.
      stride: Pixels from window to window.
    """
    return _max_pool(x, size, stride, x.shape[1:3])


@partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def _max_pool(x, size, stride, shape):
    return _forward(x, size, stride, shape)[0]


def _forward(x, size, stride, shape):
    """Returns the largest values, and the number of each one's place in its window."""
    edges = (size // 2, size // 2)
    padded = jnp.pad(x, ((0, 0), edges, edges, (0, 0)), constant_values=-jnp.inf)
    h, w = (length + 2 * (size // 2) - size + 1 for length in shape)  # at stride 1

    def values(k):
        i, j = divmod(k, size)
        return padded[:, i : i + h : stride, j : j + w : stride]

    best = values(0)
    place = jnp.zeros(best.shape, jnp.uint8)
    for k in range(1, size * size):
        better = (values(k) > best) | jnp.isnan(values(k))
        best = jnp.where(better, values(k), best)
        place = jnp.where(better, jnp.uint8(k), place)
    return best, place


def _backward(size, stride, shape, place, grad):
    zero = jnp.zeros((), grad.dtype)
    total = jnp.zeros((grad.shape[0], *shape, grad.shape[3]), grad.dtype)
    for k in range(size * size):
        # Each window's gradient where it took its k-th value, at that pixel.
        pads = [(0, 0, 0)]
        for offset, length, n in zip(
            divmod(k, size), shape, grad.shape[1:3], strict=True
        ):
            before = offset - size // 2
            pads.append((before, length - before - (n - 1) * stride - 1, stride - 1))
        part = jnp.where(place == k, grad, zero)
        total += lax.pad(part, zero, (*pads, (0, 0, 0)))
    return (total,)


_max_pool.defvjp(_forward, _backward)
