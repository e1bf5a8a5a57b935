"""What every attack takes and returns."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float, Int, PRNGKeyArray

from recon.errors import ReconError
from recon.networks import MLP, Network
from recon.progress import Report

Tree = dict[str, dict[str, np.ndarray]]

LARGEST = 1e12  # weight: attacks still work at 1e10 times the usual, from 1e19 on squares overflow float32


@dataclass(frozen=True)
class Problem:
    """All that the attacker knows.

    Attributes:
      network: the architecture.
      params0, params1: initial and final weights, float32; with a gradient those before and after a step of rate one,
        float64 for attacks that compute so.
      image_shape: shape of one image, such as (28, 28, 1).
      box: least and greatest value of an input by channel, or None.
      linearised: the attacked model is the Taylor expansion around θ₀, whose gradients are those at θ₀ everywhere.
      m: number of images to reconstruct.
      state: optimiser state shaped like the weights, a running sum or mean of gradients, or None.
      start: images to start from, or None: the attack's own.
      gradient: of the loss at θ₀, of the weights' precision, which is all that is known besides θ₀; or None.
      update: the weights' change in float64 where it is known by itself, and more precisely than the weights differ; in
        layers above the first it need not be θ_f − θ₀ but what training added up of gradients; or None.
    """

    network: Network
    params0: Tree
    params1: Tree
    image_shape: tuple[int, ...]
    box: tuple[np.ndarray, np.ndarray] | None
    linearised: bool
    m: int
    state: Tree | None = None
    start: Float[np.ndarray, "m *shape"] | None = None
    gradient: Tree | None = None
    update: Tree | None = None

    @property
    def mlp(self) -> MLP:
        """The network, for attacks on plain MLPs; `reconstruct` gives them no other."""
        assert isinstance(self.network, MLP)
        return self.network

    @property
    def precision(self) -> Any:
        """The type of a gradient's numbers; of weights float32."""
        return np.float32 if self.gradient is None else jax.tree.leaves(self.gradient)[0].dtype

    @property
    def change(self) -> Tree:
        """Δθ = θ_f − θ₀; of a gradient −∇, without the rounding of weights; an update as it is, in float32."""
        tree: Tree
        if self.update is not None:
            tree = jax.tree.map(np.float32, self.update)
        elif self.gradient is not None:
            tree = jax.tree.map(np.negative, self.gradient)
        else:
            tree = jax.tree.map(lambda a, b: b - a, self.params0, self.params1)
        return tree


@dataclass(frozen=True)
class Snapshot:
    """Images on the way, for curves of error against work and time.

    Attributes:
      step: optimiser steps, or batches of the search, taken so far.
      seconds: since the attack began, without tracing and compiling.
      flops: floating-point operations so far.
      images: as found so far, in the network's input space.
    """

    step: int
    seconds: float
    flops: float
    images: Float[np.ndarray, "k *shape"]


@dataclass(frozen=True)
class Spectrum:
    """Singular values of the first layer's change, or of what is attacked in its place.

    Attributes:
      values: in falling order.
      cut: how many are above the largest gap. It is the number of training images if the gap is clear.
      rounding: the largest that errors have as large as one rounding of each number, to the precision it was given in.
    """

    values: Float[np.ndarray, " k"]
    cut: int
    rounding: float


@dataclass(frozen=True)
class Reconstruction:
    """What an attack found.

    Attributes:
      attack: its name.
      images: reconstructions in the network's input space (mean-subtracted).
      start: the images that the attack started from, a control for every score.
      duals: dual weights for each point of the path, image and output, where the attack has them; none where it was
        stopped in a step longer than it is waited for.
      certified: images that the attack vouches for, where it can (None: it cannot).
      up_to_scale: images that it vouches for but for their size, the certified ones among them.
      confidence: in [0, 1], that an image is right at its own size, where the attack has one.
      n_estimated: number of training images as the rank of the first layer's change tells it, or None.
      labels: classes of images from one gradient, −1 where the loss does not tell; of a single output 1 where the
        target is the larger one. None: not from a gradient.
      absent: images of the gradient's batch that left nothing in it above rounding, or None: not told.
      trace: (step, loss) along the run.
      steps: optimiser steps taken.
      why: why it stopped.
      doubts: what keeps it from vouching for more, in words, as far as its numbers show.
      work: counts and sizes of what was done: FLOPs and bytes a step as XLA reports them, peak temporary memory.
      seconds: wall time of "trace", "compile" and "run".
      snapshots: images on the way, where they were asked for or cost nothing.
      spectrum: what the rank was told from, where the attack looked at it.
    """

    attack: str
    images: Float[np.ndarray, "m *shape"]
    start: Float[np.ndarray, "s *shape"]
    trace: Float[np.ndarray, "k 2"]
    steps: int
    why: str
    duals: Float[np.ndarray, "p m c"] | None = None
    certified: Bool[np.ndarray, " m"] | None = None
    up_to_scale: Bool[np.ndarray, " m"] | None = None
    confidence: Float[np.ndarray, " m"] | None = None
    n_estimated: int | None = None
    labels: Int[np.ndarray, " m"] | None = None
    absent: int | None = None
    doubts: tuple[str, ...] = ()
    work: dict[str, float | int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    snapshots: tuple[Snapshot, ...] = ()
    spectrum: Spectrum | None = None

    @property
    def interrupted(self) -> bool:
        """Stopped from the keyboard: these are the best images so far, not the attack's result."""
        return self.why == "interrupted"


@dataclass(frozen=True)
class Attack:
    """A named solver.

    Attributes:
      name: as on the command line.
      title: what it is, in a line.
      settings: its settings, a frozen dataclass.
      run: the function that runs it.
      networks: the networks it is for.
      relu_only: whether it is for units of ReLU alone.
      descends: whether it starts from images, which the caller may choose.
      of_change: whether the change of the weights is all that it asks of training, so that one gradient will do.
      double: whether it computes with a gradient of float64 as it is.
    """

    name: str
    title: str
    settings: Any
    run: Callable[[Problem, Any, PRNGKeyArray, Report], Reconstruction]
    networks: type[Network] = MLP
    relu_only: bool = False
    descends: bool = True
    of_change: bool = True
    double: bool = False

    def check(self, network: Network) -> None:
        """Refuse a network that it is not for.

        Raises:
          ReconError: of another kind, or another activation.
        """
        if not isinstance(network, self.networks):
            kind, needed = type(network).__name__, self.networks.__name__
            raise ReconError(
                f"The attack {self.name!r} is for networks of the kind {needed}, not {kind}: use ntk-autodiff."
            )
        if self.relu_only and network.activation != "relu":
            other = "ntk-fast" if isinstance(network, MLP) else "ntk-autodiff"
            raise ReconError(
                f"The attack {self.name!r} is for ReLU networks, not for those of {network.activation}: use {other}."
            )


def refuse_overflow(params: Tree, which: str) -> None:
    """Refuse weights as of a network that diverged, of which attacks' products would overflow.

    Raises:
      ReconError: names the largest.
    """
    largest = max((float(np.abs(array).max(initial=0.0)) for array in jax.tree.leaves(params)), default=0.0)
    if largest > LARGEST:
        raise ReconError(f"The {which} weights are as large as {largest:.2g}: give those of a network that computes.")
