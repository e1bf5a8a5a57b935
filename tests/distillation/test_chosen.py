import numpy as np
import pytest

from recon import ReconError
from recon.distillation.chosen import CHOICES, choose
from recon.kernels.infinite import InfiniteMLP
from recon.kernels.neural_tangents import infinite_kernels
from recon.tasks import targets


def clusters(rng, classes=2, each=12):
    """Images of classes that lie around three centres each, and their targets."""
    centres = 10 * rng.normal(size=(classes, 3, 5))
    group = np.repeat(np.arange(classes), each)
    x = centres[group, np.tile(np.arange(3), classes * each // 3)] + 0.01 * rng.normal(size=(len(group), 5))
    return x.astype(np.float32)[::-1].copy(), targets(group, classes)[::-1].copy(), centres


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("name", CHOICES)
def test_sets_are_balanced_training_images_with_their_targets(rng, name, classes):
    x, y, _ = clusters(rng, classes)
    made = choose(name, x, y, 3, seed=1)
    each = 12 if name == "all" else 3
    np.testing.assert_array_equal(made.labels, targets(np.repeat(np.arange(classes), each), classes))
    index = [int(np.flatnonzero((x == image).all(axis=1))[0]) for image in made.images]
    assert len(set(index)) == len(index)
    np.testing.assert_array_equal(y[index], made.labels)
    np.testing.assert_array_equal(made.images, choose(name, x, y, 3, seed=1).images)
    assert (made.method, made.steps) == (name, 0)


def test_k_means_takes_one_image_of_each_cluster(rng):
    x, y, centres = clusters(rng)
    made = choose("k-means", x, y, 3)
    nearest = np.linalg.norm(made.images[:, None] - centres.reshape(-1, 5), axis=2)
    assert set(nearest.argmin(axis=1)) == set(range(6))
    assert nearest.min(axis=1).max() < 0.1


def test_k_means_with_as_many_centres_as_images_takes_each_once(rng):
    x, y, _ = clusters(rng)
    assert len(np.unique(choose("k-means", x, y, 12).images, axis=0)) == 24


@pytest.mark.neural_tangents
def test_largest_alpha_by_neural_tangents(rng, x64):
    x, y, _ = clusters(rng)
    x += rng.normal(size=x.shape).astype(np.float32)
    k = np.asarray(infinite_kernels(InfiniteMLP(), np.float64(x), np.float64(x))[1])
    alpha = np.abs(np.linalg.solve(k + 1e-5 * np.trace(k) / len(k) * np.eye(len(k)), y))[:, 0]
    made = choose("largest-alpha", x, y, 2)
    for sign, half in ((-1, made.images[:2]), (1, made.images[2:])):
        mine = np.flatnonzero(y[:, 0] == sign)
        np.testing.assert_array_equal(half, x[mine[np.argsort(-alpha[mine])[:2]]])


def test_random_sets_differ_by_seed(rng):
    x, y, _ = clusters(rng)
    assert np.abs(choose("random", x, y, 3, 0).images - choose("random", x, y, 3, 1).images).max() > 0


def test_impossible_choices_are_refused(rng):
    x, y, _ = clusters(rng)
    with pytest.raises(ReconError, match="Unknown choice"):
        choose("best", x, y, 3)
    for many in (0, 13):
        with pytest.raises(ReconError, match="choose 1 to 12"):
            choose("random", x, y, many)
