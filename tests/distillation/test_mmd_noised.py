import jax
import jax.numpy as jnp
import numpy as np

from recon.distillation.mmd import mmd_loss
from recon.distillation.mmd_noised import direction, noise, noised_loss, source
from recon.kernels.infinite import InfiniteMLP

KERNEL = InfiniteMLP(b_std=0.3)


def test_without_noise_it_is_mmd(rng, x64):
    x, images = rng.normal(size=(4, 6)), rng.normal(size=(5, 6))
    alpha, norm = rng.normal(size=(4, 1)), np.asarray(2.0)
    leaves = direction(source(KERNEL, 16), 0.0, jax.random.key(0), 6)
    labels = np.zeros((5, 1))
    plain = mmd_loss(KERNEL, 1e-5, images, labels, x, alpha, norm)
    np.testing.assert_allclose(noised_loss(KERNEL, 1e-5, images, labels, x, alpha, norm, *leaves), plain, rtol=1e-10)


def test_covariance_of_the_noise_is_the_kernel(rng):
    images = jnp.asarray(rng.normal(size=(3, 6)), jnp.float32)

    def path(key):
        return noise(KERNEL, images, *leaves_of(source(KERNEL, 64), 0.5, key))[:, 0]

    paths = np.asarray(jax.jit(jax.vmap(path))(jax.random.split(jax.random.key(0), 2000)))
    expected = 0.25 * np.asarray(KERNEL.ntk(images))
    # Of 2,000 draws an entry's standard error is at most √(2/2,000) of the diagonal's.
    np.testing.assert_allclose(np.cov(paths.T), expected, atol=4 * np.sqrt(2 / 2000) * expected.max())
    np.testing.assert_allclose(paths.mean(axis=0), 0, atol=4 * np.sqrt(expected.max() / 2000))


def leaves_of(network, scale, key):
    """As `direction`, on traced keys."""
    k_weights, k_noise = jax.random.split(key)
    weights, xi = network.init(k_weights, 6), network.init(k_noise, 6)
    return [*jax.tree.leaves(weights), *(scale * a for a in jax.tree.leaves(xi))]


def test_direction_is_what_the_covariance_is_measured_of():
    network, key = source(KERNEL, 8), jax.random.key(1)
    for made, expected in zip(direction(network, 0.5, key, 6), leaves_of(network, 0.5, key), strict=True):
        np.testing.assert_array_equal(made, expected)
