import jax
import jax.numpy as jnp
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


@pytest.mark.parametrize(("points", "outputs"), [(1, 1), (2, 3)])
def test_losses_and_gradients_equal_the_layerwise_ones_on_an_mlp(x64, rng, points, outputs):
    network = MLP((9, 7), outputs=outputs)
    change, *trees = [network.init(jax.random.key(s), 6) for s in range(points + 1)]
    x, duals = jnp.asarray(rng.normal(size=(4, 6))), jnp.asarray(rng.normal(size=(points, 4, outputs)))
    activation = softplus(30.0)
    free, projected = (
        [
            module.matching_loss(module.Target(network, tuple(trees), change), x, duals, activation),
            jax.grad(lambda x, a, m=module: m.matching_loss(
                m.Target(network, tuple(trees), change), x, a, activation), argnums=(0, 1))(x, duals),
        ]
        for module in (layerwise, autodiff)
    )  # fmt: skip
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10), free, projected)
    ours, theirs = (
        jax.value_and_grad(
            lambda x, m=module: m.projected_loss(m.Target(network, tuple(trees), change), x, activation, 1e-3),
            has_aux=True,
        )(x)
        for module in (autodiff, layerwise)
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-9), ours, theirs)


def test_projected_duals_are_the_least_squares_solution_on_a_cnn(x64, rng):
    network, shape = CNN((4, 3)), (6, 6, 1)
    change, params = (network.init(jax.random.key(s), shape) for s in (0, 1))
    target = autodiff.Target(network, (params,), change)
    x, activation = jnp.asarray(rng.normal(size=(3, *shape))), softplus(30.0)
    loss, duals = autodiff.projected_loss(target, x, activation, ridge=0.0)
    columns = np.stack(
        [flat(jax.grad(lambda p, i=i: network.apply(p, x[i : i + 1], activation)[0, 0])(params)) for i in range(3)], 1
    )
    expected, *_ = np.linalg.lstsq(columns, flat(change), rcond=None)
    np.testing.assert_allclose(duals.ravel() / 3, expected, rtol=1e-7)
    assert float(loss) == pytest.approx(float(autodiff.matching_loss(target, x, duals, activation)), rel=1e-8)


def test_descends_as_the_fast_attack_does_on_an_mlp():
    network, params0, x, y = small_problem(n=3, dim=6, widths=(16, 16))
    final = train(network, params0, x, y, Linearised()).final.params
    call = {"m": 4, "key": 3, "steps": 7, "linearised": True, "box": (-3.0, 3.0), "progress": False}
    ours, fast = (
        reconstruct(params0, final, attack=a, image_shape=(2, 3, 1), **call) for a in ("ntk-autodiff", "ntk-fast")
    )
    np.testing.assert_array_equal(ours.start, fast.start)
    np.testing.assert_allclose(ours.images, fast.images, atol=2e-4)
    np.testing.assert_allclose(ours.duals, fast.duals, rtol=1e-2, atol=1e-3)


def test_images_of_a_small_cnn_come_back(rng):
    network, shape = CNN((24, 48)), (6, 6, 1)
    params0 = jax.tree.map(np.asarray, network.init(jax.random.key(0), shape))
    x = rng.uniform(-0.5, 0.5, size=(2, *shape)).astype(np.float32)
    y = np.array([[1.0], [-1.0]], np.float32)
    final = train(network, params0, x, y, Linearised()).final.params
    call = {"attack": "ntk-autodiff", "network": network, "image_shape": shape, "m": 4, "linearised": True}
    for options in ({"steps": 500}, {"steps": 800, "duals": "free", "x_scale": 0.1, "snapshots": 2}):
        found = reconstruct(params0, final, box=(-0.5, 0.5), progress=False, **call, **options)
        errors = [greedy(distances(x, images)).distance.mean() for images in (found.images, found.start)]
        print(options, errors)
        assert errors[0] < 0.6 * errors[1]
