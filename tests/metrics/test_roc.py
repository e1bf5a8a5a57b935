"""The ROC against scikit-learn's and a count of all pairs; its intervals against simulation."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score, roc_curve

from recon.metrics import Roc


@pytest.mark.parametrize(("n", "m", "ties"), [(20, 20, False), (7, 130, False), (40, 25, True)])
def test_against_scikit_learn_and_all_pairs(n, m, ties, rng):
    members, others = rng.normal(0, 1, n), rng.normal(1, 1, m)
    if ties:
        members, others = np.round(members), np.round(others)
    roc = Roc(members, others)
    truth, score = np.repeat([1, 0], [n, m]), -np.concatenate([members, others])
    false, true, _ = roc_curve(truth, score, drop_intermediate=False)
    np.testing.assert_allclose(roc.curve, (false, true))
    pairs = (members[:, None] < others).mean() + (members[:, None] == others).mean() / 2
    assert roc.auc["value"] == pytest.approx(pairs) == pytest.approx(roc_auc_score(truth, score))
    for level in (0.0, 0.01, 0.1):
        told, wrong = roc.at(level)
        assert told["value"] == pytest.approx(true[false <= level + 1e-12].max())
        assert wrong["value"] <= level


def test_levels_are_those_that_the_others_can_show(rng):
    assert [Roc(np.zeros(3), rng.uniform(1, 2, m)).levels for m in (20, 99, 100, 999, 1000)] == [
        (0.0,), (0.0,), (0.0, 0.01), (0.0, 0.01), (0.0, 0.01, 0.001),
    ]  # fmt: skip
    assert Roc(np.zeros(3), np.ones(300)).at(0.01)[0]["value"] == 1
    told, wrong = Roc(np.arange(3.0), np.arange(0.5, 300)).at(0.01)  # three of 300 may be wrong
    assert (told["value"], wrong["value"]) == (1, 0.01)


def test_nothing_found_tells_nothing_apart():
    roc = Roc(np.full(4, np.inf), np.full(5, np.inf))
    assert roc.auc["value"] == 0.5
    assert roc.at(0.0)[0]["value"] == 0


def test_interval_of_a_perfect_separation_leaves_room():
    perfect = Roc(np.zeros(20), np.ones(20)).auc
    assert (perfect["value"], perfect["high"]) == (1, 1)
    assert 0.8 < perfect["low"] < 0.95
    assert Roc(np.ones(20), np.zeros(20)).auc["low"] == 0


@pytest.mark.parametrize("rate", [1.0, 3.0, 15.0])
def test_interval_holds_the_truth_nineteen_times_in_twenty_and_is_no_wider(rate, rng):
    truth, runs, inside, found = rate / (1 + rate), 500, 0, []
    for _ in range(runs):
        auc = Roc(rng.exponential(1 / rate, 20), rng.exponential(1, 30)).auc
        inside += auc["low"] <= truth <= auc["high"]
        found.append((auc["value"], auc["high"] - auc["low"]))
    assert 0.92 < inside / runs < 0.98
    value, width = np.array(found).T
    if rate < 15:  # near one the interval is cut off
        assert width.mean() == pytest.approx(2 * stats.norm.ppf(0.975) * value.std(), rel=0.12)
