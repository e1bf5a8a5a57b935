"""A step of KIP and of RKIP, by this package's kernel and by neural-tangents' analytic one: the same, timed apart."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from recon.distillation.regression import RIDGE, duals, regression_loss
from recon.distillation.rkip import rkip_loss
from recon.kernels.infinite import InfiniteMLP
from recon.kernels.neural_tangents import infinite_kernels

N, M, DIM = 500, 20, 784


class Library(InfiniteMLP):
    """The same network by neural-tangents' analytic kernel."""

    def ntk(self, x1, x2=None):
        return infinite_kernels(self, x1, x1 if x2 is None else x2)[1]


def steps(kernel):
    """What is differentiated in images s: a sum of the kernel's entries, and the losses of a step."""

    def rkip(s, g, alpha, norm):
        return rkip_loss(kernel, RIDGE, s, g["labels"], g["x"], alpha, norm)

    def anew(s, g):  # as in the published code
        own = kernel.ntk(g["x"], g["x"])
        alpha = duals(own, g["y"], RIDGE)
        return rkip(s, g, alpha, jnp.vdot(alpha, own @ alpha))

    return {
        "kernel": lambda s, g: jnp.sum(g["weights"] * kernel.ntk(g["x"], s)),
        "KIP": lambda s, g: regression_loss(kernel, RIDGE, s, g["labels"], g["x"], g["y"]),
        "RKIP": lambda s, g: rkip(s, g, g["duals"], jnp.ones(())),
        "RKIP, K_TT anew": anew,
    }


def product(s, g):
    """What every kernel of the images begins with: the floor."""
    return jnp.sum(g["weights"] * (g["x"] @ s.T))


def given(n, m, dim):
    rng = np.random.default_rng(0)
    sizes = {"x": (n, dim), "y": (n, 1), "duals": (n, 1), "labels": (m, 1), "weights": (n, m)}
    arrays = {name: jnp.asarray(rng.normal(size=size), jnp.float32) for name, size in sizes.items()}
    return jnp.asarray(rng.normal(size=(m, dim)), jnp.float32), arrays


@pytest.mark.neural_tangents
@pytest.mark.parametrize("what", steps(InfiniteMLP()))
def test_both_libraries_take_the_same_step(what):
    ours, theirs = (jax.jit(jax.grad(steps(k)[what]))(*given(7, 4, 5)) for k in (InfiniteMLP(), Library()))
    # Of a float32 regression on random images.
    assert np.linalg.norm(ours - theirs) < 1e-2 * np.linalg.norm(theirs)


@pytest.mark.parametrize("by", ["recursion", pytest.param("neural_tangents", marks=pytest.mark.neural_tangents)])
@pytest.mark.parametrize("what", steps(InfiniteMLP()))
def test_step(staged, what, by):
    loss = steps(InfiniteMLP() if by == "recursion" else Library())[what]
    value, slope = staged.compiled(jax.value_and_grad(loss), *given(N, M, DIM))
    assert np.isfinite(value)
    assert np.isfinite(slope).all()


def test_product(staged):
    assert np.isfinite(staged.compiled(jax.value_and_grad(product), *given(N, M, DIM))[0])
