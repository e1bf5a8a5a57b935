import jax
import numpy as np
import pytest

from recon.cells import AttackCell
from recon.cells.early_stopping import EarlyStoppingCell, first_step, squared_change
from recon.dynamics import Descent, GradientFlow, Linearised, train
from recon.networks import MLP
from tests.conftest import flat, small_problem


def cell(rule, stop, **options):
    attack = options.pop("attack", "exact")
    given = (("steps", 20),) if attack == "ntk-fast" else (("starts", 16),)
    stops = (0.5, 0.01)
    return EarlyStoppingCell("mnist_odd_even", 6, MLP((32, 32)), rule, attack, given, stops=stops, stop=stop, **options)


@pytest.mark.parametrize("rule", [Linearised(), GradientFlow(loss=1e-6, tol=1e-2)], ids=["linearised", "standard"])
def test_every_checkpoint_of_one_run(rule):
    data = cell(rule, 0.0).load(source="samples")
    training = {stop: cell(rule, stop).compute(data).record["training"] for stop in (None, 0.5, 0.01, 0.0)}
    initial = training[0.0]["initial_loss"]
    for stop in (0.5, 0.01):
        assert training[stop]["loss"] == pytest.approx(stop * initial, rel=0.03)
    losses = [t["loss"] for t in training.values()]
    assert initial > losses[0] > losses[1] > losses[2] > losses[3]
    assert training[0.0]["loss"] <= 1e-6


def test_the_first_step_is_that_of_descent():
    network, params0, x, y = small_problem(n=5, outputs=2)
    descent = train(network, params0, x, y, Descent(learning_rate=0.01, loss=1e9, dtype="float64"))
    assert descent.final.step == 0
    step = first_step(network, params0, x, y, 0.01, linearised=False)
    target = step.loss * (1 + 1e-6)
    taken = train(network, params0, x, y, Descent(learning_rate=0.01, loss=target, dtype="float64"))
    assert taken.final.step == 1
    np.testing.assert_allclose(flat(step.params), flat(taken.final.params), atol=1e-8)


def test_the_box_is_weighted_by_the_change():
    rule = Linearised()
    data = cell(rule, None).load(source="samples")
    found = cell(rule, None, attack="ntk-fast", scaled_box=True).compute(data).record
    assert found["stopping"]["box_weight"] == pytest.approx(0.1 * found["stopping"]["squared_change"])
    assert found["cell"]["options"] == {"steps": 20}
    # In place of the scaled weight, the change scaled to one: the same descent, as the duals are linear.
    plain = cell(rule, None, attack="ntk-fast").compute(data).record
    assert plain["stopping"]["box_weight"] is None
    assert plain["scores"]["train"]["mean"] != found["scores"]["train"]["mean"]


def test_change_in_numpy():
    network, params0, x, y = small_problem(n=5)
    trained = train(network, params0, x, y, Linearised())
    moved = flat(trained.final.params) - flat(trained.initial.params)
    assert squared_change(trained) == pytest.approx(moved @ moved)
    assert jax.tree.structure(trained.final.params) == jax.tree.structure(params0)


def test_it_is_stored_apart_from_the_attack_cell():
    ours = cell(Linearised(), 0.0)
    plain = AttackCell(ours.task, ours.n_train, ours.network, ours.dynamics, ours.attack, ours.options)
    assert ours.settings()["kind"] != plain.settings()["kind"]
    assert set(plain.modules) < set(ours.modules)
    assert ours.draw == plain.draw
