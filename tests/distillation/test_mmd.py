import numpy as np
import pytest

from recon import ReconError, distill
from recon.distillation.mmd import mmd_loss
from recon.kernels.infinite import InfiniteMLP
from recon.kernels.neural_tangents import infinite_kernels
from recon.metrics import distances, greedy

KERNEL = InfiniteMLP(depth=1, w_std=1.4, b_std=0.3)


def problem(rng, n=6, dim=6, outputs=1):
    """Images on a sphere, duals, and the squared norm of what they add up to."""
    x = rng.normal(size=(n, dim))
    alpha = rng.normal(size=(n, outputs))
    k = np.asarray(infinite_kernels(KERNEL, x, x)[1])
    return x, alpha, np.array(np.sum(alpha * (k @ alpha)))


@pytest.mark.neural_tangents
@pytest.mark.parametrize("outputs", [1, 3])
def test_loss_is_that_of_the_best_weights(x64, rng, outputs):
    x, alpha, norm = problem(rng, outputs=outputs)
    images = rng.normal(size=(9, 6))
    found = float(mmd_loss(KERNEL, 0.0, images, np.zeros((9, outputs)), x, alpha, norm))
    joint = np.concatenate([x, images])
    k = np.asarray(infinite_kernels(KERNEL, joint, joint)[1])
    # Least squares in a space where inner products are the kernel: columns of its root.
    values, vectors = np.linalg.eigh(k)
    phi = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    target = phi[:, :6] @ alpha
    beta = np.linalg.lstsq(phi[:, 6:], target, rcond=None)[0]
    assert found == pytest.approx(np.sum((target - phi[:, 6:] @ beta) ** 2), rel=1e-6)


@pytest.mark.neural_tangents
def test_the_training_set_among_more_images_has_no_loss(x64, rng):
    x, alpha, norm = problem(rng)
    images = np.concatenate([x, rng.normal(size=(5, 6))])
    assert float(mmd_loss(KERNEL, 0.0, images, np.zeros((11, 1)), x, alpha, norm)) == pytest.approx(0, abs=1e-9 * norm)
    assert float(mmd_loss(KERNEL, 0.0, images[1:], np.zeros((10, 1)), x, alpha, norm)) > 1e-3 * norm


def test_training_images_come_back(rng):
    x = rng.normal(size=(4, 6)).astype(np.float32)
    y = np.array([[-1.0], [1.0], [-1.0], [1.0]], np.float32)
    found = distill((x, y), 4, method="mmd", kernel=KERNEL, steps=5000, progress=False)
    start, end = (greedy(distances(x, images)).distance for images in (found.start, found.images))
    assert end.max() < 0.2 * start.mean()
    # Labels are the outputs of the network trained on all images, which fits them.
    near = greedy(distances(x, found.images)).index
    np.testing.assert_allclose(found.labels[near], y, atol=0.2)


def test_labels_are_not_to_be_chosen(rng):
    data = rng.normal(size=(4, 6)).astype(np.float32), np.array([[-1.0], [1.0]] * 2, np.float32)
    for options in ({"labels": "learned"}, {"select": "held_out", "held_out": data}):
        with pytest.raises(ReconError, match="mmd"):
            distill(data, 4, method="mmd", progress=False, **options)
