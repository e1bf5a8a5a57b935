"""Stop a training run early and attack what it has reached: a cell for each checkpoint of the run."""

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import numpy as np
from jaxtyping import Float

from recon.arrays import enable_x64
from recon.attacks import with_options
from recon.cells.attack import AttackCell, attack_and_score, initialise, train_network
from recon.cells.base import as_own
from recon.dynamics import State, Trained, outputs
from recon.dynamics.base import HostParams, add, mean_loss, to_host
from recon.networks import Network
from recon.progress import Report, silent
from recon.records import Stored
from recon.tasks import TaskData


@dataclass(frozen=True)
class EarlyStoppingCell(AttackCell):
    """One checkpoint of a training run, attacked.

    Attributes:
      stops: losses at which the run is stopped, as fractions of its initial loss, falling; it goes on to its own end
        after the last.
      stop: the one of `stops` that is attacked here; 0: the run's end; None: what one step of plain descent from θ₀
        leaves, Δθ = −η∇L(θ₀).
      learning_rate: η of that step.
      scaled_box: multiply the weight of the attack's box penalty with ‖Δθ‖². The published weight is a number, beside
        a loss that goes with ‖Δθ‖²: after few steps the penalty is all that counts.
    """

    kind: ClassVar[str] = "early stopping"

    stops: tuple[float, ...] = ()
    stop: float | None = 0.0
    learning_rate: float = 1e-2
    scaled_box: bool = False

    @property
    def title(self) -> str:
        """For progress bars."""
        where = "one step" if self.stop is None else f"stopped at {self.stop:g}"
        return f"{super().title} {where}{' scaled box' if self.scaled_box else ''}"

    def compute(self, data: TaskData, report: Report = silent) -> Stored:
        """Train, attack the checkpoint, score; duals are those of the converged run."""
        network, params0, _ = initialise(self, data)
        x, y = data.train.x, data.train.y
        loss0 = mean_loss(outputs(network, params0, params0, x, linearised=False) - y)
        rule: Any = dataclasses.replace(self.dynamics, checkpoints=tuple(f * loss0 for f in self.stops))  # type: ignore[call-arg]
        network, trained, key = train_network(self, data, report, rule)
        if self.stop is None:
            final = first_step(network, params0, x, y, self.learning_rate, trained.linearised)
        else:
            final = trained.checkpoints[self.stops.index(self.stop)] if self.stop else trained.final
        stopped = dataclasses.replace(trained, final=final)
        options = dict(self.options)
        if self.scaled_box:
            weight = with_options(self.attack, options)[1].box_weight
            options["box_weight"] = weight * squared_change(stopped)
        used = dataclasses.replace(self, options=tuple(options.items()))
        stored = attack_and_score(used, data, network, stopped, key, report)
        change = {"squared_change": squared_change(stopped), "box_weight": options.get("box_weight")}
        return as_own(self, stored, stopping=change)


def squared_change(trained: Trained) -> float:
    """‖Δθ‖²."""
    parts = jax.tree.map(lambda a, b: np.sum((np.float64(b) - a) ** 2), trained.initial.params, trained.final.params)
    return float(sum(jax.tree.leaves(parts)))


def first_step(
    network: Network,
    params0: HostParams,
    x: Float[np.ndarray, "n *shape"],
    y: Float[np.ndarray, "n c"],
    learning_rate: float,
    linearised: bool,
) -> State:
    """θ₀ − η∇L(θ₀), in float64 and then rounded; a network and its Taylor model at θ₀ take the same first step."""
    with enable_x64():
        p64, x64 = jax.tree.map(lambda a: np.asarray(a, np.float64), (dict(params0), x))
        f, pull = jax.vjp(lambda p: network.apply(p, x64), p64)
        (change,) = pull(learning_rate * (np.asarray(y, np.float64) - f) / len(x))
        params = to_host(add(p64, change))
    return State(params, mean_loss(outputs(network, params0, params, x, linearised) - y), 1, float("nan"))
