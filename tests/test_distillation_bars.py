"""The script that measures the bars of distillation: its steps are those of both libraries, its verdicts follow."""

import sys

import pytest

from tests.conftest import ROOT


@pytest.fixture(scope="module")
def script():
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        import distillation_bars
    finally:
        sys.path.pop(0)
    return distillation_bars


def test_both_libraries_take_the_same_step(script):
    rows = script.speed(2, lambda fraction, text: None, n=7, m=4, d=5)
    assert {r["what"] for r in rows} == {"product", "kernel", "KIP step", "RKIP step", "RKIP step, K_TT anew"}
    for row in rows:
        assert row["median_ms"] > 0
        assert row["gap"] < 1e-2  # of a float32 regression on random images


def run(method, optimiser, loss, seconds, accuracy):
    names = ("method", "optimiser", "seed", "loss", "seconds", "accuracy")
    return dict(zip(names, (method, optimiser, 0, loss, seconds, accuracy), strict=True))


@pytest.mark.parametrize(("fast", "seconds", "accuracy", "slow"), [(1.0, 9.0, 0.91, 6.0), (3.0, 90.0, 0.89, 4.0)])
def test_verdicts(script, fast, seconds, accuracy, slow):
    runs = [run("all", None, None, 0.0, 0.93)]
    for method in script.METHODS:
        runs += [run(method, "adam", 2.0, 500.0, 0.9), run(method, "fast", fast, seconds, accuracy)]
    whats = ("kernel", "KIP step", "RKIP step", "RKIP step, K_TT anew")
    speed = [{"what": what, "by": by, "median_ms": ms} for what in whats for by, ms in
             (("recon", 1.0), ("neural-tangents", slow))]  # fmt: skip
    made = script.bars(runs, [{"what": "product", "by": None, "median_ms": 0.5}, *speed])
    assert {bar["met"] for bar in made[:-1]} == {fast < 2}
    assert made[-1]["measured"] == slow / 0.5
