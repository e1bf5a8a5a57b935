"""Training rules on a network that is no MLP, whose kernel comes from its Jacobian."""

import jax
import numpy as np
import pytest

from recon.dynamics import Descent, GradientFlow, Linearised, train
from recon.networks.conv import CNN
from tests.conftest import flat
from tests.dynamics.test_linearised import jacobian


@pytest.fixture(scope="module")
def problem():
    network, rng = CNN((8, 16)), np.random.default_rng(0)
    params0 = jax.tree.map(np.asarray, network.init(jax.random.key(0), (6, 6, 1)))
    x = rng.normal(size=(3, 6, 6, 1)).astype(np.float32)
    return network, params0, x, np.array([[1.0], [-1.0], [1.0]], np.float32)


def test_closed_form_is_where_descent_on_the_linear_model_ends(problem):
    network, params0, x, y = problem
    trained = train(network, params0, x, y, Linearised())
    j, f0 = jacobian(network, params0, x)
    rate, change = 1.0 / np.linalg.eigvalsh(j @ j.T)[-1], np.zeros(j.shape[1])
    for _ in range(5_000):
        change += rate * j.T @ (y.ravel() - f0 - j @ change)
    ours = flat(trained.final.params) - flat(params0)
    assert np.linalg.norm(ours - change) < 1e-4 * np.linalg.norm(change)
    assert trained.final.loss < 1e-10


def test_flow_ends_where_small_steps_end(problem):
    network, params0, x, y = problem
    followed = train(network, params0, x, y, GradientFlow(tol=1e-3))
    stepped = train(network, params0, x, y, Descent(rate=0.02, dtype="float64"))
    change = flat(stepped.final.params) - flat(params0)
    gap = np.linalg.norm(flat(followed.final.params) - flat(stepped.final.params))
    assert gap < 0.03 * np.linalg.norm(change)
    linear = train(network, params0, x, y, Linearised())
    assert np.linalg.norm(flat(linear.final.params) - flat(stepped.final.params)) > 3 * gap
