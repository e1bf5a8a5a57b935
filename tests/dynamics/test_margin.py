import jax
import numpy as np
import pytest
from scipy.special import logsumexp

from recon import ReconError
from recon.dynamics import train
from recon.dynamics.margin import Margin, losses, stationarity
from recon.kernels import as_matrix, ntk
from tests.conftest import flat, small_problem


def test_losses_are_the_textbook_ones(rng, x64):
    f, labels = rng.normal(scale=3, size=(7, 4)), rng.integers(4, size=7)
    y = np.eye(4)[labels] - 0.25
    np.testing.assert_allclose(losses(f, y, "logistic"), logsumexp(f, axis=1) - f[np.arange(7), labels])
    sign = np.where(rng.random((7, 1)) < 0.5, -1.0, 1.0)
    np.testing.assert_allclose(losses(f[:, :1], sign, "logistic"), np.log1p(np.exp(-sign * f[:, :1]))[:, 0])
    np.testing.assert_allclose(losses(f, y, "mse"), 0.5 * ((f - y) ** 2).sum(axis=1))


def combination(network, params, x, duals):
    """Σ α ∇f by the whole Jacobian."""
    jacobian = jax.jacobian(lambda p: network.apply(p, x))(params)
    return jax.tree.map(lambda j: np.einsum("nc,nc...->...", duals, np.asarray(j, np.float64)), jacobian)


@pytest.mark.parametrize(("decay", "objective"), [(0.1, "mse"), (0.0, "logistic")])
def test_stationarity_is_what_the_jacobian_says(decay, objective):
    network, params, x, y = small_problem(n=4, outputs=3)
    y = np.eye(3, dtype=np.float32)[[0, 1, 2, 0]]
    left, duals = stationarity(network, params, x, y, objective, decay)
    theta, total = flat(params), flat(combination(network, params, x, np.asarray(duals)))
    assert float(left) == pytest.approx(np.linalg.norm(theta - total) / np.linalg.norm(theta), rel=1e-4)
    f = np.asarray(network.apply(params, x), np.float64)
    if decay:
        np.testing.assert_allclose(duals, (y - f) / (4 * decay), rtol=1e-4, atol=1e-5)
    else:
        p = np.exp(f - logsumexp(f, axis=1, keepdims=True))
        slopes = y - p
        np.testing.assert_allclose(np.asarray(duals) * slopes[0, 0] / duals[0, 0], slopes, rtol=1e-3, atol=1e-5)
        # No multiple of the slopes explains the weights better.
        for other in (0.9, 1.1):
            assert np.linalg.norm(theta - other * total) > np.linalg.norm(theta - total)


def test_decay_ends_where_the_weights_are_a_combination_of_gradients():
    network, params0, x, y = small_problem(n=4)
    trained = train(network, params0, x, y, Margin(objective="mse", weight_decay=0.05, steps=3000))
    final = trained.final.params
    total = flat(combination(network, final, x, trained.duals))
    # Units that rest on their thresholds have half a gradient, which the slopes 0 and 1 do not give.
    assert np.linalg.norm(flat(final) - total) < 0.4 * np.linalg.norm(flat(final))
    np.testing.assert_allclose(trained.duals, (y - np.asarray(network.apply(final, x))) / (4 * 0.05), atol=1e-4)
    # Whatever their half is, the first layer's weights lie in the images' span.
    q, _ = np.linalg.qr(np.float64(x).T)
    kernel = np.float64(final["Dense_0"]["kernel"])
    assert np.linalg.norm(kernel - q @ (q.T @ kernel)) < 1e-3 * np.linalg.norm(kernel)
    assert trained.final.loss < 0.1 * trained.initial.loss


def test_margin_grows_towards_a_combination_of_gradients():
    network, params0, x, y = small_problem(n=4, bias=False)

    def ended(loss):
        trained = train(network, params0, x, y, Margin(scale=0.1, rate=0.05, loss=loss, steps=5000))
        final = trained.final.params
        assert trained.final.loss <= loss
        margin = float((y * np.asarray(network.apply(final, x))).min())
        # Of three layers: f(cθ) = c³f(θ).
        return margin / np.linalg.norm(flat(final)) ** 3, float(stationarity(network, final, x, y, "logistic", 0.0)[0])

    (early, far), (late, near) = ended(1e-1), ended(1e-8)
    assert late > 1.2 * early
    assert near < far < 1


def test_first_layer_alone_is_scaled():
    network, params0, x, y = small_problem(n=3)
    trained = train(network, params0, x, y, Margin(scale=0.1, steps=1))
    first, second = (trained.initial.params[name]["kernel"] for name in ("Dense_0", "Dense_1"))
    np.testing.assert_allclose(first, 0.1 * params0["Dense_0"]["kernel"], rtol=1e-6)
    np.testing.assert_array_equal(second, params0["Dense_1"]["kernel"])
    assert trained.why == "steps done"


def test_losses_are_summed_over_the_steps_taken():
    network, params0, x, y = small_problem(n=3)
    rule = Margin(rate=0.1, steps=1)
    one = train(network, params0, x, y, rule)
    kernel = as_matrix(ntk(network, params0, x))
    rate = 0.1 / float(np.linalg.eigvalsh(kernel)[-1])
    first = losses(network.apply(params0, x), y, "logistic")
    np.testing.assert_allclose(one.loss_path, rate * np.asarray(first), rtol=1e-4)
    second = losses(network.apply(one.final.params, x), y, "logistic")
    two = train(network, params0, x, y, Margin(rate=0.1, steps=2))
    np.testing.assert_allclose(two.loss_path, rate * np.asarray(first + second), rtol=1e-4)


def test_impossible_settings():
    network, params0, x, y = small_problem(n=3)
    with pytest.raises(ReconError, match="weight_decay"):
        train(network, params0, x, y, Margin(objective="mse"))
    with pytest.raises(ReconError, match="lower the rate"):
        train(network, params0, x, y, Margin(objective="mse", weight_decay=0.1, rate=1e3, steps=200))
