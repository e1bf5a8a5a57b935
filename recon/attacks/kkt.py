"""Reconstruction from the final weights alone (Haim et al. 2022; several outputs and regression: Buzaglo et al. 2023).

Training to a large margin, or with weight decay to the end, leaves θ_f = Σ_i α_i ∇_θ f(x_i; θ_f): see
`recon.dynamics.margin`. The attack descends

    L(x, α) = ‖θ_f − (1/M) Σ_j Σ_c α_jc ∇_θ f_c(x_j; θ_f)‖² / ‖θ_f‖² + box penalty + dual penalty.

With the objective "mse" the duals α are free. For a margin, α_j = λ_j y_j of one output; of several, +λ_j for the
class of image j and −λ_j for the largest other output. λ below `least_dual` is penalised, which keeps images from
being left out. The initial weights are not used: the same objective with Δθ in place of θ_f is the paper's eq. 7.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PRNGKeyArray
from optax.tree_utils import tree_norm

from recon.arrays import Tensor
from recon.attacks.adam import DescentSettings, Known, cosine, first_images, known_of, result, run_adam, untimed
from recon.attacks.base import Attack, Problem, Reconstruction
from recon.attacks.gradient_matching import Matching, box_penalty, matching_loss, projected_loss
from recon.errors import ReconError
from recon.networks import Activation
from recon.progress import Report


@dataclass(frozen=True)
class KKT:
    """Settings of the attack.

    The published attack draws rate, `x_scale`, `least_dual` and `sharpness` at random for each of many runs of 50,000
    steps of SGD, and keeps the best ends of all; here they are fixed, and Adam's rate decays.

    Attributes:
      objective: what the network was trained on: "mse" with weight decay, or "logistic" (softmax, of several outputs).
      steps: Adam steps.
      learning_rate: Adam's at the first step; it decays to zero as a cosine.
      duals: "free" variables of the descent, or "projected", of "mse" only: the best ones for the current images.
      x_scale: standard deviation of the images at the start, where no others are given.
      least_dual: λ below this is penalised (the published sweep's best for MNIST: 0.45).
      dual_weight, box_weight: of the penalties, in units of ‖θ_f‖².
      sharpness: slope of the sigmoid that stands for ReLU's derivative, or for another kink's.
      ridge: of the projected duals, as a fraction of their kernel's mean diagonal.
      seconds: stop after so much time.
      snapshots: keep the images at so many steps, geometrically spaced.
    """

    objective: Literal["mse", "logistic"] = "mse"
    steps: int = 5_000
    learning_rate: float = 0.02
    duals: Literal["free", "projected"] = "free"
    x_scale: float = 0.05
    least_dual: float = 0.1
    dual_weight: float = 5.0
    box_weight: float = 5.0
    sharpness: float = 150.0
    ridge: float = 1e-4
    seconds: float | None = None
    snapshots: int = 0


def smoothed(own: Activation, sharpness: float) -> Activation:
    """ReLU with a sigmoid wherever its derivative is taken (Haim et al. 2022, appendix); others with a kink alike."""
    smooth = own.smoothed(sharpness)
    value = jax.custom_jvp(own.value)
    value.defjvp(lambda z, dz: (own.value(z[0]), smooth.slope(z[0]) * dz[0]))
    return dataclasses.replace(smooth, value=value)


def classes(m: int, outputs: int) -> Float[np.ndarray, "m c"]:
    """Balanced classes for m images: ±1 for one output, else one-hot rows."""
    if outputs == 1:
        return np.where(np.arange(m) % 2, 1.0, -1.0).astype(np.float32)[:, None]
    return np.eye(outputs, dtype=np.float32)[np.arange(m) % outputs]


def margin_duals(f: Float[Tensor, "m c"], multipliers: Float[Tensor, " m"], y: Float[Tensor, "m c"]) -> Tensor:
    """α (m, c) of the margin y·f of one output, or f_class − max of the others."""
    if f.shape[1] == 1:
        return multipliers[:, None] * y
    other = jnp.argmax(jnp.where(y > 0, -jnp.inf, f), axis=1)
    return multipliers[:, None] * (y - jax.nn.one_hot(other, f.shape[1]))


@dataclass(frozen=True)
class Stationarity(Matching):
    """L of the module's docstring.

    Attributes:
      of: the attack's settings.
      norm: ‖θ_f‖².
    """

    of: KKT
    norm: float

    def loss(self, variables: dict[str, Any], _: Tensor, known: Known) -> Float[Tensor, ""]:
        """L over ‖θ_f‖²."""
        x, of = variables["x"], self.of
        if "duals" in variables:
            duals = self.duals(variables, known)
            activation = smoothed(self.network.units, of.sharpness)
            loss = matching_loss(self.target(known), x, duals, activation) / self.norm
        else:
            loss = self.best(x, known)[0] / self.norm
        if of.objective == "logistic":
            loss = loss + of.dual_weight * jnp.mean(jax.nn.relu(of.least_dual - variables["duals"]) ** 2)
        return loss if known.box is None else loss + box_penalty(self.images(x, known), known.box, of.box_weight)

    def best(self, x: Tensor, known: Known) -> tuple[Float[Tensor, ""], Float[Tensor, "1 m c"]]:
        """The loss of the best duals without penalties, and these."""
        activation = smoothed(self.network.units, self.of.sharpness)
        return projected_loss(self.target(known), x, activation, self.of.ridge)

    def duals(self, variables: dict[str, Any], known: Known) -> Float[Tensor, "1 m c"]:
        """α of free duals."""
        if self.of.objective == "mse":
            return jnp.asarray(variables["duals"])[None]
        x = variables["x"]
        f = jax.lax.stop_gradient(self.network.apply(known.points[0], x))
        return margin_duals(f, variables["duals"], jnp.asarray(classes(len(x), self.network.outputs)))[None]


def run(problem: Problem, settings: KKT, key: PRNGKeyArray, report: Report) -> Reconstruction:
    """Descend from noise, without `problem.params0`.

    Raises:
      ReconError: impossible settings, or the loss stops being finite.
    """
    if settings.objective not in ("mse", "logistic") or settings.duals not in ("free", "projected"):
        raise ReconError("objective is 'mse' or 'logistic', duals is 'free' or 'projected'.")
    if settings.duals == "projected" and settings.objective != "mse":
        raise ReconError("Projected duals have no sign: they go with the objective 'mse'.")
    if settings.steps < 1:
        raise ReconError("The attack needs at least one step.")
    m, network = problem.m, problem.mlp
    # The objective is eq. 7 with θ_f for the change: that from θ₀ = 0.
    from_zero = dataclasses.replace(problem, params0=jax.tree.map(np.zeros_like, problem.params1), linearised=False)
    known = known_of(from_zero, DescentSettings())
    k_x, k_duals = jax.random.split(key)
    x = first_images(problem, settings.x_scale, k_x).reshape(m, -1)
    variables: dict[str, Any] = {"x": x}
    if settings.objective == "logistic":
        variables["duals"] = jax.random.uniform(k_duals, (m,))
    elif settings.duals == "free":
        variables["duals"] = jax.random.normal(k_duals, (m, network.outputs))
    schedule = cosine(settings)
    norm = float(tree_norm(known.change, squared=True))
    objective = Stationarity(schedule, network, problem.image_shape, untimed(settings), norm)
    done, program = run_adam(objective, variables, known, schedule, report)
    if "duals" in variables:
        duals = objective.duals(done.variables, known)
    else:
        _, duals = objective.best(done.variables["x"], known)
    return result("kkt", problem, done, program, x, duals)


ATTACK = Attack(
    "kkt", "from the final weights alone (Haim et al. 2022, Buzaglo et al. 2023)", KKT(), run, of_change=False
)
