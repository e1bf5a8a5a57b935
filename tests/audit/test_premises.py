"""Premises of the attack that files do not meet: they are said, and nothing is certified at a size they do not tell."""

import jax
import numpy as np
import pytest

import recon
from recon.auditing.premises import of_unit_kernels, unmet, unrelated, weights_like

N, W = 6, 192
NTK = recon.MLP((W,), parametrisation="ntk", w_std=2**0.5, b_std=0.1)


@pytest.fixture(scope="module")
def digits():
    return recon.load_task("mnist_odd_even", N, seed=0, source="samples", n_test=1)


def trained(network, digits, eta=1e-2):
    """Weights before and after a few hundred steps."""
    x, y = digits.train.x.reshape(N, -1), digits.train.y.reshape(N, -1)
    first = network.init(jax.random.key(0), x.shape[1])

    @jax.jit
    def step(params):
        grad = jax.grad(lambda p: 0.5 * ((network.apply(p, x) - y) ** 2).sum())(params)
        return jax.tree.map(lambda a, g: a - eta * g, params, grad)

    last = first
    for _ in range(200):
        last = step(last)
    return [jax.tree.map(np.asarray, tree) for tree in (first, last)]


def test_ntk_parametrisation_gives_no_image_another_size(digits):
    pair, x = trained(NTK, digits), digits.train.x
    untold = recon.audit(*pair, data=x, progress=False)
    assert (untold.certified, untold.vouched, untold.up_to_scale) == (0, N, True)
    assert untold.train.within == N
    assert "as in the NTK parametrisation" in untold.verdict
    told = recon.audit(*pair, data=x, network=NTK, progress=False)
    assert told.certified == told.train.within == N
    assert "NTK" not in told.verdict
    # The pixels fit the box at another size than the network as it is taken for: one of the two is not as told.
    boxed = recon.audit(*pair, data=x, mean=float(digits.mean[0]), progress=False)
    assert (boxed.certified, boxed.vouched) == (0, N)
    assert "the pixels are whole levels of 8 bits at" in boxed.verdict


def drawn(network, seed):
    """Initial weights for 20 inputs."""
    return jax.tree.map(np.asarray, network.init(jax.random.key(seed), 20))


@pytest.mark.parametrize("network", [recon.MLP((W,)), recon.MLP((64, 32), init_rule="uniform"), recon.MLP((8, 8))])
def test_kernels_of_one_as_their_deviation_are_told(network):
    for seed in range(5):
        assert not of_unit_kernels(drawn(network, seed))
        ntk = recon.MLP(network.widths, parametrisation="ntk")
        assert of_unit_kernels(drawn(ntk, seed))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_change_that_rounding_hides_is_said(dtype, rng):
    kernel = rng.normal(0, 0.05, (30, 20)).astype(dtype)
    before = {"Dense_0": {"kernel": kernel}}
    for size, said in ((1e-6, True), (1e-3, False), (0, False)):
        after = {"Dense_0": {"kernel": (kernel * (1 + size)).astype(dtype)}}
        words = unmet(before, after, None, NTK)
        assert bool(words) is said
        assert all("rounding to float32" in w for w in words)
        assert not unmet(before, after, after, NTK)


def test_what_the_final_file_holds_besides_is_said(digits):
    first, last = trained(recon.MLP((W,)), digits, 1e-3)
    found = recon.audit(first, {**last, "ema": last}, progress=False)
    assert set(found.layout.left_out) == {f"ema/{layer}/{part}" for layer in first for part in first[layer]}
    assert "Not audited" in found.verdict


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


def test_activation_of_the_network_given_is_the_attacked_ones(digits):
    network = recon.MLP((W,), activation="tanh")
    before = jax.tree.map(np.asarray, network.init(jax.random.key(0), digits.train.x[0].size))
    after = recon.train(network, before, digits.train.x, digits.train.y, recon.Linearised()).final.params
    call = {"network": network, "linearised": True, "m": 6, "progress": False}
    made = recon.audit(before, after, attack="ntk-fast", seconds=1.0, **call)
    assert made.network.activation == "tanh"
    exact = recon.audit(before, after, **call)
    assert exact.network.activation == "tanh"
    assert exact.attacks[0] == "exact"
    # Untold, the change itself shows that all gradients were taken at the initial weights.
    untold = recon.audit(before, after, **call | {"linearised": False})
    assert untold.activation.trials[0].along < 0.01
    assert untold.vouched == exact.vouched
