import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from recon import ReconError
from recon.arrays import enable_x64
from recon.kernels import ntk
from recon.kernels.infinite import InfiniteMLP
from recon.kernels.neural_tangents import infinite_kernels
from recon.networks import MLP, named

NETWORKS = [
    InfiniteMLP(),
    InfiniteMLP(depth=1, w_std=1.4, b_std=0.3),
    InfiniteMLP(depth=3, w_std=1.4),
    InfiniteMLP(depth=4, w_std=0.8, b_std=0.5),
    InfiniteMLP(depth=3, w_std=1.4, b_std=0.3, activation="leaky_relu:0.3"),
]


def degenerate(rng):
    """Images of which some are equal, opposite, scaled, nearly equal or orthogonal to others."""
    x = rng.normal(size=(4, 12))
    odd = np.stack([x[0], -x[0], 3 * x[1], -0.2 * x[2], x[3] + 1e-9 * rng.normal(size=12), np.eye(12)[0]])
    return x, odd


@pytest.mark.neural_tangents
@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_equals_neural_tangents(x64, rng, network):
    x, odd = degenerate(rng)
    others = np.concatenate([rng.normal(size=(5, 12)), odd, *([np.zeros((1, 12))] if network.b_std else [])])
    for a, b in ((x, others), (others, x), (others, others)):
        for ours, theirs in zip(network.both(a, b), infinite_kernels(network, a, b), strict=True):
            # Opposite images without biases: the kernel is zero, up to rounding.
            np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-13)
    for own, pair in zip(network.both(others), network.both(others, others), strict=True):
        np.testing.assert_allclose(own, pair, rtol=1e-7, atol=1e-13)


def by_hand(network, x1, x2):
    """The recursion image by image, in plain Python numbers."""
    w, b, s = network.w_std**2, network.b_std**2, named(network.activation).leak

    def positive(angle):
        """E[relu relu'] and E[relu' relu'] of normal variables of variance 1 at an angle."""
        return np.array([np.sin(angle) + (np.pi - angle) * np.cos(angle), np.pi - angle]) / (2 * np.pi)

    def both(angle):
        """The same of relu(z) − s relu(−z): products of opposite signs are at the other angle."""
        value, slope = (1 + s**2) * positive(angle) + np.array([-2, 2]) * s * positive(np.pi - angle)
        return value, slope

    found = np.zeros((2, len(x1), len(x2)))
    for i, u in enumerate(x1):
        for j, v in enumerate(x2):
            uu, vv, uv = (w * np.dot(s, t) / len(s) + b for s, t in ((u, u), (v, v), (u, v)))
            tangent = uv
            for _ in range(network.depth):
                angle = np.arccos(np.clip(uv / np.sqrt(uu * vv), -1, 1))
                value, slope = both(angle)
                uv, tangent = w * np.sqrt(uu * vv) * value + b, w * slope * tangent
                tangent, uu, vv = tangent + uv, *(w * z * (1 + s**2) / 2 + b for z in (uu, vv))
            found[:, i, j] = uv, tangent
    return found


@pytest.mark.parametrize("network", NETWORKS, ids=str)
@pytest.mark.parametrize(("dtype", "rtol"), [(np.float32, 2e-5), (np.float64, 1e-10)])
def test_equals_the_recursion_image_by_image(rng, network, dtype, rtol):
    with enable_x64(dtype == np.float64):
        x1, x2 = rng.normal(size=(5, 2, 3, 2)).astype(dtype), rng.normal(size=(4, 2, 3, 2)).astype(dtype)
        x2[0], x2[1] = x1[0], 2 * x1[1]
        found = network.both(x1, x2)
        assert found.ntk.dtype == dtype
        expected = by_hand(network, *(np.float64(x).reshape(len(x), -1) for x in (x1, x2)))
        # Rounding of a cosine near 1 shows in the angle as its square root.
        np.testing.assert_allclose(found, expected, rtol=max(rtol, 1e-7))
        np.testing.assert_array_equal(network.nngp(x1, x2), found.nngp)
        np.testing.assert_array_equal(network.ntk(x1, x2), found.ntk)
        many = jax.vmap(network.ntk, (0, None))(jnp.stack([x1, x1 + 1]), x2)
        np.testing.assert_allclose(many[0], found.ntk, rtol=rtol)


@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_gradients_equal_finite_differences_also_at_parallel_images(x64, rng, network):
    x, odd = degenerate(rng)
    odd = np.delete(odd, 4, axis=0)  # nearly equal: the difference quotient would step across
    weights = rng.normal(size=(2, 4, len(odd)))
    f = jax.jit(lambda v: sum(jnp.sum(w * k) for w, k in zip(weights, network.both(x, v), strict=True)))
    gradient = jax.grad(f)(odd)
    h = 1e-4  # rounding of a cosine near 1 is divided by h twice
    for i in range(len(odd)):
        for j in range(0, 12, 3):
            step = np.zeros(odd.shape)
            step[i, j] = h
            # At a parallel image the kernel has a kink, of which both take the mean of the two sides.
            assert float(gradient[i, j]) == pytest.approx(float(f(odd + step) - f(odd - step)) / (2 * h), abs=1e-5)

    own = jax.grad(lambda v: jnp.sum(weights[0, :, :4] * network.ntk(v)))(x)
    step = h * rng.normal(size=x.shape)
    up, down = (jnp.sum(weights[0, :, :4] * network.ntk(x + s * step)) for s in (1, -1))
    assert float(jnp.sum(own * step)) == pytest.approx(float(up - down) / 2, rel=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_no_gradient_is_nan(rng, network, dtype):
    with enable_x64(dtype == np.float64):
        x, odd = degenerate(rng)
        a = np.concatenate([x, odd, np.zeros((2, 12))]).astype(dtype)
        for f in (lambda v: network.ntk(v).sum(), lambda v: network.ntk(v, a).sum(), lambda v: network.ntk(a, v).sum()):
            value, gradient = jax.value_and_grad(f)(a)
            assert np.isfinite(value)
            assert np.isfinite(gradient).all()
            assert np.abs(gradient).max() < 100  # nothing close to 1/√(1 − ρ²) at ρ = 1


@pytest.mark.parametrize("bias", [True, False])
def test_wide_networks_come_close(rng, bias):
    network = InfiniteMLP(depth=2, w_std=1.3, b_std=0.4 if bias else 0.0)
    wide = MLP((1024, 1024), parametrisation="ntk", w_std=1.3, b_std=network.b_std, bias=bias)
    x = rng.normal(size=(4, 8)).astype(np.float32)
    draws = np.stack([ntk(wide, wide.init(key, 8), x)[:, 0, :, 0] for key in jax.random.split(jax.random.key(0), 24)])
    error = draws.std(axis=0, ddof=1) / np.sqrt(len(draws))
    expected = network.ntk(x)
    # Four standard errors, and the finite width's own shift of order 1/W.
    assert (np.abs(draws.mean(axis=0) - expected) < 4 * error + 4 / 1024 * np.abs(expected)).all()


@given(
    seed=st.integers(0, 10**6),
    n=st.integers(2, 9),
    depth=st.integers(1, 4),
    w_std=st.floats(0.3, 3),
    b_std=st.sampled_from([0.0, 0.1, 1.0]),
)
@example(seed=561, n=8, depth=1, w_std=1.75, b_std=0.0)  # two images 175° apart: an entry of 1e-5 from terms near 1
@settings(max_examples=25, deadline=None)
def test_symmetric_and_positive_semi_definite(seed, n, depth, w_std, b_std):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3)) * rng.lognormal(sigma=2, size=(n, 1))
    x[-1] = x[0] * rng.choice([0, 1, -1, 2])
    with enable_x64():
        for kernel in map(np.asarray, InfiniteMLP(depth, w_std, b_std).both(x)):
            # Rounding is of the terms' size, √(K(x, x) K(x', x')): nearly opposite images have far smaller entries.
            scale = np.sqrt(np.outer(kernel.diagonal(), kernel.diagonal()))
            assert (np.abs(kernel - kernel.T) <= 1e-12 * scale).all()
            assert np.linalg.eigvalsh(kernel)[0] > -1e-10 * np.trace(kernel)


@pytest.mark.parametrize("options", [{"depth": 0}, {"w_std": 0.0}, {"b_std": -1.0}, {"w_std": float("nan")}])
def test_what_is_no_network_is_refused(options):
    with pytest.raises(ReconError, match="no network"):
        InfiniteMLP(**options)


def test_activations_without_a_kernel_are_refused():
    for activation in ("gelu", "tanh"):
        with pytest.raises(
            ReconError, match=rf"of infinitely wide {activation} networks is not known here: choose relu"
        ):
            InfiniteMLP(activation=activation)
    assert InfiniteMLP(activation="leaky_relu") == InfiniteMLP(activation="leaky_relu:0.01")
