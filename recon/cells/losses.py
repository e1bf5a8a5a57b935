"""Train with another loss or with weight decay, take a known decay out of the final weights, and attack."""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import jax
import numpy as np
from jaxtyping import Float

from recon.arrays import enable_x64
from recon.cells.attack import AttackCell, attack_and_score, train_network, training_record
from recon.cells.base import as_own
from recon.dynamics import Trained
from recon.dynamics.base import apply
from recon.dynamics.losses import LossDescent, remaining, undecayed
from recon.errors import ReconError
from recon.networks import Network
from recon.progress import Report, silent
from recon.records import Stored
from recon.tasks import TaskData


@dataclass(frozen=True)
class LossCell(AttackCell):
    """One network that was trained by `recon.dynamics.losses`, attacked.

    Attributes:
      subtract: the attacker knows the decay and takes it out; otherwise it attacks the weights as they are.
    """

    kind: ClassVar[str] = "loss"

    subtract: bool = True

    @property
    def rule(self) -> LossDescent:
        """The training rule, as what it must be."""
        if not isinstance(self.dynamics, LossDescent):
            raise ReconError(f"A loss cell trains by LossDescent, not by {type(self.dynamics).__name__}.")
        return self.dynamics

    @property
    def title(self) -> str:
        """For progress bars."""
        decay = f" decay {self.rule.weight_decay:g}" if self.rule.weight_decay else ""
        return f"{super().title} {self.rule.objective}{decay}{'' if self.subtract else ' ignored'}"

    def check(self) -> None:
        """As an attack cell; the training rule as well."""
        super().check()
        _ = self.rule

    def compute(self, data: TaskData, report: Report = silent) -> Stored:
        """Train, take the decay out, attack, score.

        The record's training is that of the weights as trained, and "loss" says what the decay left of θ₀ and which
        part of the attacked change the duals do not explain by gradients at θ₀.
        """
        network, trained, key = train_network(self, data, report)
        seen = trained
        if self.subtract:
            params = undecayed(trained, self.rule.weight_decay)
            seen = dataclasses.replace(trained, final=dataclasses.replace(trained.final, params=params))
        stored = attack_and_score(self, data, network, seen, key, report)
        told = {
            "remaining": remaining(trained, self.rule.weight_decay),
            "unexplained": unexplained(network, seen, data.train.x),
            "squared_change": float(np.sum(change(seen) ** 2)),
        }
        return as_own(self, stored, training=training_record(network, trained, data), loss=told)


def change(trained: Trained) -> Float[np.ndarray, " p"]:
    """Δθ as one vector, float64."""
    before, after = (jax.tree.leaves(s.params) for s in (trained.initial, trained.final))
    return np.concatenate([np.ravel(np.float64(b) - a) for a, b in zip(before, after, strict=True)])


def unexplained(network: Network, trained: Trained, x: np.ndarray) -> float:
    """‖Δθ − Σ α ∇f(x; θ₀)‖ / ‖Δθ‖: rounding for a Taylor model, the way out of the linear regime for a network."""
    with enable_x64():
        p64 = jax.tree.map(lambda a: np.asarray(a, np.float64), dict(trained.initial.params))
        _, pull = jax.vjp(lambda p: apply(network, p, np.asarray(x, np.float64)), p64)
        explained = np.concatenate([np.ravel(a) for a in jax.tree.leaves(pull(trained.duals)[0])])
    moved = change(trained)
    return float(np.linalg.norm(moved - explained) / np.linalg.norm(moved))
