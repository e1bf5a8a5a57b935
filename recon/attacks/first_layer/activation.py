"""Which activation a network has: that by whose gradients the change of its first layer is explained.

A file of weights does not tell it, but the tangent test does (`recon.attacks.first_layer.gradients`): at a training
image the network's own gradient lies in the row space of the change, up to rounding, for the right activation only. So
one batch of descents for each activation is enough, and how near the best of them comes is the evidence. It tells of
one step, of few or of small ones, and of linearised training: else gradients moved too far for any activation.
"""

from dataclasses import replace
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from recon.attacks.base import Problem, Tree
from recon.attacks.exact import in_standard_parametrisation, observed
from recon.attacks.first_layer.flops import counted, product
from recon.attacks.first_layer.gradients import at_one, combined, outside, passed
from recon.attacks.first_layer.linear import normalised
from recon.attacks.first_layer.observe import Observed
from recon.attacks.first_layer.search import State
from recon.attacks.first_layer.settings import Exact
from recon.attacks.first_layer.tangent import RESIDUAL, Tangent
from recon.networks import MLP

# Residual below which an activation is worth the whole search. For the right activation of 784-256-1 networks one batch
# of descents ended at 1e-9 to 2e-5 after one step or five of SGD, and at 7e-4 to 0.3 for any after full training; for
# a wrong one at 1e-3 to 0.3, but for tanh and sigmoid, whose slopes are alike near zero, at 2e-5 to 5e-5.
NEAR = 1e-4
# Points on the way from initial to final weights at which all gradients are taken: those of k equal steps were on
# average (k − 1)/2k of it, with momentum less. A parabola through what three tell finds the point between them.
POINTS = (0.0, 0.25, 0.5)
CLOSE = 2e-3  # residual from which the ends of descents are finished in float64, to tell the point on the way better


class Trial(NamedTuple):
    """What one activation explains.

    Attributes:
      activation: its name.
      along: the point on the way from initial to final weights that explains most.
      residual: least share of a gradient outside the row space of the change.
    """

    activation: str
    along: float
    residual: float

    @property
    def right(self) -> bool:
        """Whether the residual is that of a training image, not of something near one."""
        return self.residual < RESIDUAL

    @property
    def near(self) -> bool:
        """Whether a search may find something."""
        return self.residual < NEAR


def at_point(problem: Problem, along: float) -> Problem:
    """The change as that of a Taylor model around weights that are a part of the way from initial to final ones."""
    if not along:
        return replace(problem, linearised=True)

    def moved(params: Tree) -> Tree:
        change = jax.tree.map(lambda a, b: b.astype(np.float64) - a, problem.params0, problem.params1)
        shifted: Tree = jax.tree.map(lambda a, c: (a + along * c).astype(a.dtype), params, change)
        return shifted

    return replace(problem, params0=moved(problem.params0), params1=moved(problem.params1), linearised=True)


def trial(problem: Problem, activation: str, key: int) -> Trial | None:
    """How well an activation explains the change; None where nothing tells, as without biases or a clear rank.

    Args:
      problem: of an `MLP`, whose own activation does not count.
    """
    network = problem.network
    assert isinstance(network, MLP)
    problem, share = in_standard_parametrisation(replace(problem, network=replace(network, activation=activation)))
    at_start = problem.gradient is not None or problem.linearised
    made = []
    for along in POINTS[: 1 if at_start else None]:
        if (one := ends(problem, share, along, key)) is None:
            return None
        made.append(one)
    least = [one.least for one in made]
    if min(least) < CLOSE:
        least = [one.finished for one in made]
    told = [*zip(least, POINTS, strict=False)]
    if min(least) < CLOSE and not at_start:
        curve = np.polyfit(POINTS, least, 2)
        if curve[0] > 0 and 0 < (lowest := float(-curve[1] / (2 * curve[0]))) < 1:
            last = ends(problem, share, lowest, key)
            told += [(last.finished, lowest)] if last is not None else []
    best = min(told)
    return Trial(problem.network.activation, best[1], best[0])


class Ends(NamedTuple):
    """Where one batch of descents ended, in coordinates c."""

    way: Tangent
    seen: Observed
    c: Float[np.ndarray, "b n"]

    @property
    def least(self) -> float:
        """The least residual."""
        return float(shares(self.way, self.seen, self.c).min())

    @property
    def finished(self) -> float:
        """The same at the nearest zeros in float64; with a kink, half of `RESIDUAL` where one repaired is below it."""
        if self.way.units.leak is None:
            found = self.way.polish(self.seen, np.asarray(at_one(self.c, self.seen.u[-1])), self.way.spans)
            return float(np.nanmin(found.share))
        right = (self.way.settled(self.seen, self.c).ratio < 1).any()
        return min(self.least, RESIDUAL / 2 if right else np.inf)


def ends(problem: Problem, share: float, along: float, key: int) -> Ends | None:
    """One batch of descents; None where nothing tells.

    Args:
      problem: in standard parametrisation.
      share: the biases' share of a change.
      along: the point at which gradients are taken.
    """
    problem = at_point(problem, along)
    with counted() as count:
        seen = observed(problem, share)
        way = Tangent.on(seen, problem) if seen.clear else None
        if way is None:
            return None
        state = State(seen, Exact(), problem.image_shape, np.random.default_rng(key), count, 0.0)
        whole = np.eye(seen.n)
        found = way.descended(seen, *way.starts(state, whole), whole, np.zeros_like(whole))
    c = normalised(found[np.isfinite(found).all(1)])
    return Ends(way, seen, c) if len(c) else None


def shares(way: Tangent, seen: Observed, c: Float[np.ndarray, "b n"]) -> Float[np.ndarray, " b"]:
    """Share of each gradient outside the row space of the change, in float64."""
    z = product(np.asarray(at_one(c, seen.u[-1])), way.spans.p.T)
    gradient = combined(passed(z, way.spans.above, way.units).g[0], way.spans.v)
    made: np.ndarray = np.maximum(np.asarray(outside(gradient, way.spans.v.T)), 0.0)
    return made
