"""Networks as frozen settings with plain `init(key, in_dim)` and `apply(params, x)`."""

from recon.networks.activations import Activation, named, relu, softplus
from recon.networks.base import Network, Params
from recon.networks.mlp import MLP, Layers, dense_layers, from_params

__all__ = [
    "MLP",
    "Activation",
    "Layers",
    "Network",
    "Params",
    "dense_layers",
    "from_params",
    "named",
    "relu",
    "softplus",
]
