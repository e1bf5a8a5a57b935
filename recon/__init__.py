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
    from recon.attacks.membership import Membership, membership
    from recon.auditing import Audit, audit
    from recon.distillation import DistilledSet, distill
    from recon.dynamics import Descent, GradientFlow, Linearised, train
    from recon.networks import MLP
    from recon.tasks import load_task
    from recon.weights import load_weights, save_weights

__all__ = [
    "MLP",
    "Audit",
    "Descent",
    "DistilledSet",
    "GradientFlow",
    "Linearised",
    "Membership",
    "ReconError",
    "Reconstruction",
    "audit",
    "distill",
    "load_task",
    "load_weights",
    "membership",
    "reconstruct",
    "save_weights",
    "train",
]

_HOMES = {
    "attacks": ("Reconstruction", "reconstruct"),
    "attacks.membership": ("Membership", "membership"),
    "auditing": ("Audit", "audit"),
    "distillation": ("DistilledSet", "distill"),
    "dynamics": ("Descent", "GradientFlow", "Linearised", "train"),
    "networks": ("MLP",),
    "tasks": ("load_task",),
    "weights": ("load_weights", "save_weights"),
}


def __getattr__(name: str) -> Any:
    # On first use: `import recon` and `recon --help` do not wait for JAX.
    if name == "__version__":
        return import_module("importlib.metadata").version("recon")
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"recon.{home}"), name)
    raise AttributeError(f"module 'recon' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
