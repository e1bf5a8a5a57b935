"""What every training rule takes and returns."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar, NamedTuple, TypeAlias, TypeVar

import jax
import numpy as np
from jaxtyping import Float
from scipy import linalg

from recon.arrays import Tensor, enable_x64
from recon.kernels import as_matrix, compiled_ntk
from recon.networks import Network, Params
from recon.progress import Report, silent

Tree = TypeVar("Tree")
HostParams = Mapping[str, Mapping[str, np.ndarray]]
"""A parameter tree of NumPy arrays."""


Images: TypeAlias = Float[np.ndarray, "n *shape"]
Targets: TypeAlias = Float[np.ndarray, "n c"]


@dataclass(frozen=True)
class Dynamics(ABC):
    """A training rule with its settings. A new rule is one file in this package, with a subclass.

    Attributes:
      linearised: the rule trains the first-order Taylor expansion around θ₀.
    """

    linearised: ClassVar[bool] = False

    @abstractmethod
    def train(self, network: Network, params0: Params, x: Images, y: Targets, report: Report = silent) -> "Trained":
        """Train a network from θ₀ on images with targets.

        Raises:
          ReconError: training diverged or did not reach its loss; see the rule's own method.
        """


@dataclass(frozen=True)
class State:
    """Weights along a training run.

    Attributes:
      params: float32 weights.
      loss: mean over images of ½‖f − y‖² at these float32 weights, evaluated in float64.
      step: training steps taken.
      time: gradient-flow time (NaN for rules that have none).
    """

    params: HostParams
    loss: float
    step: int
    time: float


@dataclass(frozen=True)
class Trained:
    """A training run.

    Attributes:
      initial: the state at θ₀.
      final: the state at θ_f.
      checkpoints: early-stopped states, one for each loss asked for.
      linearised: the trained model is the first-order Taylor expansion around θ₀.
      duals: α = K⁻¹(y − f₀) with K the NTK at θ₀ (paper, eq. 6), see `fitted`; exact for linearised dynamics run to
        convergence.
      loss_path: each image's ½‖f − y‖² integrated over flow time: large where it is fitted late.
      trace: (step, loss) along the run.
      why: why training stopped.
      seconds: wall time.
      work: counts of what was done, such as gradient passes.
      state: the optimiser's state at θ_f, shaped like the weights: Adam's first moment or SGD's momentum buffer; None
        for rules that have none.
    """

    initial: State
    final: State
    linearised: bool
    duals: Float[np.ndarray, "n c"]
    loss_path: Float[np.ndarray, " n"]
    trace: Float[np.ndarray, "k 2"]
    why: str
    seconds: float
    checkpoints: tuple[State, ...] = ()
    work: dict[str, int] = field(default_factory=dict)
    state: HostParams | None = None


def to_host(params: Params) -> dict[str, dict[str, np.ndarray]]:
    """Parameters as float32 NumPy arrays."""
    return {name: {k: np.asarray(v, dtype=np.float32) for k, v in layer.items()} for name, layer in params.items()}


def to_float64(tree: Tree) -> Tree:
    """A tree of float64 NumPy arrays; it takes float64 of JAX enabled to keep them so in there."""
    whole: Tree = jax.tree.map(lambda a: np.asarray(a, np.float64), tree)
    return whole


RANK_FLOOR = 1e-13  # eigenvalues below this fraction of the largest are noise of the float64 kernel


def fitted(
    eigenvalues: Float[np.ndarray, " k"], vectors: Float[np.ndarray, "k k"], coefficients: Float[np.ndarray, " k"]
) -> Float[np.ndarray, " k"]:
    """α = K⁻¹e of K = VΛVᵀ and c = Vᵀe; of a singular K, as of an image given twice, the least of those that fit best.

    The flow of the linear model ends there, whatever the kernel.
    """
    held = eigenvalues > RANK_FLOOR * eigenvalues[-1]
    return np.asarray(vectors @ np.where(held, coefficients / np.where(held, eigenvalues, 1.0), 0.0))


class Start(NamedTuple):
    """The training set at some weights, at θ₀ but for rules that look again on the way; in float64.

    Attributes:
      params: the weights.
      x, y: images and targets.
      kernel: the NTK as a matrix, k = n·c.
      outputs: f.
    """

    params: Params
    x: Images
    y: Targets
    kernel: Float[np.ndarray, "k k"]
    outputs: Targets

    @property
    def residual(self) -> Float[np.ndarray, " k"]:
        """What is missing to the targets, y − f, image by image."""
        return np.asarray((self.y - self.outputs).ravel())

    @property
    def loss(self) -> float:
        """Mean over images of ½‖f − y‖²."""
        return mean_loss(self.outputs - self.y)

    @property
    def duals(self) -> Targets:
        """α = K⁻¹(y − f), see `fitted`."""
        values, vectors = linalg.eigh(self.kernel)
        return fitted(values, vectors, vectors.T @ self.residual).reshape(self.y.shape)

    @property
    def curvature(self) -> float:
        """λ_max(K)/N: largest of the mean of ½(f − y)² over the images."""
        return float(np.linalg.eigvalsh(self.kernel)[-1]) / len(self.x)


def measure_start(network: Network, params0: Params, x: Images, y: Targets) -> Start:
    """What training rules look at before a step."""
    with enable_x64():
        params, x, y = to_float64((params0, x, y))
        kernel = np.asarray(as_matrix(compiled_ntk(network, params, x)))
        return Start(params, x, y, kernel, np.asarray(apply(network, params, x)))


def add(params: Params, change: Params) -> Params:
    """θ + Δθ, leaf by leaf."""
    total: Params = jax.tree.map(lambda a, b: a + b, params, change)
    return total


def mean_loss(residual: np.ndarray) -> float:
    """Mean over images of ½‖f − y‖², from the residual (n, c)."""
    return float(0.5 * np.sum(np.asarray(residual, np.float64) ** 2) / len(residual))


def nearness(first: float, loss: float, target: float) -> float:
    """How far a loss has come from its first value to the one to stop at, in decades, as a share from 0 to 1."""
    return float(np.clip(np.log(first / loss) / np.log(first / target), 0, 1)) if first > target else 1.0


def loss_integral(
    eigenvalues: Float[np.ndarray, " k"],
    vectors: Float[np.ndarray, "k k"],
    coefficients: Float[np.ndarray, " k"],
    tau: float,
    n: int,
) -> Float[np.ndarray, " n"]:
    """∫₀^τ ½‖e_i(t)‖² dt of each image i under the flow of a fixed kernel K = VΛVᵀ, e(t) = V exp(−Λt/N) c.

    Args:
      eigenvalues: of K, k = N·c for c outputs, all above zero.
      vectors: V.
      coefficients: c = Vᵀe(0).
      tau: length of time, ∞ allowed.
      n: number of images N.
    """
    rates = (eigenvalues[:, None] + eigenvalues) / n
    pairs = coefficients[:, None] * coefficients * -np.expm1(-rates * tau) / rates
    integral = 0.5 * np.sum(vectors @ pairs * vectors, axis=1)
    return np.asarray(integral.reshape(n, -1).sum(axis=1))


@partial(jax.jit, static_argnums=0)
def apply(network: Network, params: Params, x: Tensor) -> Tensor:
    """`network.apply`, compiled once for each network and shape of x."""
    return network.apply(params, x)


@partial(jax.jit, static_argnums=0)
def _taylor(network: Network, params: Params, change: Params, x: Tensor) -> tuple[Tensor, Tensor]:
    """Outputs at `params` and their first-order change."""
    f: tuple[Tensor, Tensor] = jax.jvp(lambda q: network.apply(q, x), (params,), (change,))
    return f


def loss_at(
    network: Network, params0: Params, params: Params, x: Images, y: Targets, linearised: bool = False
) -> float:
    """Mean over images of ½‖f − y‖² of the trained model, see `outputs`."""
    return mean_loss(outputs(network, params0, params, x, linearised) - y)


def outputs(network: Network, params0: Params, params: Params, x: np.ndarray, linearised: bool) -> np.ndarray:
    """Outputs (n, c) of the trained model: the network at `params`, or its linearisation at `params0`.

    In float64: in float32 a unit near its threshold can differ from the float64 training in its sign, which showed as
    a residual of 1e-3 in one image of a hundred.
    """
    with enable_x64():
        p0, p1 = to_float64(params0), to_float64(params)
        x = np.asarray(x, np.float64)
        if not linearised:
            return np.asarray(apply(network, p1, x))
        change = jax.tree.map(lambda a, b: a - b, p1, p0)
        f0, df = _taylor(network, p0, change, x)
        return np.asarray(f0 + df)
