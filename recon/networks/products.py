"""Matrix products whose derivatives do not make XLA transpose a weight matrix.

The derivative of h W with respect to h is g Wᵀ, and XLA's CPU backend packs a transposed right factor number by
number: at 40 × 1,024 by 1,024 × 1,024 that product takes five times as long as W gᵀ, which it computes from W as it
lies. It rewrites one into the other unless a barrier stands between the product and its transpose. Both products here
have each other as derivative, so that all orders of reverse differentiation stay fast; forward differentiation
(`jax.jvp`) is not defined for them.
"""

from typing import Any

import jax
from jax import lax
from jaxtyping import Float

from recon.arrays import Tensor


@jax.custom_vjp
def times(h: Float[Tensor, "n a"], w: Float[Tensor, "a b"]) -> Float[Tensor, "n b"]:
    """H W."""
    return h @ w


@jax.custom_vjp
def times_transposed(g: Float[Tensor, "n b"], w: Float[Tensor, "a b"]) -> Float[Tensor, "n a"]:
    """G Wᵀ."""
    columns: Tensor = lax.optimization_barrier(lax.dot_general(w, g, (((1,), (1,)), ((), ()))))  # type: ignore[no-untyped-call]
    return columns.T


@jax.custom_vjp
def outer(h: Float[Tensor, "n a"], g: Float[Tensor, "n b"]) -> Float[Tensor, "a b"]:
    """Hᵀ G, the sum of outer products of rows."""
    return h.T @ g


def _keep(product: Any) -> Any:
    return lambda left, right: (product(left, right), (left, right))


times.defvjp(_keep(times), lambda kept, ct: (times_transposed(ct, kept[1]), outer(kept[0], ct)))
times_transposed.defvjp(_keep(times_transposed), lambda kept, ct: (times(ct, kept[1]), outer(ct, kept[0])))
outer.defvjp(_keep(outer), lambda kept, ct: (times_transposed(kept[1], ct), times(kept[0], ct)))
