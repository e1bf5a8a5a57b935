"""Claims on planted effects: start images, data dimension, contact sheets, fine-tuning."""

import numpy as np
import pytest

from tests.test_figures import ALL, keys, row, verdicts


def start_rows(rng, other, truth, noise=0.01):
    """Runs of five draws: errors of images whose start is of the other class, and from the truth, by these factors."""
    rows = []
    for s in range(5):
        own = [True, False] * 5
        for name, kind in (("noise 0.2", "noise"), ("class", "class"), ("shuffled", "shuffled"), ("true 0.2", "true")):
            for rule in ("standard", "linearised"):
                error = np.full(10, 2.0 + s) * np.exp(noise * rng.normal(size=10))
                if kind == "class":
                    error *= np.where(own, other**-0.5, other**0.5)
                if kind == "true":
                    error *= truth
                made = {"kind": kind, "name": name, "group": 0, "own_class": own if kind == "class" else None}
                rows.append(row(seed=s, dynamics=rule) | made | {"distance": error.tolist(), "start_seed": 0})
    return rows


@pytest.mark.parametrize(("other", "truth"), [(1.0, 0.5), (1.5, 1.0), (0.6, 1.5)])
def test_start_claims(rng, other, truth):
    rows = start_rows(rng, other, truth)
    found = verdicts("init", {"rows": rows})
    for rule in ("standard", "linearised"):
        assert found[f"class-of-start-is-nothing-{rule}"] == ("reproduced" if other == 1 else "not reproduced")
        assert found[f"truth-ends-nearer-{rule}"] == ("reproduced" if truth == 0.5 else "not reproduced")
        assert found[f"class-as-good-as-noise-{rule}"] == found[f"shuffled-as-good-as-noise-{rule}"] == "reproduced"
    only = verdicts("init", {"rows": [r for r in rows if r["dynamics"] == "standard"]})
    assert {v for name, v in only.items() if name.endswith("linearised")} == {"inconclusive"}


@pytest.mark.parametrize(("power", "expected"), [(0.5, "reproduced"), (0.0, "not reproduced")])
def test_dimension_claims(rng, power, expected):
    rows = [
        row(seed=s, dynamics=d, error=0.02 * f * side**power * np.exp(0.01 * rng.normal()), held_out=0.3)
        | {"side": side, "d": side**2, "rms": [0.02, 0.5]}
        for s, f in enumerate((0.5, 1.0, 2.0, 4.0))
        for side in (7, 14, 28)
        for d in ("linearised", "standard")
    ]
    found = verdicts("dim", {"rows": rows})
    for rule in ("linearised", "standard"):
        assert found[f"dimension-hurts-{rule}-mnist_odd_even"] == expected
    # Half of the images lie within 2.5 at 28 × 28, that is 0.089 a pixel.
    assert ALL["dim"].module().recognised(rows[-1]) == 0.5
    assert {v for name, v in found.items() if "cifar10" in name} == {"inconclusive"}


@pytest.mark.parametrize(("sign", "expected"), [(-1, "reproduced"), (1, "not reproduced")])
def test_sheet_claims(rng, sign, expected):
    sheets = [
        row(seed=s, n=12)
        | {"distance": sorted(rng.uniform(1, 2, 12)), "nearest_held_out": 1.2 if sign > 0 else 1.8}
        | {"dual_norm": (np.arange(1.0, 13.0)[::sign] ** (1 + 0.1 * s)).tolist()}
        for s in range(4)
    ]
    assert set(verdicts("figs25-40", {"sheets": sheets}).values()) == {expected}


def test_sheets_use_networks_of_other_figures():
    for preset in ("quick", "full"):
        assert keys("figs25-40", preset) <= set.union(*(keys(f"fig{i}", preset) for i in (2, 3, 4)))


@pytest.mark.parametrize("leaks", [True, False])
def test_fine_tuning_claims(rng, leaks):
    rows = [
        row(
            seed=s,
            dynamics=d,
            error=0.2 * (8.0 + s) * (1 if leaks or weights == "random" else 7.0) * (1 + 0.01 * rng.normal()),
        )
        | {"weights": weights, "held_out": 8.0 + s, "public": 8.0, "unseen": 8.0}
        | {"gain": (0.0 if leaks else 1.0) + 0.01 * rng.normal()}
        for s in range(3)
        for d in ("linearised", "standard")
        for weights in ("random", "public")
    ]
    assert set(verdicts("finetune", {"rows": rows}).values()) == {"reproduced" if leaks else "not reproduced"}
