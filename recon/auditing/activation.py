"""Which activation an audit attacks with: as told, or that which explains the weights' change."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from recon.attacks.base import Problem
from recon.attacks.first_layer.activation import Trial, at_point, trial
from recon.errors import ReconError
from recon.memory import TooLarge
from recon.networks import Network, named
from recon.networks.activations import NAMES
from recon.weights import told_activation
from recon.weights.layout import Tree

AUTO = "auto"
# In the order in which networks have them; slopes of leaky ReLU are PyTorch's and JAX's, TensorFlow's and Keras's.
TRIED = (
    "relu", "leaky_relu", "gelu", "tanh", "silu", "elu", "sigmoid", "softplus", "leaky_relu:0.2", "leaky_relu:0.3",
)  # fmt: skip
# Other names in files. GELU by its approximation with tanh leaves at most 2e-9 of a residual as GELU.
SPELLED = {
    "gelu by tanh": "gelu",
    "gelu_new": "gelu",
    "gelu_pytorch_tanh": "gelu",
    "gelu_fast": "gelu",
    "swish": "silu",
}
SECONDS = 60.0  # after which no other activation is tried: each takes one or two in small networks
Point = tuple[Tree, Tree | None, dict[str, Any]]
"""Initial and final weights and the other arguments of `reconstruct`, at a point on the way from one to the other."""


@dataclass(frozen=True)
class Activation:
    """What an audit knows of the activation.

    Attributes:
      told: it was said, not found.
      trials: what each activation that was tried explains of the change, the best first.
      vouched: activations with the number of images that the exact attack vouches for, in the order of its runs.
    """

    told: bool = False
    trials: tuple[Trial, ...] = ()
    vouched: tuple[tuple[str, int], ...] = ()

    def known(self, network: Network, vouched: int) -> str:
        """How the network's activation is known, in words."""
        if self.told:
            return "as told"
        if network.activation != "relu":
            return "as the change tells"
        return "as what is vouched for confirms" if vouched else "which is assumed"

    def lines(self) -> list[dict[str, Any]]:
        """A line for each activation that was tried: what it explains, and what the exact attack then vouches for."""
        told = {one.activation: one for one in self.trials}
        return [
            {
                "activation": name,
                "residual": told[name].residual if name in told else None,
                "along": told[name].along if name in told else None,
                "vouched": dict(self.vouched).get(name),
            }
            for name in dict.fromkeys((*told, *dict(self.vouched)))
        ]

    def ran(self, activation: str, vouched: int) -> "Activation":
        """With one more run of the exact attack; of several with one activation the best counts."""
        most = max([vouched, *(k for name, k in self.vouched if name == activation)])
        return replace(self, vouched=tuple((dict(self.vouched) | {activation: most}).items()))


def asked(activation: str, network: object, initial: object = None) -> str:
    """The activation as the caller tells it or else the file of initial weights, by one spelling, or `AUTO`.

    Raises:
      ReconError: there is no such activation, the file tells one that no attack takes, or it cannot be read.
    """
    if activation != AUTO:
        return named(activation).name
    if isinstance(network, Network):
        return network.activation
    name = told_activation(initial) if isinstance(initial, str | Path) else None
    if name is None:
        return AUTO
    name = SPELLED.get(name, name)
    if name.partition(":")[0] not in NAMES:
        raise ReconError(
            f"{initial} tells that its hidden units are {name!r}, which no attack takes: if those of the layers that "
            f"are audited are others, say --activation, one of {', '.join(NAMES)}."
        )
    return named(name).name


def tell(
    params0: Tree,
    params1: Tree | None,
    names: tuple[str, ...],
    key: int,
    seconds: float | None,
    common: Mapping[str, Any],
) -> tuple[Trial, ...]:
    """Try activations in turn up to the first that is right, for so long; the best comes first.

    Args:
      common: arguments of `reconstruct`.
    """
    began, made = time.perf_counter(), list[Trial]()
    if common["state"] is not None:  # a sum over steps, in which gradients moved
        return ()
    problem = problem_of(params0, params1, common)
    for name in names:
        if time.perf_counter() - began > min(SECONDS, seconds or SECONDS):
            break
        try:
            one = trial(problem, name, key)
        except TooLarge:
            break
        if one is None:
            break
        made.append(one)
        if one.right:
            break
    return tuple(sorted(made, key=lambda one: one.residual))


def problem_of(params0: Tree, params1: Tree | None, common: Mapping[str, Any]) -> Problem:
    """What `reconstruct` makes of its arguments, as far as a trial needs it."""
    gradient, box = common["gradient"], common["box"]
    double = gradient is not None and any(np.any(g != g.astype(np.float32)) for g in jax.tree.leaves(gradient))

    def numbers(tree: Tree) -> Tree:
        made: Tree = jax.tree.map(lambda a: np.asarray(a, np.float64 if double else np.float32), tree)
        return made

    before, one = numbers(params0), None if gradient is None else numbers(gradient)
    after = jax.tree.map(np.subtract, before, one) if params1 is None else numbers(params1)
    linearised = common["linearised"] or one is not None
    known: dict[str, Any] = {"gradient": one, "update": common.get("update")}
    return Problem(common["network"], before, after, common["image_shape"], box, linearised, 1, **known)


def point(params0: Tree, params1: Tree | None, best: Trial, common: Mapping[str, Any]) -> Point:
    """Arguments for the exact attack with the activation of a trial, whose gradients are taken where it says."""
    options = {**common, "network": replace(common["network"], activation=best.activation)}
    if params1 is None or common["linearised"]:
        return params0, params1, options
    there = at_point(problem_of(params0, params1, common), best.along)
    return there.params0, there.params1, options | {"linearised": True}
