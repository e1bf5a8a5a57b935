import copy

import numpy as np
import pytest

from recon import ReconError, reconstruct
from recon.attacks import attacks
from recon.dynamics import Linearised, train
from recon.networks import Network
from tests.conftest import small_problem


class Other(Network):
    """A network that is no MLP."""


@pytest.fixture(scope="module")
def weights():
    network, params0, x, y = small_problem(n=3)
    return params0, train(network, params0, x, y, Linearised()).final.params


def changed(tree, layer, part, value):
    tree = copy.deepcopy(tree)
    tree[layer][part] = value
    return tree


def test_bad_weights_are_refused(weights):
    before, after = weights
    bad = after["Dense_1"]["kernel"].copy()
    bad[0, 0] = np.nan
    cases = [
        (before, changed(after, "Dense_1", "kernel", bad), "not finite, in Dense_1 kernel"),
        (changed(before, "Dense_0", "bias", np.full(24, np.inf)), after, "initial weights hold values"),
        (before, before, "equal"),
        (before, {k: after[k] for k in ("Dense_0", "Dense_1")}, "different networks"),
        (before, changed(after, "Dense_0", "kernel", after["Dense_0"]["kernel"][:-1]), "take 12 inputs, final ones 11"),
        (before, {"layer": after["Dense_0"]}, "not of a plain MLP"),
    ]
    for first, second, message in cases:
        with pytest.raises(ReconError, match=message):
            reconstruct(first, second, progress=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attack": "magic"}, "Unknown attack.*ntk-fast"),
        ({"speed": 2}, "no setting speed"),
        ({"image_shape": (28, 28)}, "the network takes 12"),
        ({"box": (1.0, 0.0)}, "least value must lie below"),
        ({"box": (np.zeros(5), np.ones(5))}, "12 channels"),
        ({"m": 0}, "at least 1"),
        ({"steps": 0}, "at least one step"),
        ({"start": np.zeros((2, 11))}, r"shape \(2, 11\): give \(2, 12\)"),
        ({"start": np.zeros((2, 12)), "attack": "exact"}, "does not start from images"),
        ({"network": Other((4,))}, "kind MLP, not Other"),
    ],
)
def test_bad_options_are_refused(weights, options, message):
    with pytest.raises(ReconError, match=message):
        reconstruct(*weights, progress=False, **options)


def test_unclear_rank_asks_for_m(weights, rng):
    before, _ = weights
    noise = {n: {k: v + rng.normal(size=v.shape).astype(np.float32) for k, v in p.items()} for n, p in before.items()}
    with pytest.raises(ReconError, match="give m"):
        reconstruct(before, noise, progress=False)


def test_same_seed_same_result(weights):
    a, b, c = (reconstruct(*weights, steps=20, key=k, progress=False) for k in (0, 0, 1))
    np.testing.assert_array_equal(a.images, b.images)
    assert np.abs(a.images - c.images).max() > 0.1


@pytest.mark.parametrize("attack", ["ntk-fast", "ntk-minibatch"])
def test_starts_from_the_images_given(weights, rng, attack):
    start = rng.normal(size=(4, 3, 4, 1))
    found = reconstruct(*weights, attack=attack, start=start, image_shape=(3, 4, 1), steps=1, progress=False)
    np.testing.assert_allclose(found.start, start, atol=1e-6)
    assert 0 < np.abs(found.images - start).max() < 0.1  # Adam's first step moves no pixel by more than the rate


def test_result_says_what_was_done(weights):
    found = reconstruct(*weights, steps=20, image_shape=(3, 4, 1), box=(-3, 3), progress=False)
    assert found.images.shape == found.start.shape == (6, 3, 4, 1)
    assert found.steps == 20
    assert found.why == "schedule done"
    assert set(found.seconds) == {"trace", "compile", "run"}
    # Two passes and their gradient: a handful of multiply-adds for each weight and image, not thousands.
    parameters = sum(v.size for p in weights[0].values() for v in p.values())
    assert 4 < found.work["flops_per_step"] / (2 * 6 * parameters) < 40
    assert found.work["temporary_bytes"] > 0


def test_attacks_are_found_by_file():
    assert {"ntk", "ntk-fast"} <= set(attacks())


STEPS = {
    "ntk": {"steps": 20},
    "ntk-fast": {"steps": 20},
    "ntk-autodiff": {"steps": 20},
    "ntk-minibatch": {"steps": 20},
    "kkt": {"steps": 20},
    "dlg": {"steps": 8},
    "simudy": {"steps": 20, "train_rate": 0.1, "train_steps": 2},
}


@pytest.mark.parametrize("attack", STEPS)
def test_the_box_pulls_images_in(weights, attack):
    found = reconstruct(*weights, attack=attack, m=4, box=(-0.1, 0.1), box_weight=1e4, progress=False, **STEPS[attack])
    left = [np.abs(np.maximum(np.abs(x) - 0.1, 0)).mean() for x in (found.images, found.start)]
    assert left[0] < 0.6 * left[1]
