import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from recon import ReconError
from recon.arrays import enable_x64
from recon.cli import completion
from recon.networks import MLP, named, relu, softplus
from recon.networks.activations import NAMES

# Each by its definition, in plain NumPy.
PLAIN = {
    "relu": lambda z: np.maximum(z, 0),
    "leaky_relu:0.2": lambda z: np.maximum(z, 0) + 0.2 * np.minimum(z, 0),
    "gelu": lambda z: z * stats.norm.cdf(z),
    "silu": lambda z: z / (1 + np.exp(-z)),
    "tanh": np.tanh,
    "elu": lambda z: np.where(z > 0, z, np.exp(np.minimum(z, 0)) - 1),
    "softplus": lambda z: np.log(1 + np.exp(z)),
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
}
FAR = np.concatenate([np.linspace(-12, 12, 401) + 1e-3, [-700.0, -100.0, 100.0, 700.0]])  # no point is at a kink


@pytest.mark.parametrize("name", PLAIN)
def test_values_are_those_of_the_definition_and_derivatives_those_of_jax(x64, name):
    units, z = named(name), np.linspace(-12, 12, 400)
    np.testing.assert_allclose(units.value(jnp.asarray(z)), PLAIN[name](z), rtol=1e-12, atol=1e-15)
    first, second = jax.vmap(jax.grad(units.value)), jax.vmap(jax.grad(units.slope))
    np.testing.assert_allclose(units.slope(jnp.asarray(FAR)), first(FAR), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(units.curvature(jnp.asarray(FAR)), second(FAR), rtol=1e-10, atol=1e-12)
    h = 1e-5
    for function, derivative in ((PLAIN[name], units.slope), (units.slope, units.curvature)):
        np.testing.assert_allclose(derivative(z), (function(z + h) - function(z - h)) / (2 * h), atol=1e-8)


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numpy_is_answered_in_numpy_as_jax_is(name, dtype):
    units, z = named(name), np.append(FAR, 0).astype(dtype)
    with enable_x64(dtype == np.float64):
        for function in (units.value, units.slope, units.curvature):
            found, theirs = function(z), function(jnp.asarray(z))
            assert isinstance(found, np.ndarray)
            assert isinstance(theirs, jax.Array)
            assert found.dtype == theirs.dtype == dtype
            # Rounding of z² shows in exp(−z²/2) as many times itself.
            np.testing.assert_allclose(found, theirs, rtol=100 * np.finfo(dtype).eps, atol=10 * np.finfo(dtype).eps)
            slopes = jax.vmap(jax.grad(function))(jnp.asarray(z))
            assert np.isfinite(slopes).all()


@pytest.mark.parametrize("name", PLAIN)
def test_at_zero_the_slope_is_the_derivative_that_jax_takes(name):
    units = named(name)
    assert float(units.slope(jnp.zeros(()))) == float(jax.grad(units.value)(0.0))


@pytest.mark.parametrize("name", PLAIN)
def test_a_kink_is_smoothed_and_nothing_else(x64, name):
    units, z = named(name), np.linspace(-3, 3, 100)
    for beta in (3.0, 80.0):
        smooth = units.smoothed(beta)
        if name.split(":")[0] in ("relu", "leaky_relu"):
            np.testing.assert_allclose(smooth.value(z), units.value(z), atol=np.log(2) / beta)
            np.testing.assert_allclose(smooth.slope(z), jax.vmap(jax.grad(smooth.value))(z), rtol=1e-9)
            np.testing.assert_allclose(smooth.curvature(z), jax.vmap(jax.grad(smooth.slope))(z), rtol=1e-6, atol=1e-12)
            assert 0.1 * beta < float(smooth.curvature(np.zeros(()))) < beta
        else:
            assert smooth is units
    np.testing.assert_allclose(relu.smoothed(3.0).value(z), softplus(3.0).value(z))


def test_names():
    assert {name.split(":")[0] for name in PLAIN} == set(NAMES) == set(completion.activations())
    assert [named(name).name for name in NAMES] == [n if n != "leaky_relu" else "leaky_relu:0.01" for n in NAMES]
    assert MLP((4,), activation="leaky_relu:.20") == MLP((4,), activation="leaky_relu:0.2")
    assert MLP((4,), activation="leaky_relu:0.2") != MLP((4,)) == MLP((4,), activation="relu")
    assert named("leaky_relu:0.2").leak == 0.2
    for unknown in ("swish", "", "ReLU", "gelu:0.2"):
        fix = "did you mean gelu" if unknown == "gelu:0.2" else "choose one of relu, leaky_relu, gelu"
        with pytest.raises(ReconError, match=rf"Unknown activation .*: {fix}"):
            MLP((4,), activation=unknown)
    for slope in ("0", "1", "-0.2", "nan", "steep", ""):
        with pytest.raises(ReconError, match=r"no slope between 0 and 1: write leaky_relu:0\.2"):
            named(f"leaky_relu:{slope}")
