"""The attack at infinite width on a state released with noise: a Gaussian process added to the trained network.

At finite width a state is released as Δθ + sξ with ξ ~ N(0, I), which adds s J(x)ξ to the linearised network's outputs,
of covariance s²J(x)J(x')ᵀ. The limit is f + sG with G a Gaussian process whose covariance is the NTK. Releasing that
*function*, at as many points as anyone asks for, is as private as one Gaussian mechanism of sensitivity ‖f_D − f_D'‖ in
the kernel's space and noise s (Hall, Rinaldo & Wasserman 2013).

No global bound on that sensitivity exists: an image beside one of the other class moves the interpolating network
without limit. It is therefore taken over the sets that lack one image of this one, which makes ε that of this set (Wang
2019), and makes s itself an assumption: it is known to the attacker, and counts as public.

The attack sees f + sG wherever it looks, as it saw f: L = −2 βᵀf̃(R) + βᵀK_RR β + a constant, f̃ = f + sG. ‖G‖² is
infinite (a process's paths lie outside the space of its own kernel) but does not depend on R, and is left out. Paths
are nowhere differentiable either; so G comes from a network of finite width that only makes the noise, J(x)ξ, whose
covariance is the NTK to the order of 1/√width. Gradients do not see its jumps, as in every attack on finite networks.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PRNGKeyArray

from recon.arrays import Tensor
from recon.distillation.regression import duals
from recon.kernels.infinite import InfiniteMLP
from recon.networks import MLP, Params


def source(kernel: InfiniteMLP, width: int) -> MLP:
    """The network whose tangent features make the noise."""
    return MLP(
        (width,) * kernel.depth,
        activation=kernel.activation,
        parametrisation="ntk",
        w_std=kernel.w_std,
        b_std=kernel.b_std,
    )


def direction(network: MLP, scale: float, key: PRNGKeyArray, pixels: int) -> list[np.ndarray]:
    """Leaves of random weights θ, then of sξ: `noise` is then one path of sG at any point."""
    k_weights, k_noise = jax.random.split(key)
    weights, xi = network.init(k_weights, pixels), network.init(k_noise, pixels)
    return [np.asarray(a) for a in (*jax.tree.leaves(weights), *(scale * a for a in jax.tree.leaves(xi)))]


def noise(kernel: InfiniteMLP, images: Float[Tensor, "m *shape"], *leaves: Tensor) -> Float[Tensor, "m 1"]:
    """The path of sG at `images`: the derivative of the source's outputs along sξ."""

    def tree(of: tuple[Tensor, ...]) -> Params:
        return {f"Dense_{i}": {"bias": b, "kernel": k} for i, (b, k) in enumerate(zip(of[::2], of[1::2], strict=True))}

    weights, xi = tree(leaves[: len(leaves) // 2]), tree(leaves[len(leaves) // 2 :])
    network = source(kernel, int(leaves[0].shape[0]))
    path: Tensor = jax.jvp(lambda p: network.apply(p, images), (weights,), (xi,))[1]
    return path


def state(
    kernel: InfiniteMLP,
    images: Float[Tensor, "m *shape"],
    x: Float[Tensor, "n *shape"],
    alpha: Float[Tensor, "n 1"],
    *leaves: Tensor,
) -> Float[Tensor, "m 1"]:
    """The released state f̃ = f + sG at `images`."""
    return kernel.ntk(images, x) @ alpha + noise(kernel, images, *leaves)


def noised_loss(
    kernel: InfiniteMLP,
    ridge: float,
    images: Float[Tensor, "m *shape"],
    labels: Float[Tensor, "m 1"],  # noqa: ARG001
    x: Float[Tensor, "n *shape"],
    alpha: Float[Tensor, "n 1"],
    norm: Float[Tensor, ""],
    *leaves: Tensor,
) -> Float[Tensor, ""]:
    """L of the module's docstring with β = K_RR⁻¹ f̃(R) and ‖f‖² for the constant; without noise it is `mmd`'s."""
    seen, own = state(kernel, images, x, alpha, *leaves), kernel.ntk(images)
    beta = duals(own, seen, ridge)
    return norm - 2 * jnp.vdot(beta, seen) + jnp.vdot(beta, own @ beta)
