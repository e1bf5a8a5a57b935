import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from recon import ReconError, reconstruct
from recon.metrics import distances, greedy
from recon.networks import MLP
from recon.networks.conv_dense import ConvDense

SHAPE, N = (8, 8, 1), 6
NETWORK = ConvDense((24, 64), 1, (96,))


def stepped(network, x, y, rate=1.0, steps=1, frozen=False):
    """Weights before and after steps of plain descent."""
    before = jax.tree.map(np.asarray, network.init(jax.random.key(0), SHAPE))
    gradient = jax.jit(jax.grad(lambda p: 0.5 * jnp.mean((network.apply(p, x) - y) ** 2)))
    after = before
    for _ in range(steps):
        slope = gradient(after)
        after = {
            name: layer if frozen and name.startswith("Conv") else {k: layer[k] - rate * slope[name][k] for k in layer}
            for name, layer in after.items()
        }
    return before, jax.tree.map(np.asarray, after)


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    x = np.clip(rng.uniform(-1, 1, size=(N, *SHAPE)), -0.5, 0.5).astype(np.float32)
    return x, np.where(np.arange(N) % 2, 1.0, -1.0)[:, None].astype(np.float32)


def attacked(before, after, network=NETWORK, **options):
    options = {"box": (-0.5, 0.5), "linearised": True} | options
    return reconstruct(
        before, after, attack="exact-features", network=network, image_shape=SHAPE, m=N, progress=False, **options
    )


def test_images_of_one_gradient_step_come_back_certified(images):
    x, y = images
    found = attacked(*stepped(NETWORK, x, y))
    assert found.n_estimated == N
    assert found.certified.all()
    assert greedy(distances(x, found.images)).distance.max() < 1e-2
    assert greedy(distances(x, found.start)).distance.min() > 1


def test_images_behind_frozen_convolutions_come_back_after_many_steps(images):
    x, y = images
    network = dataclasses.replace(NETWORK, dense=(256,))
    found = attacked(*stepped(network, x, y, rate=0.1, steps=20, frozen=True), network=network, linearised=False)
    assert found.certified.all()
    assert greedy(distances(x, found.images)).distance.max() < 1e-2


def test_features_that_may_have_moved_are_not_certified_and_it_is_said(images):
    """The same change of the dense layers beside a change of the convolutions, however small."""
    x, y = images
    network = dataclasses.replace(NETWORK, dense=(256,))
    before, after = stepped(network, x, y, rate=0.1, steps=20, frozen=True)
    after = after | {"Conv_1": after["Conv_1"] | {"bias": np.full(64, 1e-9, np.float32)}}
    found = attacked(before, after, network=network, linearised=False)
    assert greedy(distances(x, found.images)).distance.max() < 1e-2
    assert not found.certified.any()
    assert not found.up_to_scale.any()
    assert any("the convolutions were trained" in doubt for doubt in found.doubts)


def test_a_change_of_permuted_units_certifies_nothing(images):
    x, y = images
    before, after = stepped(NETWORK, x, y)
    order = np.random.default_rng(0).permutation(96)
    first = {
        k: before["Dense_0"][k] + (after["Dense_0"][k] - before["Dense_0"][k])[..., order] for k in ("kernel", "bias")
    }
    found = attacked(before, after | {"Dense_0": first}, repairs=2, starts=200)
    assert not found.certified.any()
    assert not found.up_to_scale.any()


def test_features_fewer_than_pixels_are_not_certified_and_it_is_said(images):
    x, y = images
    network = dataclasses.replace(NETWORK, widths=(24, 8))
    found = attacked(*stepped(network, x, y), network=network, repairs=2)
    assert found.n_estimated == N
    assert not found.certified.any()
    assert any("do not determine" in d or "none was found that has their features" in d for d in found.doubts)


def test_biases_at_another_rate_leave_no_certificate(images):
    """Convolutions without biases are homogeneous, so that images come back too bright, and only the box tells."""
    x, y = images
    before, after = stepped(NETWORK, x, y)
    bias = before["Dense_0"]["bias"] + 2 * (after["Dense_0"]["bias"] - before["Dense_0"]["bias"])
    found = attacked(before, after | {"Dense_0": after["Dense_0"] | {"bias": bias}}, repairs=4)
    assert not found.certified.any()


def test_other_networks_are_refused(images):
    before = jax.tree.map(np.asarray, MLP((8,)).init(jax.random.key(0), 64))
    after = jax.tree.map(lambda a: a + 1, before)
    with pytest.raises(ReconError, match="ConvDense"):
        reconstruct(before, after, attack="exact-features", image_shape=SHAPE, progress=False)
