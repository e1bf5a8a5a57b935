import jax
import jax.numpy as jnp
import numpy as np
import pytest

from recon import ReconError, reconstruct
from recon.attacks.dlg import inversion_loss
from recon.attacks.gradient_matching import Target, matching_loss, projected_loss
from recon.cells.early_stopping import first_step
from recon.metrics import distances, greedy
from recon.networks import relu, softplus
from tests.conftest import flat, small_problem

RATE = 0.02


def numpy_gradient(params, x, y):
    """∇_θ of the mean of ½‖f − y‖² of two hidden layers of ReLU, by hand in NumPy."""
    (w1, b1), (w2, b2), (w3, b3) = ((np.float64(params[k]["kernel"]), np.float64(params[k]["bias"])) for k in params)
    z1 = x @ w1 + b1
    z2 = np.maximum(z1, 0) @ w2 + b2
    d3 = (np.maximum(z2, 0) @ w3 + b3 - y) / len(x)
    d2 = (d3 @ w3.T) * (z2 > 0)
    d1 = (d2 @ w2.T) * (z1 > 0)
    pairs = (x, d1), (np.maximum(z1, 0), d2), (np.maximum(z2, 0), d3)
    return {f"Dense_{i}": {"kernel": h.T @ d, "bias": d.sum(0)} for i, (h, d) in enumerate(pairs)}


def test_one_step_shows_the_gradient_and_both_losses_are_zero_at_the_images(x64):
    network, params0, x, y = small_problem(n=4, outputs=2)
    step = first_step(network, params0, x, y, RATE, linearised=False)
    expected = numpy_gradient(params0, np.float64(x), np.float64(y))
    np.testing.assert_allclose(flat(step.params) - flat(params0), -RATE * flat(expected), atol=1e-7, rtol=1e-6)
    wide = jax.tree.map(lambda a: jnp.asarray(a, "float64"), params0)
    change = jax.tree.map(lambda g: -RATE * g, expected)
    assert float(inversion_loss(network, wide, expected, np.float64(x), np.float64(y), relu)) < 1e-25
    alpha = RATE * (y - network.apply(wide, np.float64(x)))
    assert float(matching_loss(Target(network, (wide,), change), np.float64(x), alpha[None], relu)) < 1e-25


def test_with_free_duals_it_is_the_reconstruction_loss_at_any_images(x64, rng):
    network, params0, x, y = small_problem(n=4, outputs=2)
    wide = jax.tree.map(lambda a: jnp.asarray(a, "float64"), params0)
    seen = numpy_gradient(params0, np.float64(x), np.float64(y))
    target = Target(network, (wide,), jax.tree.map(lambda g: -RATE * g, seen))
    norm = np.sum(flat(target.change) ** 2)
    activation = softplus(20.0)
    for _ in range(3):
        other, labels = jnp.asarray(rng.normal(size=(5, 12))), jnp.asarray(rng.normal(size=(5, 2)))
        alpha = RATE * (labels - network.apply(wide, other, activation))
        ours = float(inversion_loss(network, wide, seen, other, labels, activation))
        assert ours == pytest.approx(float(matching_loss(target, other, alpha[None], activation)) / norm, rel=1e-10)
        # So is what the best targets reach: the labels that the best duals stand for.
        least, duals = projected_loss(target, other, activation, ridge=0.0)
        best = network.apply(wide, other, activation) + duals[0] / RATE
        slope = jax.grad(lambda y, x=other: inversion_loss(network, wide, seen, x, y, activation))
        np.testing.assert_allclose(slope(best), 0, atol=1e-9)
        assert float(inversion_loss(network, wide, seen, other, best, activation)) == pytest.approx(
            float(least) / norm, rel=1e-8
        )


def test_images_and_targets_come_back_from_one_step():
    network, params0, x, y = small_problem(n=3, dim=10, widths=(128, 128))
    after = first_step(network, params0, x, y, 1e-2, linearised=False).params
    found = reconstruct(params0, after, attack="dlg", m=3, key=1, steps=600, progress=False)
    matched = greedy(distances(x, found.images))
    assert matched.distance.mean() < 0.25 * greedy(distances(x, found.start)).distance.mean()
    targets = network.apply(params0, found.images) + found.duals[0] / 1e-2
    assert np.mean(np.sign(targets[matched.index]) == y) == 1
    assert found.trace[-1, 1] < 1e-2


def test_impossible_settings_are_refused():
    network, params0, x, y = small_problem(n=3)
    after = first_step(network, params0, x, y, 1e-2, linearised=False).params
    for wrong in ({"steps": 2, "stages": 4}, {"stages": 0}, {"learning_rate": 0.0}):
        with pytest.raises(ReconError, match="at least one step"):
            reconstruct(params0, after, attack="dlg", m=3, progress=False, **wrong)
