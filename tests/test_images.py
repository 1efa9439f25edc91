"""What happens to the pixels between the data set and the model."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from PIL import Image

from lion_jax.training import images


def grey(n=6, h=28, w=28, c=1, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (n, h, w, c), np.uint8)
    return jnp.asarray(pixels)


@pytest.mark.parametrize("size", [14, 20, 28, 32, 56])
def test_resize_is_pillows_antialiased_bilinear(size):
    batch = grey()
    got = images.standardize(batch, size=size, channels=1, mean=(0.0,), std=(1.0,))
    for ours, original in zip(got, batch, strict=True):
        picture = Image.fromarray(np.asarray(original[..., 0], np.float32))
        theirs = np.asarray(picture.resize((size, size), Image.Resampling.BILINEAR))
        np.testing.assert_allclose(ours[..., 0], theirs / 255, atol=1e-4)


def test_normalises_and_repeats_grey():
    batch = grey()
    got = images.standardize(batch, size=28, channels=3, mean=(0.25,), std=(0.5,))
    assert got.shape == (6, 28, 28, 3)
    assert got.dtype == jnp.float32
    expected = (np.asarray(batch) / 255 - 0.25) / 0.5
    for channel in range(3):
        np.testing.assert_allclose(got[..., channel], expected[..., 0], atol=1e-5)


def test_color_channels_have_their_own_statistics():
    mean, std = (0.1, 0.2, 0.3), (1.0, 2.0, 4.0)
    batch = grey(c=3)
    got = images.standardize(batch, size=28, channels=3, mean=mean, std=std)
    np.testing.assert_allclose(got, (np.asarray(batch) / 255 - mean) / std, atol=1e-5)


def test_no_augmentation_changes_nothing():
    batch = grey()
    np.testing.assert_array_equal(
        images.Augmentation()(batch, key=jax.random.key(0)), batch
    )


def test_flip_mirrors_about_half():
    batch = grey(n=400, h=4, w=4)
    got = np.asarray(images.Augmentation(flip=True)(batch, key=jax.random.key(0)))
    original = np.asarray(batch)
    kept = (got == original).all((1, 2, 3))
    mirrored = (got == original[:, :, ::-1]).all((1, 2, 3))
    assert (kept | mirrored).all()
    assert 150 < mirrored.sum() < 250


def test_crop_shows_a_window_of_the_padded_image():
    batch = grey(n=64, h=6, w=5)
    got = np.asarray(images.Augmentation(crop_padding=2)(batch, key=jax.random.key(0)))
    padded = np.pad(np.asarray(batch), ((0, 0), (2, 2), (2, 2), (0, 0)))
    corners = set()
    for image, wide in zip(got, padded, strict=True):
        found = [
            (i, j)
            for i in range(5)
            for j in range(5)
            if (wide[i : i + 6, j : j + 5] == image).all()
        ]
        assert found
        corners.add(found[0])
    assert len(corners) > 12


@pytest.mark.slow
def test_erasing_puts_noise_into_one_rectangle_of_the_given_fraction_of_images():
    black = jnp.zeros((600, 28, 28, 1), jnp.uint8)
    got = np.asarray(images.Augmentation(erasing=0.5)(black, key=jax.random.key(0)))[
        ..., 0
    ]
    erased = got.any((1, 2))
    assert 250 < erased.sum() < 350
    shares, fillings = [], []
    for image in got[erased]:
        rows, columns = np.flatnonzero(image.any(1)), np.flatnonzero(image.any(0))
        box = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        shares.append(box.size / image.size)
        fillings.append((box > 0).mean())
    # 2 to 40 % but for rounding; a 256th of the noise is 0.
    assert 0.01 < min(shares) < 0.05
    assert 0.3 < max(shares) < 0.43
    assert min(fillings) > 0.9
    values = got[erased][got[erased] > 0]
    assert 120 < values.mean() < 136


@pytest.mark.slow
def test_mixup_mixes_neighbours_in_proportions_of_a_beta_distribution():
    x = jnp.arange(4.0)[:, None, None, None] * jnp.ones((1, 2, 2, 1))
    labels = jnp.array([0, 1, 2, 3])
    own = jax.nn.one_hot(labels, 4)
    shares = []

    @jax.jit
    def both(key):
        mixed, mix = images.mixup(x, 0.4, key=key)
        return mixed, mix(own)

    for seed in range(300):
        mixed, targets = both(jax.random.key(seed))
        shares.append(float(targets[0, 0]))
        if seed < 3:
            share, other = shares[-1], jnp.roll(labels, 1)
            assert list(other) == [3, 0, 1, 2]
            np.testing.assert_allclose(
                targets, share * own + (1 - share) * own[other], rtol=1e-6
            )
            expected = share * np.arange(4.0) + (1 - share) * np.float32(other)
            np.testing.assert_allclose(mixed[:, 0, 0, 0], expected, rtol=1e-6)
    assert scipy.stats.kstest(shares, "beta", (0.4, 0.4)).pvalue > 0.01


@pytest.mark.slow
def test_augmentation_is_a_function_of_its_key():
    batch = grey()
    options = {"crop_padding": 2, "flip": True, "erasing": 0.5}
    first, same, other = (
        np.asarray(images.Augmentation(**options)(batch, key=jax.random.key(seed)))
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, same)
    assert (first != other).any()
