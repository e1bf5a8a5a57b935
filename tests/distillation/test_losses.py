import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recon.arrays import enable_x64
from recon.distillation.base import Problem
from recon.distillation.descent import KernelDistillation
from recon.distillation.regression import duals, predict, regression_loss
from recon.distillation.rkip import known_of, rkip_loss, theorem2
from recon.kernels.infinite import InfiniteMLP
from recon.kernels.neural_tangents import infinite_kernels

KERNELS = [InfiniteMLP(), InfiniteMLP(depth=1, w_std=1.4, b_std=0.3)]
RIDGE = 1e-3


def sets(rng, outputs=1, n=9, m=4, dim=6):
    """Training images and targets, a smaller set and its labels."""
    x, images = rng.normal(size=(n, dim)), rng.normal(size=(m, dim))
    y, labels = (rng.choice([-1.0, 1.0], size=(k, outputs)) for k in (n, m))
    return x, y, images, labels


def matrices(kernel, *pairs):
    return [np.asarray(infinite_kernels(kernel, a, b)[1]) for a, b in pairs]


def ridged(k):
    return k + RIDGE * np.trace(k) / len(k) * np.eye(len(k))


def known(kernel, x, y, ridge=RIDGE):
    return known_of(Problem(np.float32(x), np.float32(y), np.float32(y)), KernelDistillation(kernel, ridge=ridge))


@pytest.mark.neural_tangents
@pytest.mark.parametrize("kernel", KERNELS, ids=str)
@pytest.mark.parametrize("outputs", [1, 3])
def test_losses_equal_plain_numpy(x64, rng, kernel, outputs):
    x, y, images, labels = sets(rng, outputs)
    x, y = np.float64(np.float32(x)), np.float64(np.float32(y))
    k_tt, k_tr, k_rr = matrices(kernel, (x, x), (x, images), (images, images))
    alpha, beta = np.linalg.solve(ridged(k_tt), y), np.linalg.solve(ridged(k_rr), labels)
    np.testing.assert_allclose(duals(k_rr, labels, RIDGE), beta, rtol=1e-9)
    np.testing.assert_allclose(predict(kernel, RIDGE, images, labels, x), k_tr @ beta, rtol=1e-6)
    kip = 0.5 * np.mean(np.sum((y - k_tr @ beta) ** 2, axis=1))
    assert float(regression_loss(kernel, RIDGE, images, labels, x, y)) == pytest.approx(kip, rel=1e-7)
    joint = np.block([[k_tt, k_tr], [k_tr.T, k_rr]])
    change = np.concatenate([alpha, -beta])
    rkip = np.trace(change.T @ joint @ change)
    assert float(rkip_loss(kernel, RIDGE, images, labels, *known(kernel, x, y))) == pytest.approx(rkip, rel=1e-7)


@pytest.mark.parametrize("method", ["kip", "rkip"])
def test_gradients_match_finite_differences(x64, rng, method):
    kernel = KERNELS[1]
    x, y, images, labels = sets(rng, 2)
    loss, extra = (regression_loss, (x, y)) if method == "kip" else (rkip_loss, known(kernel, x, y))
    f = jax.jit(lambda v, w: loss(kernel, RIDGE, v, w, *extra))
    slopes = jax.grad(f, argnums=(0, 1))(images, labels)
    for which, slope in enumerate(slopes):
        step = rng.normal(size=slope.shape)
        steps = [1e-5 * step if i == which else 0.0 for i in range(2)]
        up, down = (f(images + s * steps[0], labels + s * steps[1]) for s in (1, -1))
        assert float(jnp.sum(slope * step)) == pytest.approx(float(up - down) / 2e-5, rel=1e-5)


@pytest.mark.parametrize("method", ["kip", "rkip"])
def test_the_order_of_images_does_not_matter(x64, rng, method):
    kernel = KERNELS[0]
    x, y, images, labels = sets(rng)
    mine, theirs = rng.permutation(len(images)), rng.permutation(len(x))

    def loss(x, y, images, labels):
        if method == "kip":
            return float(regression_loss(kernel, RIDGE, images, labels, x, y))
        return float(rkip_loss(kernel, RIDGE, images, labels, *known(kernel, x, y)))

    shuffled = loss(x[theirs], y[theirs], images[mine], labels[mine])
    assert shuffled == pytest.approx(loss(x, y, images, labels), rel=1e-9)


@pytest.mark.parametrize("ridge", [0.0, RIDGE])
def test_the_training_set_itself_has_no_reconstruction_loss(x64, rng, ridge):
    kernel = KERNELS[0]
    x, y, images, labels = sets(rng)
    x = np.float64(np.float32(x))
    given_ = known(kernel, x, y, ridge)
    order = rng.permutation(len(x))
    assert float(rkip_loss(kernel, ridge, x[order], y[order], *given_)) == pytest.approx(0, abs=1e-9 * given_[2])
    assert float(rkip_loss(kernel, ridge, images, labels, *given_)) > 0.01 * given_[2]


@given(
    seed=st.integers(0, 10**6),
    n=st.sampled_from([3, 7]),
    m=st.sampled_from([1, 7, 11]),
    kind=st.sampled_from(["features", "ntk"]),
    fitted=st.booleans(),
)
@settings(max_examples=250, deadline=None)
def test_theorem2(seed, n, m, kind, fitted):
    """L = ‖y_T − K_TR β‖²_{K_TT⁻¹} + λ with λ ≥ 0: for any kernel, more images than were trained on, any duals."""
    rng = np.random.default_rng(seed)
    with enable_x64():
        if kind == "features":
            phi = rng.normal(size=(n + m, 25))
            joint = phi @ phi.T
        else:
            joint = np.asarray(KERNELS[seed % 2].ntk(rng.normal(size=(n + m, 20))))
        k_tt, k_tr, k_rr = joint[:n, :n], joint[:n, n:], joint[n:, n:]
        y, labels = (rng.normal(size=(k, 2)) for k in (n, m))
        beta = np.linalg.solve(k_rr, labels) if fitted else labels
        change = np.concatenate([np.linalg.solve(k_tt, y), -beta])
        fit, surplus = map(float, theorem2(k_tt, k_tr, k_rr, y, beta))
    scale = 1 + np.sum(beta * (k_rr @ beta))
    assert surplus > -1e-8 * scale
    assert fit + surplus == pytest.approx(np.sum(change * (joint @ change)), rel=1e-8, abs=1e-8 * scale)
