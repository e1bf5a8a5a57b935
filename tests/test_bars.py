"""What the suite promises of solver, certificate, audit and rules: claims of benchmark modules on made-up numbers."""

import sys

import numpy as np
import pytest

from benchmarks._estimates import area
from recon import ReconError
from recon import benchmark as bench
from recon.cells import AttackCell
from recon.cells.instances import Plain
from recon.cells.recovery import RecoveryCell
from recon.claims import judge
from recon.dynamics import Linearised
from recon.networks import MLP
from recon.records import Store
from tests.conftest import ROOT


def module(name):
    return bench.find(ROOT, name).module()


def verdicts(name, summary):
    return {claim.name: judge(claim, summary)["verdict"] for claim in module(name).CLAIMS}


def test_the_bar_of_a_network():
    bar = module("recovery").Bar
    good = {"certified": 50, "certified_within": 50, "within": 50, "worst": 0.001}
    each = bar(certified_within=49, worst=0.01, seconds=5)
    assert each.text == "≥ 49 certified within, max < 0.01, time < 5 s"
    assert each.reached(good)
    bad = {"certified_within": 48}, {"certified_within": None}, {"worst": 0.5}, {"worst": None}
    assert not any(each.reached(good | changed) for changed in bad)


def recovery(reached, seconds):
    runs = [{"reached": r, "seconds": s, "draw": i} for i, (r, s) in enumerate(zip(reached, seconds))]
    row = {"family": "plain", "bar": "≥ 50", "seconds": 10.0, "runs": runs}
    return {"rows": [row, row | {"bar": None, "seconds": None, "runs": [{"reached": None}]}]}


def test_recovery_is_judged_by_draws_and_time_by_its_limit():
    made = verdicts("recovery", recovery([True] * 6, [3, 4, 5, 3, 4, 5]))
    assert (made["recovered-plain"], made["in-time-plain"]) == ("reproduced", "reproduced")
    assert (made["recovered-other"], made["in-time-other"]) == ("inconclusive", "inconclusive")
    made = verdicts("recovery", recovery([False] * 6, [30, 40, 50, 30, 40, 50]))
    assert (made["recovered-plain"], made["in-time-plain"]) == ("not reproduced", "not reproduced")
    assert verdicts("recovery", recovery([True] * 3, [3, 4, 5]))["recovered-plain"] == "inconclusive"


def frontier(right, patterns, n=50):
    """Six draws of linearised ReLU networks at 2.56 units an image, each attacked in both ways; and one at 2."""
    kind = {"task": "mnist_odd_even", "n": n, "activation": "relu", "rule": "linearised"}
    rows = [
        {**kind, "ratio": 2.56, "width": 128, "seed": i, "draw": i, "search": search, "right": k + i % 2, "found": k}
        for search, k in (("all", right), ("patterns", patterns))
        for i in range(6)
    ]
    at_two = [{**r, "ratio": 2.0, "width": 100, "found": patterns} for r in rows if r["search"] == "all"]
    return {"rows": rows + at_two}


def test_the_frontier_is_judged_where_its_claims_lie():
    made = verdicts("frontier", frontier(48, 0))
    assert (made["relu-linearised"], made["limit"], made["beyond-patterns"]) == ("reproduced",) * 3
    assert {made[k] for k in ("relu-standard", "other-activations", "gelu-narrow")} == {"inconclusive"}
    made = verdicts("frontier", frontier(40, 40))
    assert {made[k] for k in ("relu-linearised", "limit", "beyond-patterns")} == {"not reproduced"}


def test_the_frontier_runs_what_its_claims_are_on_on_fresh_seeds():
    frontier = module("frontier")
    for preset in frontier.PRESETS.values():
        cells = frontier.cells(preset)
        sizes = {(c.setting.activation, c.setting.dynamics.linearised, c.setting.width / c.n_train) for c in cells}
        assert {("relu", True, 2.0), ("relu", True, 2.56), ("relu", False, 3.84), ("leaky_relu:0.2", True, 5.12),
                ("gelu", True, 2.56), ("gelu", True, 10.24), ("tanh", True, 10.24)} <= sizes  # fmt: skip
        assert {c.seed >= 40_000 for c in cells} == {preset is frontier.PRESETS["full"]}


def network(group, certified, right, within=10):
    return {"group": group, "certified": certified, "certified_within": right, "within": within}


def test_one_false_certificate_spoils_a_network():
    rows = [network("pool", 10, 10)] * 40 + [network("narrow", 10, 10)] * 30 + [network("narrow", 10, 9)] * 10
    made = verdicts("pool", {"rows": rows + [network("null", 0, 0)] * 6})
    assert made == {
        "right-pool": "reproduced",
        "right-narrow": "not reproduced",
        "all-that-came-back": "reproduced",
        "nothing-without-images": "reproduced",
    }
    made = verdicts("pool", {"rows": [network("pool", 5, 5)] * 9 + [network("null", 1, 0)] * 6})
    assert (made["right-pool"], made["all-that-came-back"]) == ("inconclusive", "not reproduced")
    assert made["nothing-without-images"] == "not reproduced"


def test_certificates_are_counted_by_image_and_judged_by_network():
    certificate = module("certificate")
    run = {
        "n": 2, "distance": [0.01, 0.2], "scaled_distance": [0.01, 0.05], "certified": [True, True],
        "up_to_scale": [True, True], "confidence": [1.0, 0.95],
    }  # fmt: skip
    counts = certificate.counted([run, run | {"certified": [True, False]}])
    assert (counts["certified"], counts["false"], counts["up_to_scale"], counts["false_up_to_scale"]) == (3, 1, 1, 0)
    assert (counts["confident"], counts["confident_right"]) == (4, 2)
    right = {"certified": 4, "false": 0, "up_to_scale": 0, "false_up_to_scale": 0, "confident": 4, "confident_right": 4}
    made = verdicts("certificate", {"networks": [right] * 90})
    assert made["certificates-are-right"] == made["confidence-keeps-its-word"] == "reproduced"
    assert made["right-up-to-scale"] == "inconclusive"
    made = verdicts("certificate", {"networks": [right] * 40 + [counts] * 50})
    assert set(made.values()) == {"not reproduced", "inconclusive"}


def test_area_by_its_definition(rng):
    confidence, right = rng.integers(0, 5, 40) / 4, rng.random(40) < 0.5
    pairs = [(a > b) + 0.5 * (a == b) for a in confidence[right] for b in confidence[~right]]
    assert area(right, confidence) == pytest.approx(np.mean(pairs))
    assert np.isnan(area(np.ones(40, bool), confidence))


@pytest.mark.parametrize(("factor", "accuracy", "verdict"), [(0.1, 0.93, "reproduced"), (10.0, 0.80, "not reproduced")])
def test_procedures(factor, accuracy, verdict):
    rows = []
    for seed in range(3):
        noise = 1 + 0.01 * seed
        common = {"seed": seed, "draw": seed, "accuracy": accuracy + 0.001 * seed}
        rows.append({"method": "all", "optimiser": None, **common})
        for method in ("kip", "rkip"):
            rows.append({"method": method, "optimiser": "adam", "loss": 1.0, "seconds": 500.0, **common})
            fast = {"method": method, "optimiser": "fast", "loss": factor * noise, "seconds": 60 * factor * noise}
            rows.append(fast | common)
    assert set(verdicts("procedures", {"rows": rows}).values()) == {verdict}


@pytest.mark.parametrize(("gap", "verdict"), [(1e-6, "reproduced"), (0.2, "not reproduced")])
def test_training_rules(gap, verdict):
    common = {"steps": 50, "descent": 5000}
    rows = [{"rule": "linearised", "draw": 0, "gaps": {"0.1": gap, "converged": 1e-9}, **common}]
    rows += [{"rule": "flow", "draw": i, "gaps": {"flow": gap * (1 + 0.01 * i)}, **common} for i in range(4)]
    assert set(verdicts("dynamics", {"rows": rows}).values()) == {verdict}


@pytest.mark.parametrize(("whole", "seconds", "verdict"), [(True, 9.0, "reproduced"), (False, 90.0, "not reproduced")])
def test_audits_of_the_kinds_that_are_claimed(whole, seconds, verdict):
    rows = [{"claimed": True, "whole": whole, "run": seconds + i, "draw": i} for i in range(6)]
    rows += [{"claimed": False, "whole": not whole, "run": 100 - seconds, "draw": i} for i in range(6)]
    assert set(verdicts("foreign", {"rows": rows}).values()) == {verdict}


def test_rows_are_told_apart_and_seeds_of_the_pool_are_fresh():
    recovery, pool, certificate = module("recovery"), module("pool"), module("certificate")
    assert len({row.name for row in recovery.FULL}) == len(recovery.FULL)
    assert set(recovery.QUICK) < {row.name for row in recovery.FULL}
    cells = pool.cells(pool.PRESETS["full"])
    assert sum(c.n_train for c in cells if pool.group_of(c.settings()) == "pool") >= 1000
    assert min(c.seed for c in cells) >= 1000
    groups = [certificate.group_of(c.settings()) for c in certificate.cells(certificate.PRESETS["full"])]
    assert {kind.name for kind in certificate.KINDS} | {"tiny, flow", "small, descent", "patches"} <= set(groups)


def test_timed_cells_are_computed_one_at_a_time_after_all_others(tmp_path, monkeypatch):
    together = [AttackCell("mnist_odd_even", 6, MLP((32,)), Linearised(), "exact", seed=s) for s in range(3)]
    timed = [RecoveryCell("mnist_odd_even", 6, Plain(32), seed=s) for s in range(2)]
    batches = []

    def compute_all(todo, pool, report):
        batches.append(([cell for _, cell, _ in todo], len(pool.crew)))
        raise ReconError(f"{len(todo)} cells failed.")

    monkeypatch.setattr(bench, "compute_all", compute_all)
    planned = bench.plan([timed[0], *together, timed[1]], {"source": "samples"})
    with pytest.raises(ReconError, match=r"3 cells failed\. 2 cells failed\."):
        bench.run_cells(planned, Store(tmp_path), False, lambda *_: None, jobs=2)
    assert [(set(cells), jobs) for cells, jobs in batches] == [(set(together), 2), (set(timed), 1)]


def test_without_pytorch_its_cells_say_how_to_get_it(monkeypatch):
    cells = module("foreign").cells(module("foreign").PRESETS["full"])
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ReconError, match=r"pip install torch==2\.13\.0\.$"):
        bench.plan(cells, {"source": "samples"})
    bench.plan(module("foreign").cells(module("foreign").PRESETS["quick"]), {"source": "samples"})
