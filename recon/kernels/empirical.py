"""The finite-width neural tangent kernel, summed over all parameters (paper, eq. 5)."""

import jax
import jax.numpy as jnp
from jaxtyping import Float

from recon.arrays import Tensor
from recon.networks import MLP, Activation, Network, Params


def ntk(
    network: Network,
    params: Params,
    x1: Float[Tensor, "n *shape"],
    x2: Float[Tensor, "m *shape"] | None = None,
    activation: Activation | None = None,
) -> Float[Tensor, "n c m c"]:
    """⟨∇f_c(x1_i), ∇f_c'(x2_j)⟩; an MLP's without any Jacobian: Σ_l (h hᵀ + 1) ∘ (δ δᵀ), a few matrix products.

    Args:
      activation: in the place of the network's own, if one is given.

    Returns:
      Indexed by image and output of `x1`, then image and output of `x2` (None: `x1` again).
    """
    if not isinstance(network, MLP):
        return ntk_by_jacobian(network, params, x1, x2, activation)
    a = network.layers(params, x1, activation)
    b = a if x2 is None else network.layers(params, x2, activation)
    total = jnp.zeros(())
    for h1, d1, h2, d2 in zip(a.inputs, a.deltas, b.inputs, b.deltas, strict=True):
        scale, bias_scale = network.scales(h1.shape[1])
        gram = scale**2 * (h1 @ h2.T)
        if network.bias:
            gram = gram + bias_scale**2
        (n, c, w), m = d1.shape, len(d2)
        sensitivity = (d1.reshape(n * c, w) @ d2.reshape(m * c, w).T).reshape(n, c, m, c)
        total = total + gram[:, None, :, None] * sensitivity
    return jnp.asarray(total)


compiled_ntk = jax.jit(ntk, static_argnums=(0, 4))
"""`ntk`, compiled once for each network and shapes of images."""


def ntk_by_jacobian(
    network: Network,
    params: Params,
    x1: Float[Tensor, "n *shape"],
    x2: Float[Tensor, "m *shape"] | None = None,
    activation: Activation | None = None,
) -> Float[Tensor, "n c m c"]:
    """The same kernel by contracting full Jacobians: for any network, and to check `ntk` with."""

    def jacobian(x: Tensor) -> Tensor:
        blocks = jax.jacrev(lambda p: network.apply(p, x, activation))(params)
        n, c = network.apply(params, x).shape
        return jnp.concatenate([block.reshape(n * c, -1) for block in jax.tree.leaves(blocks)], axis=1)

    j1 = jacobian(x1)
    j2 = j1 if x2 is None else jacobian(x2)
    c = network.outputs
    return (j1 @ j2.T).reshape(len(x1), c, -1, c)


def as_matrix(kernel: Float[Tensor, "n c m c"]) -> Float[Tensor, "nc mc"]:
    """Kernel over (image, output) pairs as a matrix."""
    n, c, m, _ = kernel.shape
    return kernel.reshape(n * c, m * c)


def kernel_distance(k0: Float[Tensor, "..."], k1: Float[Tensor, "..."]) -> Float[Tensor, ""]:
    """1 − ⟨K₀, K₁⟩/(‖K₀‖‖K₁‖), in [0, 2]; for kernels, which are positive semi-definite, in [0, 1]."""
    return jnp.asarray(1 - jnp.vdot(k0, k1) / (jnp.linalg.norm(k0) * jnp.linalg.norm(k1)))
