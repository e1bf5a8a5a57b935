import jax
import numpy as np
import pytest

from recon.attacks.inversion import Box, Convolutions, inverted, moved_by_noise, solved
from recon.networks.conv_dense import ConvDense
from recon.progress import silent
from tests.networks.test_conv_dense import NETWORKS, by_loops

SHAPE = (8, 8, 1)


def convolutions(network, shape=SHAPE, bias=0.1):
    """With initial kernels, and biases of that size."""
    params, rng = network.init(jax.random.key(0), shape), np.random.default_rng(0)
    made = {
        name: {"kernel": np.asarray(layer["kernel"]), "bias": bias * rng.standard_normal(layer["bias"].shape)}
        for name, layer in params.items()
    }
    return Convolutions(network, made, shape)


@pytest.mark.parametrize(("network", "shape"), NETWORKS)
def test_matrices_give_the_features_and_their_derivative(x64, rng, network, shape):
    ours, x = convolutions(network, shape), rng.normal(size=shape)
    h, slope = ours.linear(x.ravel())
    np.testing.assert_allclose(h, by_loops(network, ours.params, x), rtol=1e-12, atol=1e-12)
    move = 1e-6 * rng.normal(size=x.size)
    ahead, behind = (by_loops(network, ours.params, x + part.reshape(shape)) for part in (move, -move))
    np.testing.assert_allclose(slope @ move, (ahead - behind) / 2, rtol=1e-4, atol=1e-11)
    seen = [np.flatnonzero(slope[i].toarray()) for i in range(slope.shape[0]) if slope[i].nnz]
    rows = [np.ptp(np.unravel_index(pixels, shape)[0]) + 1 for pixels in seen]
    assert max(rows) <= ours.reach


def pictures(rng, count, shape=SHAPE):
    """In a box of 0 to 1, half of the pixels black."""
    return np.clip(rng.uniform(-1, 1, size=(count, *shape)), 0, 1)


@pytest.mark.parametrize("down", ["stride", "average", "max"])
def test_images_come_back_from_their_features(rng, down):
    network = ConvDense((24, 48 if down == "stride" else 96), down=down)
    ours, x = convolutions(network), pictures(rng, 3)
    h = np.array([by_loops(network, ours.params, image) for image in x])
    noise = 1e-7 * np.sqrt(np.mean(h**2))
    made = inverted(ours, h, noise, Box.of((0.0, 1.0), SHAPE), 30, rng, silent)
    assert made.matched.all()
    np.testing.assert_allclose(made.x, x.reshape(3, -1), atol=1e-4)


def test_an_image_is_as_near_as_its_features_noise_promises(rng):
    """And not ten times nearer than it has to be told, without a box."""
    network = ConvDense((24, 64))
    ours, x = convolutions(network), pictures(rng, 12)
    for box, slack in ((Box.of((0.0, 1.0), SHAPE), 1000), (Box.of(None, SHAPE), 10)):
        bounds, apart = [], []
        for image in x:
            noise = 1e-5
            h = by_loops(network, ours.params, image)
            h += noise * rng.standard_normal(h.shape)
            found = solved(ours, image.ravel(), h, box)
            bounds.append(moved_by_noise(ours, found, h, noise, box))
            apart.append(np.linalg.norm(found - image.ravel()))
        bounds, apart = np.array(bounds), np.array(apart)
        told = np.isfinite(bounds)
        assert told.sum() >= 6
        assert (apart <= bounds).all()
        assert np.median(bounds[told] / apart[told]) < slack


def test_fewer_features_than_pixels_tell_no_image(rng):
    ours = convolutions(ConvDense((24, 8)))
    x = rng.uniform(0.1, 0.9, size=64)
    assert moved_by_noise(ours, x, ours.features(x), 1e-9, Box.of((0.0, 1.0), SHAPE)) == np.inf


@pytest.mark.parametrize("unseen", [0.0, 0.5, 1.0])
def test_a_pixel_that_no_feature_sees_is_not_told(rng, unseen):
    """2 × 2 kernels at every third pixel leave out every third row and column: at an end of the box as inside."""
    network = ConvDense((64,), size=2, stride=3, valid=(0,))
    ours = convolutions(network)
    x = rng.uniform(0.1, 0.9, size=SHAPE)
    x[:, [2, 5]] = x[[2, 5]] = unseen
    seen = np.array([by_loops(network, ours.params, image) for image in (x, np.where(x == unseen, 0.3, x))])
    np.testing.assert_array_equal(*seen)
    assert moved_by_noise(ours, x.ravel(), seen[0], 1e-9, Box.of((0.0, 1.0), SHAPE)) == np.inf


def test_black_pixels_are_told_by_features_too_few_for_all_pixels(rng):
    """Not without the box."""
    network = ConvDense((24, 28))
    ours, x = convolutions(network), np.zeros(SHAPE)
    x[2:5, 2:5] = rng.uniform(0.1, 0.9, size=(3, 3, 1))
    h = by_loops(network, ours.params, x)
    assert np.count_nonzero(h) < x.size + 8
    inside, anywhere = (moved_by_noise(ours, x.ravel(), h, 1e-9, Box.of(box, SHAPE)) for box in ((0.0, 1.0), None))
    assert inside < 1e-4
    assert anywhere == np.inf
