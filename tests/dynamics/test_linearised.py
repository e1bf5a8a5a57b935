import jax
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from recon.arrays import enable_x64
from recon.dynamics import Linearised, train
from recon.dynamics.base import mean_loss, outputs
from recon.errors import ReconError
from tests.conftest import flat, small_problem


def jacobian(network, params, x):
    """J (n·c, parameters) and f₀ in float64, by JAX's own differentiation."""
    with enable_x64():
        params = jax.tree.map(lambda a: np.asarray(a, np.float64), params)
        blocks = jax.tree.leaves(jax.jacrev(lambda p: network.apply(p, np.float64(x)))(params))
        f0 = np.asarray(network.apply(params, np.float64(x))).ravel()
        return np.concatenate([np.asarray(b).reshape(len(f0), -1) for b in blocks], axis=1), f0


@pytest.mark.parametrize("outputs_", [1, 3])
def test_converged_state_is_where_gradient_descent_on_the_linear_model_ends(outputs_):
    network, params0, x, y = small_problem(n=5, outputs=outputs_)
    trained = train(network, params0, x, y, Linearised())
    j, f0 = jacobian(network, params0, x)
    rate, change = 1.0 / np.linalg.eigvalsh(j @ j.T)[-1], np.zeros(j.shape[1])
    for _ in range(20_000):
        change += rate * j.T @ (y.ravel() - f0 - j @ change)
    ours = flat(trained.final.params) - flat(params0)
    assert np.linalg.norm(ours - change) < 1e-4 * np.linalg.norm(change)
    assert trained.final.loss < 1e-10
    np.testing.assert_allclose(j.T @ trained.duals.ravel(), change, atol=1e-6 * np.abs(change).max())


def test_early_stopped_states_lie_on_gradient_flow():
    network, params0, x, y = small_problem(n=5)
    losses = (0.2, 1e-2, 1e-4)
    trained = train(network, params0, x, y, Linearised(checkpoints=losses))
    j, f0 = jacobian(network, params0, x)
    for loss, state in zip(losses, trained.checkpoints):
        assert state.loss == pytest.approx(loss, rel=1e-3)
        flow = solve_ivp(
            lambda t, d: j.T @ (y.ravel() - f0 - j @ d) / len(x),
            (0, state.time), np.zeros(j.shape[1]), rtol=1e-9, atol=1e-12, method="DOP853",
        )  # fmt: skip
        ours, reference = flat(state.params) - flat(params0), flow.y[:, -1]
        assert np.linalg.norm(ours - reference) < 1e-4 * np.linalg.norm(reference)


def test_stopping_by_loss_and_by_time_agree():
    network, params0, x, y = small_problem(n=5)
    by_loss = train(network, params0, x, y, Linearised(loss=1e-3))
    by_time = train(network, params0, x, y, Linearised(time=by_loss.final.time))
    np.testing.assert_array_equal(flat(by_loss.final.params), flat(by_time.final.params))
    assert train(network, params0, x, y, Linearised(time=0.0)).final.loss == pytest.approx(by_loss.initial.loss)


def test_reported_loss_is_of_the_linear_model():
    network, params0, x, y = small_problem(n=5)
    trained = train(network, params0, x, y, Linearised(loss=1e-3))
    j, f0 = jacobian(network, params0, x)
    change = flat(trained.final.params) - flat(params0)
    assert trained.final.loss == pytest.approx(0.5 * np.mean((f0 + j @ change - y.ravel()) ** 2), rel=1e-6)
    network_loss = mean_loss(outputs(network, params0, trained.final.params, x, linearised=False) - y)
    assert network_loss != pytest.approx(trained.final.loss, rel=0.01)


@pytest.mark.parametrize("settings", [Linearised(), Linearised(loss=1e-2)])
def test_path_losses_are_the_integrals_of_each_image_loss(settings):
    network, params0, x, y = small_problem(n=5, outputs=2)
    trained = train(network, params0, x, y, settings)
    j, f0 = jacobian(network, params0, x)
    kernel, e0, n = j @ j.T, y.ravel() - f0, len(x)
    end = min(trained.final.time, 60 * n / np.linalg.eigvalsh(kernel)[0])

    def rhs(t, state):
        e = state[: 2 * n]
        return np.concatenate([-kernel @ e / n, 0.5 * (e.reshape(n, 2) ** 2).sum(1)])

    solved = solve_ivp(rhs, (0, end), np.concatenate([e0, np.zeros(n)]), rtol=1e-8, atol=1e-10, method="LSODA")
    np.testing.assert_allclose(trained.loss_path, solved.y[2 * n :, -1], rtol=1e-4)
    assert np.ptp(trained.loss_path) > 0.1 * trained.loss_path.mean()


def test_bad_requests():
    network, params0, x, y = small_problem(n=5)
    with pytest.raises(ReconError, match="one of them"):
        train(network, params0, x, y, Linearised(loss=0.1, time=1.0))
    with pytest.raises(ReconError, match="below the initial loss"):
        train(network, params0, x, y, Linearised(loss=1e3))
    with pytest.raises(ReconError, match="duplicate images"):
        train(network, params0, np.concatenate([x, x[:1]]), np.concatenate([y, y[:1]]), Linearised())
