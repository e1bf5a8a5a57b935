"""Premises of the attack that files do not meet: they are said, and nothing is certified at a size they do not tell."""

import jax
import numpy as np
import pytest

import recon
from recon.auditing.premises import of_unit_kernels, unmet

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
        words = unmet(before, after, False, NTK)
        assert bool(words) is said
        assert all("rounding to float32" in w for w in words)
        assert not unmet(before, after, True, NTK)


def test_what_the_final_file_holds_besides_is_said(digits):
    first, last = trained(recon.MLP((W,)), digits, 1e-3)
    found = recon.audit(first, {**last, "ema": last}, progress=False)
    assert set(found.layout.left_out) == {f"ema/{layer}/{part}" for layer in first for part in first[layer]}
    assert "Not audited" in found.verdict


def test_activation_of_the_network_given_is_the_attacked_ones(digits):
    network = recon.MLP((W,), activation="tanh")
    before = jax.tree.map(np.asarray, network.init(jax.random.key(0), digits.train.x[0].size))
    after = recon.train(network, before, digits.train.x, digits.train.y, recon.Linearised()).final.params
    call = {"network": network, "linearised": True, "m": 6, "progress": False}
    made = recon.audit(before, after, attack="ntk-fast", seconds=1.0, **call)
    assert made.network.activation == "tanh"
    with pytest.raises(recon.ReconError, match="not for those of tanh: use ntk-fast"):
        recon.audit(before, after, **call)
