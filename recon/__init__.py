"""recon: how many training images do a network's initial and final weights give away, which ones, and why?

import recon

data = recon.load_task("mnist_odd_even", 20)
found = recon.reconstruct(params0, params1, attack="ntk-fast", image_shape=data.image_shape, box=data.box)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from recon.errors import ReconError

if TYPE_CHECKING:
    from recon.attacks import Reconstruction, reconstruct
    from recon.distillation import DistilledSet, distill
    from recon.dynamics import Descent, GradientFlow, Linearised, train
    from recon.networks import MLP
    from recon.records.weights import load_weights, save_weights
    from recon.tasks import load_task

__all__ = [
    "MLP",
    "Descent",
    "DistilledSet",
    "GradientFlow",
    "Linearised",
    "ReconError",
    "Reconstruction",
    "distill",
    "load_task",
    "load_weights",
    "reconstruct",
    "save_weights",
    "train",
]

_HOMES = {
    "attacks": ("Reconstruction", "reconstruct"),
    "distillation": ("DistilledSet", "distill"),
    "dynamics": ("Descent", "GradientFlow", "Linearised", "train"),
    "networks": ("MLP",),
    "records.weights": ("load_weights", "save_weights"),
    "tasks": ("load_task",),
}


def __getattr__(name: str) -> Any:
    # On first use: `import recon` and `recon --help` do not wait for JAX.
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"recon.{home}"), name)
    raise AttributeError(f"module 'recon' has no attribute {name!r}")
