"""The kernels that the suite spends its time in: `make benchmark-kernels` times them, the tests only run them once."""

import jax
import numpy as np
import pytest

from recon.attacks import Problem
from recon.attacks.exact import observed
from recon.attacks.first_layer.deflated import deflated, starts
from recon.attacks.first_layer.patterns import stage_one
from recon.attacks.first_layer.vectors import none
from recon.attacks.gradient_matching import Target, matching_loss, projected_loss
from recon.dynamics import Linearised, train
from recon.kernels import ntk, ntk_by_jacobian
from recon.kernels.infinite import InfiniteMLP
from recon.kernels.neural_tangents import infinite_kernels
from recon.metrics import distances, greedy
from recon.networks import MLP, softplus
from recon.tasks import load_task

SIZES = [(20, 512), (50, 1024)]


@pytest.fixture(scope="module", params=SIZES, ids=lambda s: f"{s[0]}/{s[1]}")
def trained(request):
    n, width = request.param
    data = load_task("mnist_odd_even", n, seed=0, source="samples")
    network = MLP((width, width))
    params = jax.tree.map(np.asarray, network.init(jax.random.key(0), 784))
    return network, data, train(network, params, data.train.x, data.train.y, Linearised())


@pytest.mark.parametrize("kernel", [ntk, ntk_by_jacobian])
def test_ntk_block(staged, trained, kernel):
    network, data, run = trained
    if kernel is ntk_by_jacobian and network.widths[0] > 512:
        pytest.skip("a Jacobian of 20 images at W = 1024 takes seconds a round")
    x = data.train.x[:20]
    value = staged.compiled(lambda p, x: kernel(network, p, x), run.initial.params, x)
    assert value.shape == (20, 1, 20, 1)


@pytest.mark.parametrize("by", ["recursion", pytest.param("neural_tangents", marks=pytest.mark.neural_tangents)])
def test_infinite_ntk_and_gradient(staged, rng, by):
    network = InfiniteMLP()
    x, others = (rng.normal(size=(n, 784)).astype(np.float32) for n in (20, 500))

    def total(x, others):
        kernel = network.ntk(others, x) if by == "recursion" else infinite_kernels(network, others, x)[1]
        return (kernel**2).sum()

    value, slope = staged.compiled(jax.value_and_grad(total), x, others)
    assert np.isfinite(value)
    assert np.isfinite(slope).all()


@pytest.mark.parametrize("duals", ["free", "projected"])
def test_loss_and_gradient(staged, trained, duals):
    network, data, run = trained
    change = jax.tree.map(lambda a, b: b - a, run.initial.params, run.final.params)
    m = 2 * len(data.train.x)
    x = 0.2 * np.random.default_rng(0).normal(size=(m, 784)).astype(np.float32)

    def loss(v, points, change):
        target = Target(network, points, change)
        if duals == "free":
            return matching_loss(target, v["x"], v["duals"], softplus(100.0))
        return projected_loss(target, v["x"], softplus(100.0), 1e-4)[0]

    v = {"x": x} | ({"duals": np.full((1, m, 1), 0.1, np.float32)} if duals == "free" else {})
    value, slope = staged.compiled(jax.value_and_grad(loss), v, (run.initial.params,), change)
    assert np.isfinite(value)
    assert np.abs(slope["x"]).max() > 0


def test_search_round(staged, trained):
    network, data, run = trained
    problem = Problem(
        network, run.initial.params, run.final.params, data.image_shape, data.box, True, 2 * len(data.train.x)
    )
    seen = observed(problem)
    rng = np.random.default_rng(0)
    found = none(seen.n)
    reduced = deflated(seen, found)
    y = starts(seen, found, reduced, 128, rng)
    _, _, share, rounds = staged.timed(lambda: stage_one(reduced, y, np.random.default_rng(0), 1))
    assert rounds == 128
    assert share.max() <= 1


@pytest.mark.parametrize("n", [20, 200])
def test_matching(staged, n):
    rng = np.random.default_rng(0)
    x, found = rng.normal(size=(n, 784)), rng.normal(size=(2 * n, 784))
    matching = staged.timed(lambda: greedy(distances(x, found)))
    assert sorted(set(matching.index)) == sorted(matching.index)
