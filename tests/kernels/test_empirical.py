import jax
import numpy as np
import pytest

from recon.kernels import as_matrix, kernel_distance, ntk, ntk_by_jacobian
from recon.kernels.neural_tangents import empirical_ntk
from recon.networks import MLP
from tests.networks.test_activations import PLAIN


@pytest.mark.neural_tangents
@pytest.mark.parametrize(
    ("parametrisation", "outputs", "bias", "widths"),
    [
        ("standard", 2, True, (9, 7)),
        ("standard", 1, False, (8, 7, 6)),
        ("ntk", 2, True, (9, 7)),
        ("ntk", 3, False, (9,)),
    ],
)
def test_layerwise_kernel(x64, rng, parametrisation, outputs, bias, widths):
    network = MLP(widths, outputs=outputs, bias=bias, parametrisation=parametrisation, w_std=1.2, b_std=0.3)
    params = network.init(jax.random.key(0), 12)
    x1, x2 = rng.normal(size=(5, 2, 3, 2)), rng.normal(size=(4, 2, 3, 2))
    kernel = ntk(network, params, x1, x2)
    assert kernel.shape == (5, outputs, 4, outputs)
    np.testing.assert_allclose(kernel, ntk_by_jacobian(network, params, x1, x2), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(kernel, empirical_ntk(network, params, x1, x2), rtol=1e-10, atol=1e-12)
    own = as_matrix(ntk(network, params, x1))
    np.testing.assert_allclose(own, own.T, rtol=1e-12)
    assert np.linalg.eigvalsh(own)[0] > -1e-10


@pytest.mark.neural_tangents
@pytest.mark.parametrize("activation", PLAIN)
def test_kernels_of_activations(x64, rng, activation):
    network = MLP((9, 8), outputs=2, activation=activation)
    params = network.init(jax.random.key(0), 12)
    x1, x2 = rng.normal(size=(5, 12)), rng.normal(size=(4, 12))
    kernel = ntk(network, params, x1, x2)
    np.testing.assert_allclose(kernel, empirical_ntk(network, params, x1, x2), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(kernel, ntk_by_jacobian(network, params, x1, x2), rtol=1e-10, atol=1e-12)
    np.testing.assert_array_equal(kernel, ntk(MLP((9, 8), outputs=2), params, x1, x2, network.units))


def test_kernel_against_finite_differences(x64, rng):
    network = MLP((6, 5), outputs=2)
    params = network.init(jax.random.key(0), 4)
    x = rng.normal(size=(3, 4))
    leaves, shape = jax.tree.flatten(params)
    columns = []
    for i, leaf in enumerate(leaves):
        for j in range(leaf.size):
            step = np.zeros(leaf.size)
            step[j] = 1e-6
            up, down = (
                jax.tree.unflatten(shape, [*leaves[:i], leaf + s * step.reshape(leaf.shape), *leaves[i + 1 :]])
                for s in (1, -1)
            )
            columns.append((network.apply(up, x) - network.apply(down, x)).ravel() / 2e-6)
    jacobian = np.stack(columns, axis=1)
    np.testing.assert_allclose(as_matrix(ntk(network, params, x)), jacobian @ jacobian.T, rtol=1e-6, atol=1e-7)


def test_kernel_distance(x64, rng):
    a = rng.normal(size=(5, 5))
    k = a @ a.T
    assert float(kernel_distance(k, 3 * k)) == pytest.approx(0, abs=1e-12)
    assert float(kernel_distance(np.diag([1.0, 0]), np.diag([0, 1.0]))) == pytest.approx(1)
    other = k + 0.1 * np.eye(5)
    by_hand = 1 - (k * other).sum() / np.sqrt((k**2).sum() * (other**2).sum())
    assert float(kernel_distance(k, other)) == pytest.approx(by_hand, rel=1e-9)
