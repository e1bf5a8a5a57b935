"""Two ways to the same trained weights: this package's training rules against plain descent in small steps."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import jax
import numpy as np

from recon.arrays import enable_x64
from recon.cells.base import Cell
from recon.dynamics import Descent, GradientFlow, Linearised, train
from recon.kernels import as_matrix, ntk
from recon.networks import MLP
from recon.progress import Report, silent
from recon.records import Stored
from recon.tasks import TaskData

LOSSES = (1e-1, 1e-3, 1e-5)  # at which training is stopped, beside convergence
# Of 1/L, the largest stable rate being 2/L. Stopping by loss meets gradient flow to the order of the rate.
SMALL = 1e-4
CONVERGED = 1e-24  # loss of descent on the linearised model
MOST = 50_000_000  # steps of it
RULES = {"linearised": ("recon.dynamics.linearised",), "flow": ("recon.dynamics.flow", "recon.dynamics.descent")}
REFERENCE, COARSE = 0.02, 0.1  # rates of descent on the network, of 1/L


@dataclass(frozen=True)
class AgreementCell(Cell):
    """One network, trained by a rule and by descent, on a task of one output.

    Attributes:
      width: units of each of two hidden layers.
      rule: "linearised": the closed form, against descent on the Taylor model; "flow": the exponential integrator,
        against descent on the network.
    """

    kind: ClassVar[str] = "agreement"

    task: str
    n_train: int
    width: int
    rule: Literal["linearised", "flow"]
    seed: int = 0

    @property
    def title(self) -> str:
        """For progress bars."""
        return f"{self.task} N={self.n_train} W={self.width} {self.rule} against descent, seed {self.seed}"

    @property
    def modules(self) -> tuple[str, ...]:
        """With the training rule's."""
        return *super().modules, *RULES[self.rule]

    def compute(self, data: TaskData, report: Report = silent) -> Stored:
        """Train both ways; "gaps" in the record are distances in θ, relative to the whole change."""
        network = MLP((self.width,) * 2)
        params = jax.tree.map(np.asarray, network.init(jax.random.key(self.seed), int(np.prod(data.image_shape))))
        measured = (linearised if self.rule == "linearised" else flow)(network, params, data, report)
        return Stored(self.record(data, **measured), {})


def flat(params: Any) -> np.ndarray:
    """A parameter tree as one float64 vector."""
    return np.concatenate([np.asarray(leaf, np.float64).ravel() for leaf in jax.tree.leaves(params)])


def linearised(network: MLP, p0: Any, data: TaskData, report: Report = silent) -> dict[str, Any]:
    """The closed form against gradient descent on the linearised model, at convergence and at three losses.

    Descent from Δθ = 0 stays in the span of the gradients: Δθ_k = Jᵀβ_k with β_{k+1} = β_k + η(e₀ − Kβ_k)/N, the same
    iterates at the cost of an N × N product.
    """
    trained, n = train(network, p0, data.train.x, data.train.y, Linearised(checkpoints=LOSSES)), len(data.train)
    gaps: dict[str, float] = {}
    steps: dict[str, int] = {}
    with enable_x64():
        p64, x = jax.tree.map(np.float64, p0), np.asarray(data.train.x, np.float64)
        kernel = np.asarray(as_matrix(ntk(network, p64, x)))
        f0, pull = jax.vjp(lambda p: network.apply(p, x), p64)
        e0 = np.asarray(data.train.y - f0).ravel()
        curvature = np.linalg.eigvalsh(kernel)[-1] / n

        @jax.jit
        def descend(beta: Any, rate: Any, loss: Any) -> Any:
            def residual(beta: Any) -> Any:
                return e0 - kernel @ beta

            def go_on(state: Any) -> Any:
                return (0.5 * (residual(state[0]) ** 2).sum() / n > loss) & (state[1] < MOST)

            return jax.lax.while_loop(go_on, lambda s: (s[0] + rate * residual(s[0]) / n, s[1] + 1), (beta, 0))

        states = [*zip(LOSSES, trained.checkpoints), (CONVERGED, trained.final)]
        for i, (loss, state) in enumerate(states):
            name = "converged" if state is trained.final else f"{loss:g}"
            report(i / len(states), f"descent to a loss of {loss:g}")
            # To convergence any stable rate leads to the same place.
            rate = (SMALL if state is not trained.final else 1.0) / curvature
            beta, count = descend(np.zeros(n), rate, min(loss, state.loss) if loss == CONVERGED else loss)
            (change,) = pull(np.asarray(beta).reshape(n, 1))
            expected = flat(change)
            gaps[name] = float(np.linalg.norm(flat(state.params) - flat(p0) - expected) / np.linalg.norm(expected))
            steps[name] = int(count)
    training = {"loss": trained.final.loss, "steps": trained.final.step, "seconds": trained.seconds}
    return {"gaps": gaps, "training": training, "descent": {"steps": steps}}


def flow(network: MLP, p0: Any, data: TaskData, report: Report = silent) -> dict[str, Any]:
    """The integrator (tol 1e-3) against descent at 0.02/L, and beside it descent at 0.1/L."""
    x, y = data.train.x, data.train.y
    ours = train(network, p0, x, y, GradientFlow(tol=1e-3))
    report(0.1, "descent")
    reference = train(network, p0, x, y, Descent(rate=REFERENCE, dtype="float64"))
    coarse = train(network, p0, x, y, Descent(rate=COARSE, dtype="float64"))
    change = flat(reference.final.params) - flat(p0)

    def gap(other: Any) -> float:
        return float(np.linalg.norm(flat(other.final.params) - flat(reference.final.params)) / np.linalg.norm(change))

    return {
        "gaps": {"flow": gap(ours), "coarse": gap(coarse)},
        "training": {"loss": ours.final.loss, "steps": ours.final.step, "seconds": ours.seconds},
        "descent": {"steps": reference.final.step, "seconds": reference.seconds},
    }
