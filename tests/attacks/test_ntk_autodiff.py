import jax
import numpy as np
import pytest

from recon import reconstruct
from recon.attacks import gradient_matching as layerwise
from recon.attacks import ntk_autodiff as autodiff
from recon.dynamics import Linearised, train
from recon.metrics import distances, greedy
from recon.networks import MLP, softplus
from recon.networks.conv import CNN
from tests.conftest import flat, small_problem


def tree_of(network, shape, rng):
    """Random weights of the network's shapes, float64."""
    shapes = jax.eval_shape(lambda key: network.init(key, shape), jax.random.key(0))
    return jax.tree.map(lambda a: rng.normal(size=a.shape) / np.sqrt(a.size), shapes)


def test_losses_and_gradients_equal_the_layerwise_ones_on_an_mlp(x64, rng):
    network = MLP((9, 7), outputs=3)
    change, *trees = [tree_of(network, 6, rng) for _ in range(3)]
    x, duals, activation = rng.normal(size=(4, 6)), rng.normal(size=(2, 4, 3)), softplus(30.0)

    def everything(module, x, duals):
        target = module.Target(network, tuple(trees), change)
        free = jax.value_and_grad(lambda x, a: module.matching_loss(target, x, a, activation), argnums=(0, 1))
        best = jax.value_and_grad(lambda x: module.projected_loss(target, x, activation, 1e-3), has_aux=True)
        return free(x, duals), best(x)

    ours, theirs = (jax.jit(everything, static_argnums=0)(m, x, duals) for m in (autodiff, layerwise))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-9), ours, theirs)


def test_projected_duals_are_the_least_squares_solution_on_a_cnn(x64, rng):
    network, shape = CNN((4, 3)), (6, 6, 1)
    change, params = (tree_of(network, shape, rng) for _ in range(2))
    target = autodiff.Target(network, (params,), change)
    x, activation = rng.normal(size=(3, *shape)), softplus(30.0)

    @jax.jit
    def solved(x):
        loss, duals = autodiff.projected_loss(target, x, activation, ridge=0.0)
        return loss, duals, autodiff.matching_loss(target, x, duals, activation)

    loss, duals, matched = solved(x)
    gradient = jax.jit(jax.grad(lambda p, image: network.apply(p, image, activation)[0, 0]))
    columns = np.stack([flat(gradient(params, x[i : i + 1])) for i in range(3)], axis=1)
    expected, *_ = np.linalg.lstsq(columns, flat(change), rcond=None)
    np.testing.assert_allclose(duals.ravel() / 3, expected, rtol=1e-7)
    assert float(loss) == pytest.approx(float(matched), rel=1e-8)


@pytest.mark.parametrize(
    ("attack", "options"),
    [("ntk-fast", {}), ("ntk", {"duals": "free", "learning_rate": 0.02, "decay": "constant"})],
)
def test_descends_as_the_attack_on_an_mlp_does(attack, options):
    network, params0, x, y = small_problem(n=3, dim=6, widths=(16, 16))
    final = train(network, params0, x, y, Linearised()).final.params
    call = {"m": 4, "key": 3, "steps": 7, "linearised": True, "box": (-0.1, 0.1), "image_shape": (2, 3, 1)}
    ours = reconstruct(params0, final, attack="ntk-autodiff", progress=False, snapshots=2, **call, **options)
    theirs = reconstruct(params0, final, attack=attack, progress=False, **call)
    np.testing.assert_array_equal(ours.start, theirs.start)
    np.testing.assert_allclose(ours.images, theirs.images, atol=2e-4)
    np.testing.assert_allclose(ours.duals, theirs.duals, rtol=1e-2, atol=1e-3)
    np.testing.assert_array_equal(ours.snapshots[-1].images, ours.images)


def test_images_of_a_small_cnn_come_back(rng):
    network, shape = CNN((24, 48)), (6, 6, 1)
    params0 = jax.tree.map(np.asarray, network.init(jax.random.key(0), shape))
    x = rng.uniform(-0.5, 0.5, size=(2, *shape)).astype(np.float32)
    y = np.array([[1.0], [-1.0]], np.float32)
    final = train(network, params0, x, y, Linearised()).final.params
    found = reconstruct(
        params0, final, attack="ntk-autodiff", network=network, image_shape=shape, box=(-0.5, 0.5), m=4,
        linearised=True, steps=500, progress=False,
    )  # fmt: skip
    errors = [greedy(distances(x, images)).distance.mean() for images in (found.images, found.start)]
    assert errors[0] < 0.6 * errors[1]
