import jax
import jax.numpy as jnp
import numpy as np
import pytest

from recon.errors import ReconError
from recon.kernels import compiled_ntk
from recon.kernels.neural_tangents import empirical_ntk
from recon.networks import named, softplus
from recon.networks.conv import CNN

NETWORKS = [
    (CNN((5, 4), outputs=2), (8, 8, 3)),
    (CNN((5, 4), down="average"), (9, 8, 1)),
    (CNN((4, 3), size=2, stride=3), (10, 7, 2)),
    (CNN((5, 4), patch=4), (8, 12, 2)),
]


def weights(network, shape, rng):
    """Random weights and biases of the network's shapes, float64."""
    shapes = jax.eval_shape(lambda key: network.init(key, shape), jax.random.key(0))
    return jax.tree.map(lambda a: rng.normal(size=a.shape) / np.sqrt(a.size), shapes)


def by_lax(network, params, x):
    """The same network by XLA's own convolution and pooling."""
    h = x
    for i in range(len(network.widths)):
        embed = network.patch is not None and i == 0
        pool = network.down == "average" and not embed
        step = network.patch if embed else 1 if pool else network.stride
        kernel, bias = params[f"Conv_{i}"]["kernel"], params[f"Conv_{i}"]["bias"]
        h = jax.lax.conv_general_dilated(
            h, kernel, (step, step), "VALID" if embed else "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        h = jnp.maximum(h + bias, 0)
        if pool:
            s = (1, network.stride, network.stride, 1)
            h = jax.lax.reduce_window(h, 0.0, jax.lax.add, s, s, "VALID") / network.stride**2
    return h.reshape(len(x), -1) @ params["Dense_0"]["kernel"] + params["Dense_0"]["bias"]


@pytest.mark.parametrize(("network", "shape"), NETWORKS)
def test_outputs_equal_those_of_xlas_convolutions(x64, rng, network, shape):
    params, x = weights(network, shape, rng), rng.normal(size=(3, *shape))
    ours, theirs = jax.jit(lambda p, x: (network.apply(p, x), by_lax(network, p, x)))(params, x)
    np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)


def test_a_layer_by_loops(x64, rng):
    network, shape = CNN((3,), stride=2), (4, 5, 2)
    params, x = weights(network, shape, rng), rng.normal(size=(1, *shape))
    kernel, bias = (np.asarray(params["Conv_0"][k]) for k in ("kernel", "bias"))
    # 4 rows: one row of zeros, below; 5 columns: one on either side, as TensorFlow and Flax place them.
    edged = np.pad(x[0], ((0, 1), (1, 1), (0, 0)))
    h = np.zeros((2, 3, 3))
    for a in range(2):
        for b in range(3):
            for k in range(3):
                total = bias[k]
                for i in range(3):
                    for j in range(3):
                        for c in range(2):
                            total += edged[2 * a + i, 2 * b + j, c] * kernel[i, j, c, k]
                h[a, b, k] = max(total, 0)
    dense = params["Dense_0"]
    expected = h.ravel() @ np.asarray(dense["kernel"]) + np.asarray(dense["bias"])
    np.testing.assert_allclose(jax.jit(network.apply)(params, x)[0], expected, rtol=1e-12)


def test_gradients_by_finite_differences(x64, rng):
    network, shape = CNN((4, 3), outputs=2), (6, 6, 1)
    params, x = weights(network, shape, rng), rng.normal(size=(2, *shape))
    a = rng.normal(size=(2, 2))

    @jax.jit
    def f(params, x):
        return jnp.vdot(a, network.apply(params, x, softplus(5.0)))

    tree = jax.tree.map(lambda v: rng.normal(size=v.shape), params)
    towards = rng.normal(size=x.shape)
    _, slope = jax.jit(lambda *at: jax.jvp(f, at, (tree, towards)))(params, x)
    gradient = jax.jit(jax.grad(f, argnums=(0, 1)))(params, x)
    e = 1e-5

    def moved(s):
        return f(jax.tree.map(lambda p, t: p + s * t, params, tree), x + s * towards)

    numeric = float(moved(e) - moved(-e)) / (2 * e)
    inner = sum(float(np.vdot(g, t)) for g, t in zip(jax.tree.leaves(gradient), jax.tree.leaves((tree, towards))))
    assert float(slope) == pytest.approx(numeric, rel=1e-6)
    assert inner == pytest.approx(numeric, rel=1e-6)


@pytest.mark.neural_tangents
def test_kernel_equals_neural_tangents(x64, rng):
    network, shape = CNN((4, 3), outputs=2), (6, 6, 1)
    params = weights(network, shape, rng)
    x1, x2 = rng.normal(size=(3, *shape)), rng.normal(size=(2, *shape))
    np.testing.assert_allclose(
        compiled_ntk(network, params, x1, x2), empirical_ntk(network, params, x1, x2), rtol=1e-10, atol=1e-12
    )


def test_other_activations(rng):
    network, shape = CNN((4, 3), activation="tanh"), (6, 6, 1)
    params, x = weights(network, shape, rng), rng.normal(size=(3, *shape))
    found = network.apply(params, x)
    np.testing.assert_array_equal(found, CNN((4, 3)).apply(params, x, named("tanh")))
    assert not np.allclose(found, CNN((4, 3)).apply(params, x))


def test_initial_weights_are_lecun_normal():
    params = jax.jit(lambda key: CNN((64, 128)).init(key, (8, 8, 3)))(jax.random.key(0))
    assert {k: v["kernel"].shape for k, v in params.items()} == {
        "Conv_0": (3, 3, 3, 64),
        "Conv_1": (3, 3, 64, 128),
        "Dense_0": (2 * 2 * 128, 1),
    }
    for name, fan_in in (("Conv_0", 27), ("Conv_1", 9 * 64), ("Dense_0", 512)):
        assert float(params[name]["kernel"].std()) == pytest.approx(fan_in**-0.5, rel=0.1)
        assert not params[name]["bias"].any()


@pytest.mark.parametrize(
    ("network", "shape", "message"),
    [
        (CNN((4,)), 64, "takes images of a shape"),
        (CNN((4, 0)), (8, 8, 1), "at least 1"),
        (CNN((4,), patch=3), (8, 8, 1), "do not tile"),
        (CNN((4, 4), down="average"), (3, 3, 1), "too small"),
    ],
)
def test_impossible_networks(network, shape, message):
    with pytest.raises(ReconError, match=message):
        network.init(jax.random.key(0), shape)
