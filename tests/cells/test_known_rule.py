import dataclasses

import pytest

from recon import ReconError
from recon.cells.known_rule import KnownRuleCell
from recon.dynamics import Descent, GradientFlow
from recon.networks import MLP

CELL = KnownRuleCell(
    "mnist_10way", 10, MLP((32,), bias=False), Descent(learning_rate=0.03, loss=0.1), "simudy", (("steps", 3),), 1
)


def test_the_rule_is_told_and_the_settings_stay():
    stored = CELL.compute(CELL.load(source="samples"))
    record = stored.record
    assert record["cell"] == CELL.settings()
    assert record["cell"]["kind"] == "compared"
    assert record["attack"]["steps"] == 3
    # Simulated steps count as work.
    assert record["attack"]["work"]["flops_per_step"] > 1e5 * record["training"]["steps"]
    # Weights a few steps from their initial ones are no combination of the images' gradients.
    assert 0.5 < record["stationarity"] <= 1


@pytest.mark.parametrize("rule", [GradientFlow(), Descent(), Descent(learning_rate=0.1, momentum=0.9)])
def test_only_plain_descent_is_simulated(rule):
    with pytest.raises(ReconError, match="plain full-batch descent"):
        dataclasses.replace(CELL, dynamics=rule).check()
    dataclasses.replace(CELL, dynamics=rule, attack="kkt").check()
