"""The claims of the comparison of attacks, on planted effects."""

import numpy as np
import pytest

from recon import benchmark as bench
from recon.cells.known_rule import simulates
from recon.claims import judge
from tests.conftest import ROOT

MODULE = bench.benchmarks(ROOT)["attacks"].module()


def rows(rng, errors):
    """Four draws with these errors by (term, attack), and held-out images at 8."""
    return [
        {"term": term, "attack": attack, "draw": f"seed {s}", "width": 256, "held_out": 8.0, "error": e * level}
        for s in range(4)
        for (term, attack), e in errors.items()
        for level in [np.exp(0.02 * rng.normal())]
    ]


@pytest.mark.parametrize("attacks_are_as_claimed", [True, False])
def test_claims_find_what_is_planted(rng, attacks_are_as_claimed):
    good, bad, best = (2.0, 8.0, 1.0) if attacks_are_as_claimed else (8.0, 2.0, 9.0)
    errors = {("plain", "kkt"): bad, ("plain", "ntk-fast"): good, ("plain", "simudy"): best}
    errors |= {("decayed", "kkt"): good, ("margin", "kkt"): good, ("decayed", "ntk-fast"): bad}
    errors[("plain", "exact")] = 0.01 if attacks_are_as_claimed else 20.0
    verdicts = {c.name: judge(c, {"rows": rows(rng, errors)})["verdict"] for c in MODULE.CLAIMS}
    assert set(verdicts.values()) == {"reproduced" if attacks_are_as_claimed else "not reproduced"}
    assert {judge(c, {"rows": []})["verdict"] for c in MODULE.CLAIMS} == {"inconclusive"}


def test_only_what_an_attack_knows_is_told():
    cells = MODULE.cells(MODULE.PRESETS["paper"])
    assert {c.attack for c in cells if simulates(c.attack)} == {"simudy"}
    assert {c.attack for c in cells} == set(MODULE.KNOWS)
    for cell in cells:
        cell.check()
        assert ("objective", "logistic") not in cell.options or cell.attack == "kkt"
