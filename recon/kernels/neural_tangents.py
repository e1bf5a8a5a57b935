"""The only module that touches the neural-tangents library; imported where an independent reference is wanted."""

import sys
import types
from typing import Any

import jax
from jaxtyping import Float

from recon.arrays import Tensor
from recon.networks import MLP, Params


def library() -> Any:
    """neural-tangents, imported without the TensorFlow that its `experimental` half would pull in.

    An empty module under that name satisfies the import; nothing here uses the experimental half.
    """
    sys.modules.setdefault("neural_tangents.experimental", types.ModuleType("neural_tangents.experimental"))
    import neural_tangents

    return neural_tangents


def empirical_ntk(
    network: MLP, params: Params, x1: Float[Tensor, "n *shape"], x2: Float[Tensor, "m *shape"]
) -> Float[Tensor, "n c m c"]:
    """Finite-width NTK by neural-tangents' Jacobian contraction, indexed as `recon.kernels.ntk`.

    The library's automatic choice of method raises on jax 0.5.3, so the method is named.
    """
    nt = library()
    kernel = nt.empirical_ntk_fn(
        lambda p, x: network.apply(p, x),
        trace_axes=(),
        vmap_axes=0,
        implementation=nt.NtkImplementation.JACOBIAN_CONTRACTION,
    )
    return jax.numpy.transpose(kernel(x1, x2, params), (0, 2, 1, 3))
