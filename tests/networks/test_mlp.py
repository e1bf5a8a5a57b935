import jax
import jax.numpy as jnp
import numpy as np
import pytest

from recon.errors import ReconError
from recon.networks import MLP, dense_layers, from_params, named, relu, softplus
from tests.networks.test_activations import PLAIN


def numpy_forward(network, params, x):
    h = np.asarray(x, np.float64).reshape(len(x), -1)
    dense = dense_layers(params)
    for i, (kernel, bias) in enumerate(dense):
        ntk = network.parametrisation == "ntk"
        z = h @ np.asarray(kernel, np.float64) * (network.w_std / np.sqrt(h.shape[1]) if ntk else 1)
        if bias is not None:
            z = z + np.asarray(bias, np.float64) * (network.b_std if ntk else 1)
        h = z if i == len(dense) - 1 else PLAIN[network.activation](z)
    return h


@pytest.mark.parametrize("parametrisation", ["standard", "ntk"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("widths", [(7,), (7, 5), (6, 5, 4)])
def test_apply_and_layers(x64, rng, parametrisation, bias, widths):
    network = MLP(widths, outputs=3, bias=bias, parametrisation=parametrisation, w_std=1.3, b_std=0.4)
    params = network.init(jax.random.key(0), 8)
    params = jax.tree.map(lambda a: a + 0.1 * rng.normal(size=a.shape), params)
    x = rng.normal(size=(4, 2, 2, 2))
    np.testing.assert_allclose(network.apply(params, x), numpy_forward(network, params, x), rtol=1e-12)
    for activation in (relu, softplus(15.0)):
        layers = network.layers(params, x, activation)
        weights = rng.normal(size=(4, 3))
        weighted = network.layers(params, x, activation, weights)
        jacobian = jax.jacrev(lambda p, act=activation: network.apply(p, x, act))(params)
        for i in range(len(widths) + 1):
            scale, bias_scale = network.scales(layers.inputs[i].shape[1])
            kernel = scale * jnp.einsum("ni,nco->ncio", layers.inputs[i], layers.deltas[i])
            np.testing.assert_allclose(kernel, jacobian[f"Dense_{i}"]["kernel"], atol=1e-12)
            if bias:
                np.testing.assert_allclose(bias_scale * layers.deltas[i], jacobian[f"Dense_{i}"]["bias"], atol=1e-12)
            mixed = jnp.einsum("nc,nco->no", weights, layers.deltas[i])
            np.testing.assert_allclose(weighted.deltas[i], mixed, atol=1e-12)


@pytest.mark.parametrize(
    ("rule", "std"),
    [("lecun", 1 / 20), ("he", np.sqrt(2) / 20), ("glorot", np.sqrt(2 / 900)), ("uniform", 1 / np.sqrt(1200))],
)
def test_initialisers(rule, std):
    params = MLP((500,), init_rule=rule).init(jax.random.key(1), 400)
    kernel = np.asarray(params["Dense_0"]["kernel"])
    assert kernel.std() == pytest.approx(std, rel=0.01)
    assert abs(kernel.mean()) < 3 * std / np.sqrt(kernel.size)
    bias = np.asarray(params["Dense_0"]["bias"])
    if rule == "uniform":
        assert abs(kernel).max() <= 1 / 20
        assert abs(bias).max() <= 1 / 20
        assert bias.std() == pytest.approx(std, rel=0.1)
    else:
        assert not np.any(bias)


@pytest.mark.parametrize("name", PLAIN)
def test_activations(x64, rng, name):
    network = MLP((7, 5), outputs=2, activation=name)
    params = network.init(jax.random.key(0), 8)
    jax.tree.map(np.testing.assert_array_equal, params, MLP((7, 5), outputs=2).init(jax.random.key(0), 8))
    params = jax.tree.map(lambda a: a + 0.1 * rng.normal(size=a.shape), params)
    x = rng.normal(size=(4, 8))
    np.testing.assert_allclose(network.apply(params, x), numpy_forward(network, params, x), rtol=1e-12)
    np.testing.assert_array_equal(network.apply(params, x), MLP((7, 5), outputs=2).apply(params, x, named(name)))
    layers = network.layers(params, x)
    np.testing.assert_allclose(layers.outputs, network.apply(params, x), rtol=1e-12)
    jacobian = jax.jacrev(lambda p: network.apply(p, x))(params)
    for i in range(3):
        kernel = jnp.einsum("ni,nco->ncio", layers.inputs[i], layers.deltas[i])
        np.testing.assert_allclose(kernel, jacobian[f"Dense_{i}"]["kernel"], atol=1e-12)


def test_softplus_tends_to_relu_and_its_slope_is_its_derivative():
    z = jnp.linspace(-2, 2, 101)
    np.testing.assert_allclose(softplus(1e4).value(z), relu.value(z), atol=1e-4)
    for beta in (1.0, 30.0):
        slope = jax.vmap(jax.grad(softplus(beta).value))(z)
        np.testing.assert_allclose(softplus(beta).slope(z), slope, atol=1e-6)


def test_from_params_round_trip():
    for network in (MLP((5, 4), outputs=2), MLP((5,), bias=False)):
        assert from_params(network.init(jax.random.key(0), 3)) == network


def tree(*shapes, **extra):
    made = {f"Dense_{i}": {"kernel": np.ones(s), "bias": np.ones(s[-1])} for i, s in enumerate(shapes)}
    return made | extra


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({}, "must be a tree"),
        (tree((3, 4)), "no hidden layer"),
        (tree((3, 4), (5, 1)), "must be \\(in, out\\) with in = 4"),
        (tree((3, 4), (4, 1), Conv_0={"kernel": np.ones((3, 3))}), "not of a plain MLP"),
        (tree((3, 4), (4, 1), Dense_3={"kernel": np.ones((1, 1))}), "without a gap"),
        (tree((3, 4), (4, 1)) | {"Dense_1": {"kernel": np.ones((4, 1)), "bias": np.ones(2)}}, "bias is"),
        (tree((3, 4), (4, 1)) | {"Dense_1": {"kernel": np.ones((4, 1))}}, "all of them or none"),
        (tree((3, 4), (4, 1)) | {"Dense_1": {"bias": np.ones(1)}}, "must hold a 'kernel'"),
    ],
)
def test_from_params_refuses_what_it_cannot_read(params, message):
    with pytest.raises(ReconError, match=message):
        from_params(params)


def test_impossible_networks():
    with pytest.raises(ReconError, match="Unknown initialiser"):
        MLP((4,), init_rule="orthogonal").init(jax.random.key(0), 3)
    with pytest.raises(ReconError, match="at least 1"):
        MLP((0,)).init(jax.random.key(0), 3)
