import jax
import numpy as np
import pytest

from recon.arrays import enable_x64
from recon.dynamics import Linearised, train
from recon.dynamics.base import outputs
from recon.dynamics.losses import LinearisedLossDescent, LossDescent, losses, remaining, undecayed
from recon.errors import ReconError
from tests.conftest import flat, small_problem

BINARY = ("mse", "logistic", "exponential")


def targets(n, c, seed=0):
    """Task targets: ±1, or one-hot − 1/C."""
    labels = np.random.default_rng(seed).integers(max(c, 2), size=n)
    return (2.0 * labels[:, None] - 1 if c == 1 else np.eye(c)[labels] - 1 / c).astype(np.float32)


def problem(objective, n=5):
    network, params0, x, _ = small_problem(n=n, outputs=3 if objective == "softmax" else 1)
    return network, params0, x, targets(n, network.outputs)


def by_hand(objective, f, y):
    """ℓ and ∂ℓ/∂f in NumPy, from the textbook."""
    if objective == "mse":
        return 0.5 * ((f - y) ** 2).sum(1), f - y
    if objective == "logistic":
        return np.log1p(np.exp(-y * f))[:, 0], -y / (1 + np.exp(y * f))
    if objective == "exponential":
        return np.exp(-y * f)[:, 0], -y * np.exp(-y * f)
    p = np.exp(f) / np.exp(f).sum(1, keepdims=True)
    hot = (y == y.max(1, keepdims=True)).astype(float)
    return -np.log((p * hot).sum(1)), p - hot


@pytest.mark.parametrize("objective", [*BINARY, "softmax"])
def test_losses_are_the_textbook_ones(x64, rng, objective):
    c = 4 if objective == "softmax" else 1
    f, y = rng.normal(size=(6, c)), targets(6, c).astype(float)
    value, slope = by_hand(objective, f, y)
    np.testing.assert_allclose(losses(objective, f, y), value, rtol=1e-10)
    found = jax.grad(lambda f: losses(objective, f, y).sum())(f)
    np.testing.assert_allclose(found, slope, rtol=1e-8, atol=1e-12)
    step = np.zeros_like(f)
    step[2, 0] = 1e-6
    ahead, back = (float(losses(objective, f + s * step, y).sum()) for s in (1, -1))
    assert float(found[2, 0]) == pytest.approx((ahead - back) / 2e-6, rel=1e-6)


def jacobian(network, params, x):
    with enable_x64():
        wide = jax.tree.map(lambda a: np.asarray(a, np.float64), params)
        blocks = jax.tree.leaves(jax.jacrev(lambda p: network.apply(p, np.float64(x)))(wide))
        f0 = np.asarray(network.apply(wide, np.float64(x)))
        return np.concatenate([np.asarray(b).reshape(f0.size, -1) for b in blocks], axis=1), f0


@pytest.mark.parametrize("objective", [*BINARY, "softmax"])
@pytest.mark.parametrize("decay", [0.0, 0.02])
def test_taylor_model_is_descended_and_its_duals_explain_the_change(objective, decay):
    network, params0, x, y = problem(objective)
    rule = LinearisedLossDescent(objective=objective, weight_decay=decay, loss=0.05, max_steps=150)
    trained = train(network, params0, x, y, rule)
    steps = trained.final.step
    assert 3 < steps <= 150
    # The same in weight space, in a plain NumPy loop.
    j, f0 = jacobian(network, params0, x)
    theta0, eta = flat(params0), trained.final.time / steps
    theta = theta0
    for _ in range(steps):
        _, slope = by_hand(objective, f0 + (j @ (theta - theta0)).reshape(f0.shape), np.float64(y))
        theta = (1 - eta * decay) * theta - eta / len(x) * j.T @ slope.ravel()
    np.testing.assert_allclose(flat(trained.final.params), theta, atol=1e-7, rtol=1e-6)
    # Δθ = Σ α ∇f once the decay is out.
    change = flat(undecayed(trained, decay)) - theta0
    explained = j.T @ trained.duals.ravel()
    assert np.linalg.norm(change - explained) < 1e-5 * np.linalg.norm(explained)
    left = np.linalg.norm(flat(trained.final.params) - theta0 - explained)
    assert (left > 0.01 * np.linalg.norm(explained)) == (decay > 0)
    assert remaining(trained, decay) == pytest.approx((1 - eta * decay) ** steps)


@pytest.mark.parametrize("objective", ["logistic", "softmax"])
def test_network_is_descended(objective):
    network, params0, x, y = problem(objective)
    rule = LossDescent(objective=objective, weight_decay=0.01, loss=0.2, max_steps=40)
    trained = train(network, params0, x, y, rule)
    steps = trained.final.step
    eta = trained.final.time / steps
    with enable_x64():
        params = jax.tree.map(lambda a: np.asarray(a, np.float64), params0)
        for _ in range(steps):
            f, pull = jax.vjp(lambda p: network.apply(p, np.float64(x)), params)
            (step,) = pull(by_hand(objective, np.asarray(f), np.float64(y))[1] / len(x))
            params = jax.tree.map(lambda a, g: a - eta * (g + 0.01 * a), params, step)
    np.testing.assert_allclose(flat(trained.final.params), flat(params), atol=1e-7, rtol=1e-6)
    f = outputs(network, params0, trained.final.params, x, linearised=False)
    assert trained.final.loss == pytest.approx(by_hand(objective, f, np.float64(y))[0].mean())
    assert trained.final.loss < trained.initial.loss


def test_small_steps_on_the_squared_error_follow_the_closed_form():
    network, params0, x, y = problem("mse")
    rule = LinearisedLossDescent(objective="mse", rate=0.05, loss=0.02)
    trained = train(network, params0, x, y, rule)
    flow = train(network, params0, x, y, Linearised(loss=trained.final.loss))
    moved = [flat(t.final.params) - flat(params0) for t in (trained, flow)]
    assert np.linalg.norm(moved[0] - moved[1]) < 0.02 * np.linalg.norm(moved[1])
    np.testing.assert_allclose(trained.loss_path, flow.loss_path, rtol=0.1)


def test_a_loss_of_other_outputs_is_refused():
    for objective in ("softmax", "logistic"):
        network, params0, x, y = problem("logistic" if objective == "softmax" else "softmax")
        with pytest.raises(ReconError, match="choose another one"):
            train(network, params0, x, y, LossDescent(objective=objective))


def test_it_stops_after_its_steps():
    network, params0, x, y = problem("logistic")
    trained = train(network, params0, x, y, LossDescent(max_steps=5))
    assert trained.final.step == 5
    assert "5 steps done" in trained.why
