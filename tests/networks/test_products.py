import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from recon.networks.products import outer, times, times_transposed

PRODUCTS = {
    "times": (times, lambda h, w: h @ w, (5, 3), (3, 4)),
    "times_transposed": (times_transposed, lambda g, w: g @ w.T, (5, 4), (3, 4)),
    "outer": (outer, lambda h, g: h.T @ g, (5, 3), (5, 4)),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_equal_numpy_and_their_derivatives_finite_differences(name, x64, rng):
    product, plain, *shapes = PRODUCTS[name]
    left, right = (rng.normal(size=shape) for shape in shapes)
    np.testing.assert_allclose(product(left, right), plain(left, right), rtol=1e-12)
    # To second order, for both factors.
    check_grads(lambda a, b: jnp.sin(product(a, b)), (left, right), order=2, modes=["rev"], rtol=1e-6)


def test_no_program_transposes_the_weights(rng):
    w, g = (np.float32(rng.normal(size=shape)) for shape in ((96, 64), (8, 64)))
    h = np.float32(rng.normal(size=(8, 96)))

    def slope(h, w, g):
        return jax.vjp(lambda h: times(h, w), h)[1](g)

    # The plain derivative's dot contracts the second axes of g and w; ours has the weights on the left.
    plain = jax.jit(lambda h, w, g: jax.vjp(lambda h: h @ w, h)[1](g)).lower(h, w, g).compile().as_text()
    ours = jax.jit(slope).lower(h, w, g).compile().as_text()
    assert "f32[8,96]{1,0} dot" in plain
    assert "f32[96,8]{1,0} dot" in ours
    assert "f32[8,96]{1,0} dot" not in ours
