import jax
import numpy as np
import pytest

from recon import ReconError, reconstruct
from recon.attacks.base import Problem
from recon.attacks.exact_patches import joined, of_patches
from recon.dynamics import Linearised, train
from recon.metrics import distances, greedy
from recon.networks.conv import CNN, patches

SHAPE, SIDE = (12, 12, 1), 6


@pytest.fixture(scope="module")
def embedding():
    """A network on disjoint patches, its training images and its training run."""
    network, rng = CNN((96,), patch=SIDE), np.random.default_rng(0)
    params0 = jax.tree.map(np.asarray, network.init(jax.random.key(0), SHAPE))
    x = rng.uniform(-0.5, 0.5, size=(4, *SHAPE)).astype(np.float32)
    y = np.array([[1.0], [-1.0], [1.0], [-1.0]], np.float32)
    return network, x, train(network, params0, x, y, Linearised())


def test_images_come_back_patch_by_patch(embedding):
    network, x, trained = embedding
    found = reconstruct(
        trained.initial.params, trained.final.params, attack="exact-patches", network=network,
        image_shape=SHAPE, box=(-0.5, 0.5), m=8, linearised=True, progress=False,
    )  # fmt: skip
    assert found.n_estimated == 4
    assert found.images.shape == (4, *SHAPE)
    assert found.start.shape == (8, *SHAPE)
    assert found.certified.all()
    assert greedy(distances(x, found.images)).distance.max() < 1e-3
    assert greedy(distances(x, found.start)).distance.min() > 1


def test_joined_undoes_patches(rng):
    x = rng.normal(size=(3, 4, 6, 2)).astype(np.float32)
    parts = np.asarray(patches(x, 2, 2, False)).reshape(3, 6, 2, 2, 2)
    np.testing.assert_array_equal(joined(parts, (4, 6, 2)), x)


def test_kernels_of_3_by_3_tell_no_rank():
    """One image fills all nine inputs and the bias; the dense layer's change is one vector for each output."""
    network = CNN((24, 8))
    params0 = jax.tree.map(np.asarray, network.init(jax.random.key(0), (8, 8, 1)))
    x = np.random.default_rng(0).normal(size=(1, 8, 8, 1)).astype(np.float32)
    after = train(network, params0, x, np.ones((1, 1), np.float32), Linearised()).final.params
    change = jax.tree.map(np.subtract, after, params0)
    first = np.concatenate([change["Conv_0"]["kernel"].reshape(9, -1), change["Conv_0"]["bias"][None]])
    singular = np.linalg.svd(first, compute_uv=False)
    assert len(singular) == 10
    assert (singular[:-1] / singular[1:]).max() < 100  # no gap: a clear one is a thousandfold
    problem = Problem(network, params0, after, (8, 8, 1), None, True, 2)
    with pytest.raises(ReconError, match="use ntk-autodiff"):
        of_patches(problem)
