"""The only module that touches the neural-tangents library; imported where an independent reference is wanted."""

import sys
import types
from typing import Any

import jax
from jaxtyping import Float

from recon.arrays import Tensor
from recon.kernels.infinite import InfiniteMLP
from recon.networks import Network, Params, named


def library() -> Any:
    """neural-tangents, imported without the TensorFlow that its `experimental` half would pull in.

    An empty module under that name satisfies the import; nothing here uses the experimental half.
    """
    sys.modules.setdefault("neural_tangents.experimental", types.ModuleType("neural_tangents.experimental"))
    import neural_tangents

    return neural_tangents


def empirical_ntk(
    network: Network, params: Params, x1: Float[Tensor, "n *shape"], x2: Float[Tensor, "m *shape"]
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


def nonlinearity(activation: str) -> Any:
    """The library's layer of relu, leaky_relu or gelu; of the others it has no kernel in closed form."""
    stax, leak = library().stax, named(activation).leak
    if leak is None:
        assert activation == "gelu"
        return stax.Gelu(approximate=False)
    return stax.LeakyRelu(leak) if leak else stax.Relu()


def infinite_kernels(
    settings: InfiniteMLP, x1: Float[Tensor, "n *shape"], x2: Float[Tensor, "m *shape"]
) -> tuple[Float[Tensor, "n m"], Float[Tensor, "n m"]]:
    """NNGP and NTK of the infinitely wide MLP by neural-tangents' analytic kernel."""
    stax = library().stax
    hidden = [
        part
        for _ in range(settings.depth)
        for part in (stax.Dense(1, settings.w_std, settings.b_std or None), nonlinearity(settings.activation))
    ]
    _, _, kernel = stax.serial(*hidden, stax.Dense(1, settings.w_std, settings.b_std or None))
    found = kernel(x1.reshape(len(x1), -1), x2.reshape(len(x2), -1), ("nngp", "ntk"))
    return found.nngp, found.ntk
