"""One convolution that both XLA:CPU and the GPU libraries run fast.

XLA:CPU hands large convolutions to a tuned library and the rest to a loop nest an
order of magnitude slower: 3x3 kernels on maps of a few pixels, and the weight
gradients of 1x1 kernels. Written as slices and one matrix product they run at the
speed of the product. Of a bfloat16 convolution, the gradient of the images would be
computed in float32. Which form is used is decided per platform when the program is
compiled, so parameters and results are the same everywhere.
"""

import itertools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

# Widest output map for which slices and a product beat XLA:CPU's convolution. Windows
# that tile the image need no slices, but on large maps the library has its own way.
SMALL_MAP = 4
FEW_PIXELS = 4  # for so many, a matrix of all that they give to each is no larger


def conv_general_dilated(
    lhs: Float[Array, "b h w c"],
    rhs: Float[Array, "kh kw c d"],
    window_strides: tuple[int, int],
    padding: Sequence[tuple[int, int]] | str,
    **kwargs,
) -> Float[Array, "b h2 w2 d"]:
    """Stands in for `jax.lax.conv_general_dilated` in `nnx.Conv` (2-D, NHWC, HWIO).

    Args:
      lhs: Images.
      rhs: Kernels.
      window_strides: Step of the window in each direction.
      padding: Zeros before and after each direction, or "SAME" or "VALID".
      **kwargs: Passed on to `jax.lax.conv_general_dilated`; anything but its
        defaults (dilation, groups) is left to it alone.

    Returns:
      The convolved images.
    """

    def convolution(x, kernel):
        return lax.conv_general_dilated(x, kernel, window_strides, padding, **kwargs)

    kernel_shape = rhs.shape[:2]
    if isinstance(padding, str):
        padding = tuple(
            lax.padtype_to_pads(lhs.shape[1:3], kernel_shape, window_strides, padding)
        )
    if not _is_plain(kwargs):
        return convolution(lhs, rhs)

    def product(x, kernel):
        return _convolve_by_product(x, kernel, window_strides, padding)

    width = _output_size(lhs.shape[2], rhs.shape[1], window_strides[1], padding[1])
    if kernel_shape == (1, 1) or width <= SMALL_MAP:
        return lax.platform_dependent(lhs, rhs, cpu=product, default=convolution)
    if lhs.dtype == jnp.bfloat16 and set(window_strides) == {1}:
        return _with_turned_kernels(convolution, padding)(lhs, rhs)
    return convolution(lhs, rhs)


def _is_plain(kwargs) -> bool:
    return (
        set(kwargs.get("lhs_dilation") or (1,)) == {1}
        and set(kwargs.get("rhs_dilation") or (1,)) == {1}
        and kwargs.get("feature_group_count", 1) == 1
    )


def _with_turned_kernels(convolution: Callable, padding: Sequence[tuple[int, int]]):
    """Gives a convolution of stride 1 another gradient of its images, on a CPU.

    JAX's own convolves with `reverse` of the kernels, for which XLA:CPU computes a
    bfloat16 convolution in float32, three times as slowly. Behind a barrier it does not
    see that they are turned.
    """

    @jax.custom_vjp
    def call(x, kernel):
        return convolution(x, kernel)

    def forward(x, kernel):
        return convolution(x, kernel), (x, kernel)

    def backward(inputs, grad):
        x, kernel = inputs

        def by_jax(kernel, grad):
            (d_x,) = jax.linear_transpose(lambda x: convolution(x, kernel), x)(grad)
            return d_x

        def turned(kernel, grad):
            kernel = jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
            pads = [
                (size - 1 - low, size - 1 - high)
                for size, (low, high) in zip(kernel.shape[:2], padding, strict=True)
            ]
            kernel = lax.optimization_barrier(kernel)
            layout = ("NHWC", "HWIO", "NHWC")
            return lax.conv_general_dilated(
                grad, kernel, (1, 1), pads, dimension_numbers=layout
            )

        d_x = lax.platform_dependent(kernel, grad, cpu=turned, default=by_jax)
        transposed = jax.linear_transpose(lambda kernel: convolution(x, kernel), kernel)
        return d_x, *transposed(grad)

    call.defvjp(forward, backward)
    return call


def _output_size(size, window, stride, pads) -> int:
    return (size + sum(pads) - window) // stride + 1


def _convolve_by_product(x, kernel, strides, padding):
    """The windows side by side, [b h w (kh kw c)], times the kernels as a matrix."""
    kh, kw, c, d = kernel.shape
    sizes = [
        _output_size(*args)
        for args in zip(x.shape[1:3], (kh, kw), strides, padding, strict=True)
    ]
    pixels, is_tiled = x.shape[1] * x.shape[2], (kh, kw) == tuple(strides)
    if pixels <= min(FEW_PIXELS, kh * kw) and not is_tiled:
        return _convolve_few_pixels(x, kernel, strides, padding, sizes)
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    if is_tiled:
        # Windows that tile the image are a transposition, not kh kw slices.
        x = x[:, : sizes[0] * kh, : sizes[1] * kw]
        windows = x.reshape(-1, sizes[0], kh, sizes[1], kw, c).swapaxes(2, 3)
    else:
        windows = jnp.concatenate(
            [
                x[
                    :,
                    i : i + (sizes[0] - 1) * strides[0] + 1 : strides[0],
                    j : j + (sizes[1] - 1) * strides[1] + 1 : strides[1],
                ]
                for i in range(kh)
                for j in range(kw)
            ],
            axis=-1,
        )
    product = windows.reshape(-1, kh * kw * c) @ kernel.reshape(-1, d)
    return product.reshape(-1, *sizes, d)


def _convolve_few_pixels(x, kernel, strides, padding, sizes):
    """All pixels, [b (h w c)], times a matrix of the tap between each and each result.

    Their windows would be padding for the most part: eight ninths of a 3 x 3 kernel's
    on one pixel, five on 2 x 2.
    """
    kh, kw, c, d = kernel.shape
    taps = jnp.unstack(kernel.reshape(kh * kw, c, d))  # its gradient is one write

    def tap(pixel, result):
        row, column = (
            i + before - o * stride
            for i, o, (before, _), stride in zip(
                pixel, result, padding, strides, strict=True
            )
        )
        inside = 0 <= row < kh and 0 <= column < kw
        return taps[row * kw + column] if inside else jnp.zeros_like(taps[0])

    pixels, results = (
        [*itertools.product(*map(range, shape))] for shape in (x.shape[1:3], sizes)
    )
    matrix = jnp.block([[tap(pixel, result) for result in results] for pixel in pixels])
    product = x.reshape(-1, len(pixels) * c) @ matrix
    return product.reshape(-1, *sizes, d)
