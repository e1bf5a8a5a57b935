import jax
import jax.flatten_util
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.linalg import expm

from recon.arrays import enable_x64
from recon.dynamics import Descent, GradientFlow, Linearised, flow, train
from recon.errors import ReconError
from tests.conftest import flat, small_problem


@given(st.floats(0, 1e4), st.floats(1e-6, 10), st.integers(1, 50))
def test_step_weights_are_the_integrals_they_stand_for(eigenvalue, tau, n):
    whole, rising = flow.step_weights(np.array([eigenvalue]), tau, n)
    rate = eigenvalue / n
    # Beyond 40 decay times the integrand is nothing; leaving it out keeps the quadrature exact.
    end = min(tau, 40 / rate) if rate > 0 else tau
    expected = [quad(lambda t, k=k: (t / tau) ** k * np.exp(-rate * t) / n, 0, end, epsrel=1e-10)[0] for k in (0, 1)]
    np.testing.assert_allclose([whole[0], rising[0]], expected, rtol=1e-6)


def test_a_step_takes_the_jacobian_as_linear_in_time(monkeypatch):
    monkeypatch.setattr(flow, "FIRST", 3.0)  # long enough that the ends of the step count unequally
    monkeypatch.setattr(flow, "REJECT", np.inf)
    network, params0, x, y = small_problem(n=5, widths=(16, 16))
    with enable_x64():
        wide, x, y = jax.tree.map(np.float64, (params0, x, y))

        def jacobian(params):
            blocks = jax.tree.leaves(jax.jacrev(lambda p: network.apply(p, x)[:, 0])(params))
            return np.concatenate([np.reshape(b, (5, -1)) for b in blocks], axis=1)

        e, first = np.asarray(y - network.apply(wide, x))[:, 0], jacobian(wide)
        trained = train(network, params0, x, y, GradientFlow(loss=0.4 * float(0.5 * e @ e / 5), tol=np.inf))
        tau, (values, vectors) = trained.final.time, np.linalg.eigh(first @ first.T)
        assert trained.final.step == 1

        def moved(weight):
            """∫ weight(t/τ) e(t)/N dt with the step's first kernel."""
            t = np.linspace(0, tau, 4_001)
            path = vectors * np.exp(-np.outer(t, values)[:, None] / 5) @ (vectors.T @ e)
            return np.trapezoid(weight(t / tau)[:, None] * path / 5, t, axis=0)

        predicted = jax.flatten_util.ravel_pytree(wide)[1](flat(params0) + first.T @ moved(np.ones_like))
        change = first.T @ moved(lambda s: 1 - s) + jacobian(predicted).T @ moved(lambda s: s)
    np.testing.assert_allclose(flat(trained.final.params) - flat(params0), change, atol=1e-6 * np.abs(change).max())


@pytest.mark.parametrize(("tol", "scale"), [(1e-2, 1.0), (np.inf, 5.0)], ids=["by its error", "by its share"])
def test_steps_are_accepted_and_resized_by_their_error(monkeypatch, tol, scale):
    """Every step tried is measured again by whole Jacobians: an error is a length in the space of weights."""
    starts, tried = [], []
    measured, weighed = flow.measure_start, flow.step_weights

    def measure(network, params, *data):
        starts.append(flat(params))
        tried.append([])
        return measured(network, params, *data)

    def weigh(values, tau, n):
        tried[-1].append(tau)
        return weighed(values, tau, n)

    monkeypatch.setattr(flow, "measure_start", measure)
    monkeypatch.setattr(flow, "step_weights", weigh)
    monkeypatch.setattr(flow, "FIRST", 10.0)  # more than can be accepted
    network, params0, x, y = small_problem(n=5, widths=(16, 16))
    y = np.float32(scale) * y
    trained = train(network, params0, x, y, GradientFlow(tol=tol, loss=1e-2))
    assert trained.work["rejected"] == sum(len(taus) - 1 for taus in tried[:-1]) > 0
    with enable_x64():
        unravel = jax.flatten_util.ravel_pytree(jax.tree.map(np.float64, params0))[1]
        wide, y = np.float64(x), np.float64(y)[:, 0]
        outputs = jax.jit(lambda theta: network.apply(unravel(theta), wide)[:, 0])
        jacobian = jax.jit(jax.jacrev(outputs))

        def error(theta, tau):
            """Least change of weights that the first-order model needs for what the step missed, over the first one's.

            And the size of what it missed, over that of the residual; the loss; the loss that was predicted.
            """
            j, e = np.asarray(jacobian(theta)), y - np.asarray(outputs(theta))
            left = expm(-tau / 5 * j @ j.T) @ e
            landed = theta + j.T @ np.linalg.solve(j @ j.T, e - left)
            miss = y - np.asarray(outputs(landed)) - left
            whole = np.linalg.lstsq(np.asarray(jacobian(starts[0])), y - np.asarray(outputs(starts[0])))[0]
            own = np.linalg.norm(np.linalg.lstsq(j, miss)[0]) / np.linalg.norm(whole)
            return own, np.linalg.norm(miss) / np.linalg.norm(e), 0.5 * e @ e / 5, 0.5 * left @ left / 5

        # Of second order: a step of half the length misses a quarter, which is what a square root undoes.
        long, short = (error(starts[-2], tau)[0] for tau in (1e-3, 5e-4))
        assert long / short == pytest.approx(4, rel=0.1)
        first, expected = error(starts[0], tried[0][0])[2], None
        for k, theta in enumerate(starts[:-1]):
            for i, tau in enumerate(tried[k]):
                own, relative, loss, predicted = error(theta, tau)
                if expected is not None and tau != pytest.approx(expected, rel=1e-4):
                    # Only a step that is to land on the loss is shorter.
                    assert tau < expected
                    assert predicted == pytest.approx(0.99e-2, rel=1e-3)
                accepted = i == len(tried[k]) - 1
                assert accepted == (relative <= flow.REJECT and own <= flow.REJECT_TOL * tol)
                safety = flow.SAFETY_EARLY if loss > flow.EARLY * first else flow.SAFETY_LATE
                grown = min(flow.GROW, safety * np.sqrt(tol / own))
                expected = tau * (grown if accepted else min(0.5, grown))


def test_a_step_too_long_is_taken_again(monkeypatch):
    network, params0, x, y = small_problem(n=6, widths=(64, 64))
    usual = train(network, params0, x, y, GradientFlow(tol=1e-3))
    monkeypatch.setattr(flow, "FIRST", 1e3)
    hasty = train(network, params0, x, y, GradientFlow(tol=1e-3))
    assert hasty.work["rejected"] > usual.work["rejected"]
    gap = np.linalg.norm(flat(hasty.final.params) - flat(usual.final.params))
    assert gap < 0.1 * np.linalg.norm(flat(usual.final.params) - flat(params0))


@pytest.mark.parametrize("outputs", [1, 2])
def test_flow_ends_where_small_steps_end(outputs):
    network, params0, x, y = small_problem(n=6, widths=(64, 64), outputs=outputs)
    followed = train(network, params0, x, y, GradientFlow(tol=3e-4))
    stepped = train(network, params0, x, y, Descent(rate=0.01, dtype="float64"))
    change = flat(stepped.final.params) - flat(params0)
    gap = np.linalg.norm(flat(followed.final.params) - flat(stepped.final.params))
    assert gap < 0.02 * np.linalg.norm(change)
    # The linear model ends elsewhere: the integrator follows the moving kernel.
    linear = train(network, params0, x, y, Linearised())
    assert np.linalg.norm(flat(linear.final.params) - flat(stepped.final.params)) > 5 * gap
    assert followed.final.loss <= 1.01e-10
    assert followed.work["steps"] < stepped.final.step / 20
    # So do the losses of each image along the path; the linear model's differ.
    gap = np.abs(followed.loss_path / stepped.loss_path - 1).max()
    assert gap < 0.03
    assert np.abs(linear.loss_path / stepped.loss_path - 1).max() > 3 * gap


def test_checkpoints_land_on_their_losses_and_lie_on_the_path():
    network, params0, x, y = small_problem(n=6, widths=(64, 64))
    losses = (0.1, 1e-3, 1e-6)
    trained = train(network, params0, x, y, GradientFlow(checkpoints=losses))
    assert [s.loss for s in trained.checkpoints] == pytest.approx(losses, rel=0.03)
    early = train(network, params0, x, y, GradientFlow(loss=1e-3))
    gap = np.linalg.norm(flat(early.final.params) - flat(trained.checkpoints[1].params))
    assert gap < 0.01 * np.linalg.norm(flat(early.final.params) - flat(params0))
    assert np.all(np.diff(trained.trace[:, 1]) < 0)


def test_failures_say_what_to_do():
    network, params0, x, y = small_problem(n=6)
    with pytest.raises(ReconError, match="max_steps"):
        train(network, params0, x, y, GradientFlow(max_steps=2))
    with pytest.raises(ReconError, match="not finite"):
        train(network, params0, x * np.nan, y, GradientFlow())
    twice, contradicting = np.concatenate([x, x[:1]]), np.concatenate([y, -y[:1]])
    with pytest.raises(ReconError, match=r"duplicates|max_steps"):
        train(network, params0, twice, contradicting, GradientFlow(max_steps=200))
