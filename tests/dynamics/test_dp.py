import dataclasses

import jax
import numpy as np
import pytest

from recon.dynamics import Descent, outputs, train
from recon.dynamics.dp import PrivateDescent
from recon.errors import ReconError
from tests.conftest import flat, small_problem


def gradient(theta, x, y):
    """Of one image's ½‖f − y‖² by hand in plain NumPy, as one vector in the order of `flat`."""
    (b1, w1), (b2, w2), (b3, w3) = ([np.float64(theta[f"Dense_{i}"][k]) for k in ("bias", "kernel")] for i in range(3))
    z1 = x @ w1 + b1
    z2 = np.maximum(z1, 0) @ w2 + b2
    d3 = np.maximum(z2, 0) @ w3 + b3 - y
    d2 = (w3 @ d3) * (z2 > 0)
    d1 = (w2 @ d2) * (z1 > 0)
    pairs = (d1, np.outer(x, d1)), (d2, np.outer(np.maximum(z1, 0), d2)), (d3, np.outer(np.maximum(z2, 0), d3))
    return np.concatenate([a.ravel() for pair in pairs for a in pair])


@pytest.mark.parametrize("loss", [0.4, 0.2, 0.05])
def test_without_clip_and_noise_it_is_descent_step_for_step(loss):
    network, params0, x, y = small_problem()
    plain = train(network, params0, x, y, Descent(learning_rate=0.1, loss=loss, dtype="float64"))
    bare = PrivateDescent(clip=None, steps=plain.final.step, learning_rate=0.1, dtype="float64")
    private = train(network, params0, x, y, bare)
    assert plain.final.step > 0
    np.testing.assert_allclose(flat(private.final.params), flat(plain.final.params), atol=1e-7)
    # Far from binding, a clip changes nothing either; and the losses along the way are descent's.
    loose = train(network, params0, x, y, dataclasses.replace(bare, clip=1e6))
    np.testing.assert_array_equal(flat(loose.final.params), flat(private.final.params))
    before = train(network, params0, x, y, dataclasses.replace(bare, steps=1)).final.loss
    np.testing.assert_allclose(private.trace[[0, 1, -1], 1], [plain.initial.loss, before, plain.final.loss], rtol=1e-6)


def test_losses_are_summed_over_the_steps_at_their_rate():
    network, params0, x, y = small_problem()
    rule = PrivateDescent(clip=None, steps=2, learning_rate=0.1, dtype="float64")
    after = train(network, params0, x, y, dataclasses.replace(rule, steps=1)).final.params
    each = [0.5 * np.sum((outputs(network, p, p, x, linearised=False) - y) ** 2, axis=1) for p in (params0, after)]
    np.testing.assert_allclose(train(network, params0, x, y, rule).loss_path, 0.1 * sum(each), rtol=1e-5)


def test_clipped_steps_equal_brute_force():
    network, params0, x, y = small_problem()
    rate, steps = 0.1, 3
    clip = float(np.median([np.linalg.norm(gradient(params0, *pair)) for pair in zip(x, y)]))
    theta, lengths = params0, []
    for _ in range(steps):
        total = np.zeros_like(flat(theta))
        for i in range(len(x)):
            own = gradient(theta, x[i], y[i])
            lengths.append(np.linalg.norm(own))
            total += own * min(1.0, clip / lengths[-1])
        leaves, shape = jax.tree.flatten(theta)
        moved = np.split(flat(theta) - rate * total / len(x), np.cumsum([a.size for a in leaves])[:-1])
        theta = jax.tree.unflatten(shape, [m.reshape(a.shape) for m, a in zip(moved, leaves)])
    settings = PrivateDescent(clip=clip, steps=steps, learning_rate=rate, dtype="float64")
    found = train(network, params0, x, y, settings)
    assert min(lengths) < clip < max(lengths)  # it binds for some images and not for others
    np.testing.assert_allclose(flat(found.final.params), flat(theta), atol=1e-7)


def test_noise_is_white_and_of_the_stated_size():
    network, params0, x, y = small_problem(widths=(64, 64))
    settings = PrivateDescent(clip=0.5, noise_multiplier=3.0, steps=1, learning_rate=0.1)
    states = [
        flat(train(network, params0, x, y, dataclasses.replace(settings, noise_multiplier=s, seed=k)).final.params)
        for s, k in ((0.0, 0), (3.0, 0), (3.0, 1))
    ]
    expected = 0.1 * 3.0 * 0.5 / len(x)
    first, second = ((s - states[0]) / expected for s in states[1:])
    size = len(first)
    assert abs(first.mean()) < 4 / np.sqrt(size)
    assert abs(np.mean(first**2) - 1) < 4 * np.sqrt(2 / size)
    assert abs(first @ second) / size < 4 / np.sqrt(size)  # other seeds, other noise
    again = train(network, params0, x, y, dataclasses.replace(settings, seed=1)).final.params
    np.testing.assert_array_equal(flat(again), states[2])


def test_noise_of_steps_is_independent():
    """Noise far above any gradient adds up as √steps."""
    network, params0, x, y = small_problem(widths=(64, 64))
    settings = PrivateDescent(clip=1e-3, noise_multiplier=100.0, steps=60, learning_rate=0.01)
    moved = flat(train(network, params0, x, y, settings).final.params) - flat(params0)
    expected = 0.01 * 100.0 * 1e-3 / len(x) * np.sqrt(60)
    assert abs(np.mean((moved / expected) ** 2) - 1) < 5 * np.sqrt(2 / len(moved))


def test_sampled_steps_take_images_by_coins():
    """An unclipped step at rate q is minus η/(qN) of the drawn gradients' sum; over seeds, a share q is drawn."""
    network, params0, x, y = small_problem(n=4)
    single = [gradient(params0, x[i], y[i]) for i in range(4)]
    drawn = []
    for seed in range(60):
        rule = PrivateDescent(clip=None, steps=1, learning_rate=0.1, sampling_rate=0.3, dtype="float64", seed=seed)
        moved = flat(params0) - flat(train(network, params0, x, y, rule).final.params)
        part = np.linalg.lstsq(np.stack(single, axis=1), moved * 0.3 * 4 / 0.1, rcond=None)[0]
        np.testing.assert_allclose(part, part.round(), atol=1e-4)
        drawn.append(part.round())
    assert set(np.ravel(drawn)) == {0.0, 1.0}
    assert abs(np.mean(drawn) - 0.3) < 4 * np.sqrt(0.21 / 240)


@pytest.mark.parametrize(
    "wrong",
    [{"clip": 0.0}, {"noise_multiplier": -1.0}, {"steps": 0}, {"sampling_rate": 0.0}, {"clip": None}],
)
def test_impossible_settings(wrong):
    network, params0, x, y = small_problem()
    with pytest.raises(ReconError, match="DP-SGD"):
        train(network, params0, x, y, PrivateDescent(**{"noise_multiplier": 1.0, **wrong}))


def test_divergence_is_said():
    network, params0, x, y = small_problem()
    with pytest.raises(ReconError, match="lower the learning rate"):
        train(network, params0, x, y, PrivateDescent(clip=None, steps=60, learning_rate=1e30))
