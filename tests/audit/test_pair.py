"""Whether the files of an audit belong together."""

import jax
import numpy as np
import pytest

import recon
from recon.auditing.pair import unrelated, weights_like

NETWORK, D = recon.MLP((128, 64)), 60


def weights(seed):
    params = jax.tree.map(np.asarray, NETWORK.init(jax.random.key(seed), D))
    rng = np.random.default_rng(seed)  # biases that are no zeros
    return {k: {**v, "bias": rng.normal(0, 0.1, v["bias"].shape).astype(np.float32)} for k, v in params.items()}


def moved(params, size, seed=9):
    """Weights after a change of that relative size, of low rank in the kernels as of a few images."""
    rng = np.random.default_rng(seed)

    def one(a):
        step = (
            rng.normal(size=(*a.shape[:-1], 3)) @ rng.normal(size=(3, a.shape[-1]))
            if a.ndim > 1
            else rng.normal(size=a.shape)
        )
        return (a + size * np.linalg.norm(a) * step / np.linalg.norm(step)).astype(np.float32)

    return jax.tree.map(one, params)


@pytest.mark.parametrize("seed", range(3))
def test_networks_of_two_seeds_are_unrelated_and_training_relates_them(seed):
    before = weights(seed)
    assert unrelated(before, weights(seed + 10))
    assert unrelated(before, moved(weights(seed + 10), 1.0))
    for size in (0.01, 1.0, 5.0):
        assert not unrelated(before, moved(before, size))


def test_verdict_says_that_two_files_are_of_two_networks():
    made = recon.audit(weights(0), weights(1), seconds=1.0, progress=False)
    assert "The two files look like two different networks" in made.verdict


def scaled(tree, factor):
    return jax.tree.map(lambda a: np.float32(factor) * a, tree)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, jax.numpy.bfloat16])
@pytest.mark.parametrize("factor", [1.0, -3.0, 1e-4])
def test_weights_are_no_state_however_scaled_and_rounded(dtype, factor):
    params = weights(0)
    assert weights_like(scaled(jax.tree.map(lambda a: np.asarray(a, dtype).astype(np.float32), params), factor), params)


def test_late_state_of_an_optimiser_with_decay_is_one():
    params = weights(0)
    for share in (0.1, 1e-2, 1e-3):  # what the images gave, in the decay's term
        state = scaled(moved(params, share), 1e-4)
        kernels = [tree["Dense_0"]["kernel"].ravel() for tree in (state, params)]
        assert np.dot(*kernels) / np.prod([np.linalg.norm(k) for k in kernels]) > 0.99
        assert not weights_like(state, params)
        assert weights_like(moved(params, share), params)  # the weights a while ago
    # One layer like the weights is not all of them.
    assert not weights_like({**moved(params, 1.0), "Dense_0": params["Dense_0"]}, params)
    assert not weights_like(scaled(params, 0.0), params)
