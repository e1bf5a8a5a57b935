import numpy as np
import pytest

from recon.cells.losses import LossCell
from recon.dynamics import GradientFlow
from recon.dynamics.losses import LinearisedLossDescent
from recon.errors import ReconError
from recon.networks import MLP


def cell(decay, subtract, rule=LinearisedLossDescent):
    dynamics = rule(weight_decay=decay, loss=0.1, max_steps=200)
    return LossCell("mnist_odd_even", 6, MLP((32, 32)), dynamics, "exact", (("seconds", 0.5),), subtract=subtract)


def test_a_known_decay_is_taken_out():
    data = cell(0.0, True).load(source="samples")
    told = {key: cell(*key).compute(data).record for key in ((0.0, True), (0.01, True), (0.01, False))}
    assert told[0.0, True]["loss"]["remaining"] == 1
    assert 0.5 < told[0.01, True]["loss"]["remaining"] < 0.999
    for key in ((0.0, True), (0.01, True)):
        assert told[key]["loss"]["unexplained"] < 1e-4
    assert told[0.01, False]["loss"]["unexplained"] > 0.05
    assert told[0.01, False]["training"]["loss"] == told[0.01, True]["training"]["loss"]
    assert np.isfinite(told[0.01, True]["images"]["dual_norm"]).all()


def test_other_rules_are_refused():
    with pytest.raises(ReconError, match="trains by LossDescent"):
        LossCell("mnist_odd_even", 6, MLP((8,)), GradientFlow(), "exact").check()
