import jax
import numpy as np
import pytest

from recon import ReconError
from recon.distillation import finite_accuracy, infinite_accuracy
from recon.distillation.score import set_losses, share_right
from recon.dynamics import GradientFlow, Linearised
from recon.kernels.infinite import InfiniteMLP
from recon.kernels.neural_tangents import infinite_kernels
from recon.networks import MLP
from recon.tasks import targets


def separable(rng, n, classes=2):
    group = np.arange(n) % classes
    return (3 * np.eye(classes, 6)[group] + 0.1 * rng.normal(size=(n, 6))).astype(np.float32), targets(group, classes)


@pytest.mark.neural_tangents
def test_infinite_accuracy_by_hand(x64, rng, monkeypatch):
    monkeypatch.setattr("recon.distillation.score.BATCH", 7)
    kernel = InfiniteMLP(depth=1, b_std=0.2)
    images, x = rng.normal(size=(5, 6)), rng.normal(size=(20, 6))
    labels, y = (rng.choice([-1.0, 1.0], size=(k, 1)) for k in (5, 20))
    k = np.asarray(infinite_kernels(kernel, images, images)[1])
    alpha = np.linalg.solve(k + 1e-5 * np.trace(k) / 5 * np.eye(5), labels)
    f = np.asarray(infinite_kernels(kernel, x, images)[1]) @ alpha
    assert infinite_accuracy(images, labels, x, y, kernel) == np.mean(np.sign(f) == y)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("dynamics", [None, Linearised(), GradientFlow(loss=1e-4, tol=1e-2)])
def test_clear_classes_are_told_apart(rng, classes, dynamics):
    images, labels = separable(rng, 2 * classes, classes)
    x, y = separable(rng, 30, classes)
    for sign in (1, -1):  # of the targets, by which half or none are right
        if dynamics is None:
            found = infinite_accuracy(images, labels, x, sign * y)
        else:
            found = finite_accuracy(images, labels, x, sign * y, MLP((128, 128)), dynamics, jax.random.key(0))
        assert found == 1 if sign == 1 else found <= 0.5


def test_share_right():
    assert share_right(np.array([[0.1], [-2.0], [0.3]]), np.array([[1.0], [1.0], [1.0]])) == pytest.approx(2 / 3)
    assert share_right(np.array([[0.1, 0.2], [0.3, 0.2]]), np.array([[0, 1.0], [0, 1.0]])) == 0.5


def test_nothing_to_test_on_is_refused(rng):
    images, labels = separable(rng, 4)
    with pytest.raises(ReconError, match="no test images"):
        infinite_accuracy(images, labels, images[:0], labels[:0])
    with pytest.raises(ReconError, match="no test images"):
        finite_accuracy(images, labels, images[:0], labels[:0], MLP((8,)), Linearised(), jax.random.key(0))
    with pytest.raises(ReconError, match="singular"):
        infinite_accuracy(np.zeros_like(images), labels, images, labels)


@pytest.mark.neural_tangents
def test_losses_by_hand(x64, rng):
    kernel = InfiniteMLP(depth=1, b_std=0.2)
    (images, x), (labels, y) = (rng.normal(size=(k, 6)) for k in (4, 7)), (rng.normal(size=(k, 2)) for k in (4, 7))
    k_tt, k_tr, k_rr = (np.asarray(infinite_kernels(kernel, *p)[1]) for p in ((x, x), (x, images), (images, images)))
    alpha, beta = (
        np.linalg.solve(k + 1e-5 * np.trace(k) / len(k) * np.eye(len(k)), t) for k, t in ((k_tt, y), (k_rr, labels))
    )
    change = np.concatenate([alpha, -beta])
    found = set_losses(images, labels, x, y, kernel)
    assert found["kip"] == pytest.approx(0.5 * np.mean(np.sum((y - k_tr @ beta) ** 2, axis=1)), rel=1e-6)
    joint = np.block([[k_tt, k_tr], [k_tr.T, k_rr]])
    assert found["rkip"] == pytest.approx(np.sum(change * (joint @ change)), rel=1e-6)
    assert found["fit"] + found["surplus"] == pytest.approx(found["rkip"], rel=1e-8)
    assert found["norm"] == pytest.approx(np.sum(alpha * (k_tt @ alpha)), rel=1e-6)
    empty = set_losses(images, 0 * labels, x, y, kernel)
    assert empty["rkip"] == pytest.approx(empty["norm"])


def test_the_training_images_themselves_have_no_loss(rng):
    x, y = separable(rng, 8)
    found = set_losses(x, y, x, y, ridge=0.0)
    assert max(abs(found[name]) for name in ("kip", "rkip", "fit", "surplus")) < 1e-6 * found["norm"]
