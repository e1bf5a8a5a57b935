import jax
import jax.numpy as jnp
import numpy as np
import pytest

from recon import ReconError, reconstruct
from recon.attacks.adam import DescentSettings, Known
from recon.attacks.gradient_matching import Target, matching_loss
from recon.attacks.kkt import KKT, Stationarity, classes, margin_duals, smoothed
from recon.dynamics import train
from recon.dynamics.margin import Margin
from recon.metrics import distances, greedy
from recon.networks import named, relu
from tests.conftest import flat, small_problem


@pytest.mark.parametrize("outputs", [1, 3])
def test_loss_is_the_published_one(x64, rng, outputs):
    network, params, x, _ = small_problem(n=4, outputs=outputs)
    params = jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), params)
    x, multipliers, y = np.float64(x), rng.random(4), np.float64(classes(4, outputs))

    def margins(p):
        f = network.apply(p, x)
        if outputs == 1:
            return jnp.sum(multipliers * y[:, 0] * f[:, 0]) / 4
        rest = jnp.where(y > 0, -jnp.inf, f)
        return jnp.sum(multipliers * (jnp.sum(y * f, axis=1) - rest.max(axis=1))) / 4

    expected = np.sum((flat(params) - flat(jax.grad(margins)(params))) ** 2)
    duals = margin_duals(network.apply(params, x), multipliers, y)
    found = matching_loss(Target(network, (params,), params), x, duals[None], relu)
    assert float(found) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("objective", ["mse", "logistic"])
def test_what_is_descended_is_in_units_of_the_weights(rng, objective):
    network, params, x, _ = small_problem(n=4)
    of = KKT(objective=objective, least_dual=0.5, dual_weight=3.0, box_weight=2.0)
    known = Known((params,), params, None, (jnp.zeros(1), jnp.ones(1)))
    v = {"x": x, "duals": rng.random((4,) if objective == "logistic" else (4, 1)).astype(np.float32)}

    def loss(norm):
        return float(Stationarity(DescentSettings(), network, (12,), of, norm).loss(v, jnp.asarray(0.0), known))

    penalty = 2.0 * 4 * np.mean(np.maximum(x - 1, 0) ** 2 + np.maximum(-x, 0) ** 2)
    if objective == "logistic":
        penalty += 3.0 * np.mean(np.maximum(0.5 - v["duals"], 0) ** 2)
    target = Target(network, (params,), params)
    duals = Stationarity(DescentSettings(), network, (12,), of, 1.0).duals(v, known)
    missed = float(matching_loss(target, x, duals, smoothed(relu, of.sharpness)))
    assert loss(7.0) == pytest.approx(missed / 7 + penalty, rel=1e-4)


def test_surrogate_is_relu_with_a_sigmoid_for_its_derivative(rng):
    activation = smoothed(relu, 30.0)
    z = rng.normal(size=50).astype(np.float32)
    sigmoid = 1 / (1 + np.exp(-30 * np.float64(z)))
    np.testing.assert_array_equal(activation.value(z), np.maximum(z, 0))
    np.testing.assert_allclose(activation.slope(z), sigmoid, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(jax.vmap(jax.grad(activation.value))(z), sigmoid, rtol=1e-4, atol=1e-7)


def test_other_kinks_are_smoothed_alike_and_smooth_ones_are_themselves(rng):
    z = rng.normal(size=50).astype(np.float32)
    for own in map(named, ("leaky_relu:0.2", "tanh")):
        activation = smoothed(own, 30.0)
        np.testing.assert_array_equal(activation.value(z), own.value(z))
        np.testing.assert_allclose(activation.slope(z), own.smoothed(30.0).slope(z))
        np.testing.assert_allclose(jax.vmap(jax.grad(activation.value))(z), activation.slope(z), rtol=1e-5)


@pytest.fixture(scope="module")
def decayed():
    network, params0, x, _ = small_problem(n=3, dim=20, widths=(64,), outputs=3)
    rule = Margin(objective="mse", weight_decay=0.03, steps=2000)
    return params0, train(network, params0, x, np.eye(3, dtype=np.float32), rule).final.params, x


def test_images_come_back_without_the_initial_weights(decayed):
    params0, final, x = decayed
    call = {"attack": "kkt", "m": 6, "progress": False}
    found = reconstruct(params0, final, steps=2000, x_scale=0.2, **call)
    error = greedy(distances(x, found.images)).distance
    other = np.random.default_rng(1).normal(size=(3, 20)).astype(np.float32)
    assert error.mean() < 0.6 * greedy(distances(other, found.images)).distance.mean()
    assert error.mean() < 0.6 * greedy(distances(x, found.start)).distance.mean()
    for options in ({}, {"objective": "logistic"}, {"duals": "projected"}):
        unlike = jax.tree.map(lambda a: a + 1, params0)
        a, b = (reconstruct(first, final, steps=20, **options, **call) for first in (params0, unlike))
        np.testing.assert_array_equal(a.images, b.images)
        np.testing.assert_array_equal(a.duals, b.duals)
        assert a.duals.shape == (1, 6, 3)


def test_least_multipliers_are_kept(decayed):
    params0, final, _ = decayed
    call = {"attack": "kkt", "objective": "logistic", "m": 4, "steps": 500, "progress": False}
    free, held = (reconstruct(params0, final, least_dual=v, dual_weight=50.0, **call) for v in (0.0, 3.0))
    multipliers = [np.abs(found.duals[0]).max(axis=1) for found in (free, held)]
    assert multipliers[1].min() > 2.5 > multipliers[0].min()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"objective": "logistic", "duals": "projected"}, "have no sign"),
        ({"steps": 0}, "at least one step"),
    ],
)
def test_bad_options_are_refused(decayed, options, message):
    with pytest.raises(ReconError, match=message):
        reconstruct(*decayed[:2], attack="kkt", m=4, progress=False, **options)
