import jax
import numpy as np
import pytest
from jaxtyping import TypeCheckError

import recon
from recon import ReconError
from recon.kernels.infinite import InfiniteMLP, InfiniteNetwork
from recon.kernels.infinite_cnn import InfiniteCNN
from recon.networks import named

NETWORKS = [
    InfiniteCNN(),
    InfiniteCNN(depth=1, w_std=1.4, b_std=0.3),
    InfiniteCNN(depth=2, filter=3, readout="pool", w_std=1.3, b_std=0.2),
]


def by_hand(network, u, v):
    """NNGP and NTK of a pair, pixel pair by pixel pair, in plain NumPy: covariances (h, w, h, w)."""
    (h, wide, c), r = u.shape, network.filter // 2
    w2, b2 = network.w_std**2, network.b_std**2

    def inner(s, t):
        return np.einsum("ijc,klc->ijkl", s, t) / c

    def spread(k):
        """Mean over the filter's offsets, zeros around, both images shifted alike."""
        out = np.zeros_like(k)
        padded = np.pad(k, r)
        for i in range(-r, r + 1):
            for j in range(-r, r + 1):
                i0, j0 = r + i, r + j
                out += padded[i0 : i0 + h, j0 : j0 + wide, i0 : i0 + h, j0 : j0 + wide]
        return out / network.filter**2

    def convolved(k):
        return w2 * spread(k) + b2

    def relu(uv, uu, vv):
        """E[relu relu'] and E[relu' relu'] of jointly normal pre-activations."""
        size = np.sqrt(np.einsum("ijij->ij", uu)[:, :, None, None] * np.einsum("ijij->ij", vv))
        rho = np.clip(uv / np.where(size > 0, size, 1), -1, 1)
        angle = np.arccos(rho)
        return size * (np.sin(angle) + (np.pi - angle) * rho) / (2 * np.pi), (np.pi - angle) / (2 * np.pi)

    uv, uu, vv = (convolved(inner(*pair)) for pair in ((u, v), (u, u), (v, v)))
    tangent = uv
    for layer in range(network.depth):
        post, slope = relu(uv, uu, vv)
        uu, vv = relu(uu, uu, uu)[0], relu(vv, vv, vv)[0]
        tangent = slope * tangent
        if layer < network.depth - 1:
            tangent = w2 * spread(tangent) + convolved(post)
            uv, uu, vv = (convolved(k) for k in (post, uu, vv))
    read = (lambda k: np.einsum("ijij->", k) / (h * wide)) if network.readout == "flatten" else np.mean
    nngp = w2 * read(post) + b2
    return nngp, w2 * read(tangent) + nngp


@pytest.mark.neural_tangents
@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_equals_the_recursion_pixel_by_pixel(x64, rng, network):
    x1, x2 = rng.normal(size=(2, 4, 3, 2)), rng.normal(size=(3, 4, 3, 2))
    expected = np.array([[by_hand(network, u, v) for v in x2] for u in x1])
    for k, ours in enumerate(jax.jit(network.both)(x1, x2)):
        np.testing.assert_allclose(ours, expected[..., k], rtol=1e-6)
    np.testing.assert_allclose(jax.jit(network.ntk)(x1), jax.jit(network.ntk)(x1, x1), rtol=1e-6)
    assert isinstance(network, InfiniteNetwork)


@pytest.mark.neural_tangents
def test_images_of_one_pixel_see_a_dense_network(x64, rng):
    cnn, mlp = InfiniteCNN(depth=3, filter=1, w_std=1.4, b_std=0.3), InfiniteMLP(depth=3, w_std=1.4, b_std=0.3)
    x1, x2 = rng.normal(size=(4, 1, 1, 5)), rng.normal(size=(3, 1, 1, 5))
    for ours, dense in zip(cnn.both(x1, x2), mlp.both(x1, x2), strict=True):
        np.testing.assert_allclose(ours, dense, rtol=1e-6)
    np.testing.assert_allclose(cnn.nngp(x1, x2), mlp.nngp(x1, x2), rtol=1e-6)


@pytest.mark.neural_tangents
@pytest.mark.parametrize("activation", ["leaky_relu:0.2", "gelu"])
def test_kernels_of_activations_are_expectations(x64, rng, activation):
    network = InfiniteCNN(depth=1, filter=1, w_std=1.4, b_std=0.3, activation=activation)
    u, v = rng.normal(size=(2, 5))
    covariance = 1.4**2 / 5 * np.array([[u @ u, u @ v], [u @ v, v @ v]]) + 0.3**2
    nodes, weights = np.polynomial.hermite_e.hermegauss(200)
    z = np.linalg.cholesky(covariance) @ np.stack(np.meshgrid(nodes, nodes, indexing="ij")).reshape(2, -1)
    weights = np.outer(weights, weights).ravel() / (2 * np.pi)
    value, slope = (weights @ np.prod(f(z), axis=0) for f in (named(activation).value, named(activation).slope))
    nngp = 1.4**2 * value + 0.3**2
    found = network.both(u.reshape(1, 1, 1, 5), v.reshape(1, 1, 1, 5))
    # The quadrature smooths the kink's slope a little.
    rtol = 1e-8 if activation == "gelu" else 2e-2
    np.testing.assert_allclose(found, [[[nngp]], [[nngp + 1.4**2 * slope * covariance[0, 1]]]], rtol=rtol)


def test_activations_without_a_closed_form_are_refused():
    with pytest.raises(ReconError, match="of infinitely wide tanh networks has no closed form: choose relu"):
        InfiniteCNN(activation="tanh")


@pytest.mark.neural_tangents
@pytest.mark.parametrize("method", ["kip", "rkip"])
def test_distils_digits(rng, method):
    kernel = InfiniteCNN(depth=1)
    x = np.zeros((6, 6, 6, 1), np.float32)  # patches of nothing, as in digits
    x[:, 1:4, 1:4] = rng.normal(size=(6, 3, 3, 1))
    y = np.where(np.arange(6) < 3, -1.0, 1.0)[:, None]
    made = recon.distill((x, y), 1, method=method, kernel=kernel, steps=30, progress=False)
    assert made.loss < 0.7 * made.trace[0, 1]
    assert made.settings["kernel"]["filter"] == 3


@pytest.mark.parametrize("options", [{"depth": 0}, {"filter": 0}, {"w_std": 0.0}, {"b_std": -1.0}, {"readout": "mean"}])
def test_what_is_no_network_is_refused(options):
    with pytest.raises((ReconError, TypeCheckError), match=r"no network|readout"):
        InfiniteCNN(**options)
