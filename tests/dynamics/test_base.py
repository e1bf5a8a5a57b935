"""What all training rules share."""

import dataclasses

import jax
import numpy as np
import pytest

from recon.dynamics import Descent, Dynamics, GradientFlow, Linearised, train
from recon.dynamics.base import measure_start
from recon.dynamics.dp import PrivateDescent
from recon.dynamics.losses import LinearisedLossDescent, LossDescent
from recon.kernels import ntk
from recon.networks import MLP
from tests.conftest import flat, small_problem
from tests.networks.test_activations import PLAIN


def small(outputs=2):
    network = MLP((32,), outputs=outputs)
    params = jax.tree.map(np.asarray, network.init(jax.random.key(0), 5))
    rng = np.random.default_rng(0)
    return network, params, rng.normal(size=(4, 5)).astype(np.float32), rng.normal(size=(4, outputs)).astype(np.float32)


def test_a_rule_that_cannot_train_cannot_be_made():
    @dataclasses.dataclass(frozen=True)
    class Idle(Dynamics):
        steps: int = 1

    with pytest.raises(TypeError, match="abstract"):
        Idle()


def test_train_is_the_rules_own_also_of_a_subclass(monkeypatch):
    asked = []
    monkeypatch.setattr(LossDescent, "train", lambda rule, *_: asked.append(rule))
    for rule in (LossDescent(), LinearisedLossDescent()):
        with pytest.raises(Exception, match="Trained"):  # what was put in its place returns nothing
            train(*small(1), rule)
    assert asked == [LossDescent(), LinearisedLossDescent()]


@pytest.mark.parametrize(
    "rule", [Descent(loss=1e-2), GradientFlow(loss=1e-2), PrivateDescent(steps=1)], ids=["descent", "flow", "private"]
)
def test_an_image_given_twice_has_the_least_duals(rule):
    network, params, x, y = small()
    once, twice = (
        train(network, params, x, y, rule),
        train(network, params, x[[0, 0, 1, 2, 3]], y[[0, 0, 1, 2, 3]], rule),
    )
    halves = once.duals[[0, 0, 1, 2, 3]] * [[0.5], [0.5], [1], [1], [1]]
    np.testing.assert_allclose(twice.duals, halves, rtol=1e-6, atol=1e-9)


def test_losses_at_the_start_are_means_over_images_however_many_outputs_there_are():
    network, params, x, y = small()
    expected = 0.5 * np.mean(np.sum((np.asarray(network.apply(params, x)) - y) ** 2, axis=1))
    for rule in (Linearised(), GradientFlow(loss=0.1), Descent(loss=0.1), LossDescent(objective="mse", loss=0.1)):
        assert train(network, params, x, y, rule).initial.loss == pytest.approx(expected, rel=1e-4)


def test_the_start_is_that_of_the_network_in_float64():
    network, params, x, y = small()
    start = measure_start(network, params, x, y)
    assert {a.dtype for a in (start.x, start.y, start.kernel, start.outputs)} == {np.dtype(np.float64)}
    np.testing.assert_allclose(start.outputs, network.apply(params, x), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(start.residual, (y - start.outputs).ravel())
    kernel = np.asarray(ntk(network, params, x)).reshape(8, 8)
    np.testing.assert_allclose(start.kernel, kernel, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(start.kernel @ start.duals.ravel(), start.residual, atol=1e-8)
    assert start.duals.shape == y.shape
    assert start.curvature == pytest.approx(np.linalg.eigvalsh(kernel)[-1] / 4, rel=1e-4)
    trained = train(network, params, x, y, Linearised())
    np.testing.assert_allclose(trained.duals, start.duals, rtol=1e-6)


@pytest.mark.parametrize("activation", PLAIN)
def test_rules_agree_on_networks_of_every_activation(activation):
    network, params0, x, y = small_problem(n=4, dim=8, widths=(128, 128), activation=activation)
    before = np.mean(measure_start(network, params0, x, y).residual ** 2) / 2
    flow = train(network, params0, x, y, GradientFlow(loss=0.98 * before, tol=1e-5))
    moved, loss = flat(flow.final.params) - flat(params0), flow.final.loss
    for rule in (Linearised(loss=loss), Descent(rate=1e-5, loss=loss, dtype="float64")):
        trained = train(network, params0, x, y, rule)
        apart = flat(trained.final.params) - flat(params0) - moved
        assert np.linalg.norm(apart) < 2e-2 * np.linalg.norm(moved)
