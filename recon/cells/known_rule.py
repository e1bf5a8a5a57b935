"""Attacks that know different things, on networks trained in different ways: an attack cell that hands over the rule.

An attack that simulates the training is told the learning rate and the number of steps that the training took, and no
other is. Beside each score stands how well the condition that attacks on the final weights rest on is met.
"""

import dataclasses
from dataclasses import dataclass, field
from functools import lru_cache
from typing import ClassVar

import jax

from recon.attacks import attacks
from recon.cells.attack import AttackCell, attack_and_score, initialise
from recon.cells.base import as_own
from recon.dynamics import Descent, Dynamics, Trained, train
from recon.dynamics.margin import Margin, stationarity
from recon.errors import ReconError
from recon.networks import Network
from recon.progress import Report, silent
from recon.records import Stored
from recon.tasks import TaskData


@dataclass(frozen=True)
class KnownRuleCell(AttackCell):
    """One network to train and to attack, with the training rule known to the attacks that need it."""

    kind: ClassVar[str] = "compared"

    def check(self) -> None:
        """As an attack cell.

        Raises:
          ReconError: an attack that simulates the training, of a rule that it cannot simulate.
        """
        super().check()
        if simulates(self.attack):
            plain_rate(self.dynamics)

    def compute(self, data: TaskData, report: Report = silent) -> Stored:
        """Train, attack, score; "stationarity" is ‖θ − Σ α ∇f‖/‖θ‖ of the training images with the loss's own α."""
        report(0.0, "training")
        network, _, key = initialise(self, data)
        trained = train_once(Training(self.network, self.dynamics, self.seed, data.train.fingerprint, self, data))
        told = self.options
        if simulates(self.attack):
            told += (("train_rate", plain_rate(self.dynamics)), ("train_steps", trained.final.step))
        stored = attack_and_score(dataclasses.replace(self, options=told), data, network, trained, key, report)
        return as_own(self, stored, stationarity=residual(network, trained, data, self.dynamics))


@dataclass(frozen=True)
class Training:
    """What a training run depends on, and the cell and the images to run it with."""

    network: Network
    dynamics: Dynamics
    seed: int
    fingerprint: str
    cell: AttackCell = field(compare=False)
    data: TaskData = field(compare=False)


@lru_cache(maxsize=1)
def train_once(training: Training) -> Trained:
    """The trained network; attacks on the same one, which follow each other, do not train it again."""
    network, params0, _ = initialise(training.cell, training.data)
    return train(network, params0, training.data.train.x, training.data.train.y, training.dynamics)


def simulates(attack: str) -> bool:
    """Whether an attack has to be told how the network was trained."""
    return {"train_rate", "train_steps"} <= {f.name for f in dataclasses.fields(attacks()[attack].settings)}


def plain_rate(rule: Dynamics) -> float:
    """The learning rate of plain descent.

    Raises:
      ReconError: the rule is another one, or its rate is not set but follows from the images.
    """
    plain = isinstance(rule, Descent) and rule.optimiser == "sgd" and rule.batch_size is None
    if not (plain and isinstance(rule, Descent) and rule.learning_rate and not rule.momentum and not rule.weight_decay):
        raise ReconError("Only plain full-batch descent with a learning_rate is simulated: train by such a Descent.")
    return rule.learning_rate


def residual(network: Network, trained: Trained, data: TaskData, rule: Dynamics) -> float | None:
    """‖θ_f − Σ α ∇f(x)‖/‖θ_f‖ on the training images, α from the loss; None for a linearised model.

    Without weight decay α is scaled to fit best, so that 1 says: θ_f is no combination of this kind at all.
    """
    if trained.linearised:
        return None
    objective, decay = (rule.objective, rule.weight_decay) if isinstance(rule, Margin) else ("mse", 0.0)
    params = jax.tree.map(jax.numpy.asarray, trained.final.params)
    left, _ = stationarity(network, params, data.train.x, data.train.y, objective, decay)
    return float(left)
