"""The script that measures the certificate: its kinds, its summary, resuming."""

import sys

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from recon.records import read_json
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def script():
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        import certificate_bars
    finally:
        sys.path.pop(0)
    return certificate_bars


def test_linearised_descent_follows_the_taylor_model(script, rng):
    """The hand-written gradients and tangents against finite differences."""
    import exact_kinds as kinds

    network = kinds.MLP((7, 5), parametrisation="ntk", b_std=0.3)
    sizes = ((4, 7), (7, 5), (5, 1))
    weights = [a for i, o in sizes for a in (rng.normal(size=(i, o)), rng.normal(size=o))]
    scales = [network.scales(i) for i, _ in sizes]
    x, y = rng.normal(size=(3, 4)), rng.normal(size=(3, 1))
    inputs, active = kinds.forward(weights, scales, x)
    gradients = kinds.backward(weights, scales, inputs, active, inputs[-1] - y)
    change = [rng.normal(size=w.shape) for w in weights]

    def loss(t):
        return 0.5 * np.sum((kinds.forward([w + t * c for w, c in zip(weights, change)], scales, x)[0][-1] - y) ** 2)

    slope = (loss(1e-6) - loss(-1e-6)) / 2e-6
    assert slope == pytest.approx(sum(np.vdot(g, c) for g, c in zip(gradients, change)), rel=1e-6)
    moved = [w + 1e-6 * c for w, c in zip(weights, change)]
    outputs = (kinds.forward(moved, scales, x)[0][-1] - inputs[-1]) / 1e-6
    np.testing.assert_allclose(kinds.tangent(weights, change, scales, inputs, active), outputs, rtol=1e-4)


def test_best_multiples_and_area_by_their_definitions(script, rng):
    found, truth = rng.normal(size=(4, 6)), rng.normal(size=(3, 6))

    def away(f, t):
        return minimize_scalar(lambda s: np.linalg.norm(np.exp(s) * f - t), bounds=(-20, 5), method="bounded").fun

    brute = [min(away(f, t) for t in truth) for f in found]
    np.testing.assert_allclose(script.best_multiples(found, truth), brute, atol=1e-4)
    confidence, right = rng.integers(0, 5, 40) / 4, rng.random(40) < 0.5
    pairs = [(a > b) + 0.5 * (a == b) for a in confidence[right] for b in confidence[~right]]
    assert script.area(confidence, right) == pytest.approx(np.mean(pairs))
    assert script.area(confidence, np.ones(40, bool)) is None


def test_a_network_counts_as_wrong_by_one_false_image(script):
    run = {
        "n": 2, "distance": [0.01, 0.2], "scaled_distance": [0.01, 0.05], "certified": [True, True],
        "up_to_scale": [True, True], "confidence": [1.0, 0.95],
    }  # fmt: skip
    other = run | {"certified": [True, False]}
    line = script.summed([run, other])
    assert (line["certified"], line["false"], line["up_to_scale"], line["false_up_to_scale"]) == (3, 1, 1, 0)
    assert (line["right_networks"]["right"], line["right_networks"]["of"]) == (1, 2)
    assert (line["confident"], line["confident_right"]) == (4, 2)


def test_a_run_is_stored_and_not_repeated(script, tmp_path, monkeypatch, capsys):
    case = script.Case("tiny, descent", "MNIST", "descent", 0, None, (1, 4, 40))
    monkeypatch.setattr(script, "cases", lambda *_: iter([case]))
    real, made = script.trained, []
    monkeypatch.setattr(script, "trained", lambda case: made.append(case) or real(case))
    out = tmp_path / "made.json"
    for _ in range(2):
        script.main(["--out", str(out)])
        assert len(made) == 1
    stored = read_json(out)
    assert [run["box"] for run in stored["runs"]] == [True, False]
    assert stored["all"]["networks"] == 2
    assert "tiny, descent" in capsys.readouterr().out


def test_seeds_and_names_are_distinct(script):
    every = list(script.cases(31_000, 2, 2))
    assert len({case.name for case in every}) == len(every)
    assert {case.group for case in every if case.kind} == {kind.name for kind in script.KINDS}
