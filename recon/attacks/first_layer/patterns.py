"""Search by the first layer's patterns: null vectors and half-spaces in turn, in two stages, in float32."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from recon.attacks.base import Problem
from recon.attacks.first_layer.deflated import SLOW_STEPS, Deflated, deflated, finish, starts
from recon.attacks.first_layer.flops import product
from recon.attacks.first_layer.joint import joint
from recon.attacks.first_layer.linear import active_probability, normalised, null_vectors
from recon.attacks.first_layer.observe import Observed
from recon.attacks.first_layer.search import State
from recon.attacks.first_layer.vectors import ALIKE, Vectors, distinct, inactive_units

CROWDED = 0.4  # images for each hidden unit above which inactive units are too few to tell images from mixtures
# The same beside the exact tangent search, which takes their vectors for right: at 100/256 on CIFAR-10 mixtures then
# left it nothing to find, and 0 and 1 of 100 images came back; without them all did.
BESIDE = 0.3
# Chosen while building.
HELD_MISSING, FREE_EVERY = 0.1, 3  # q is held while more than this share is missing, but for each third batch
FIRST_LANCZOS, LANCZOS = 10, 6  # steps in the first round of stage one, from a random q, and in the others
QUICK_STEPS = 2  # of the regression in a round
BETTER, STALE = 1e-3, 3  # a row is left once its share of energy fell by less in so many rounds in a row
SIMILAR = 0.9  # cosine of null vectors of stage one that are taken for one
SURE_FIRST, SURE_MORE = 0.75, 0.05  # share of the inactive units that stage two trusts, and what each round adds
SMALLEST = 0.9  # share of these that stay, those of the smallest entries
STAGE_TWO_ROUNDS, STAGE_TWO_LANCZOS = 3, 8
FINISHED, LEAST_FINISHED = 4, 16  # one in so many starts goes on to the finish, and at least so many do
NEARLY = 0.05  # ratio below which candidates are finished once more


class Candidates(NamedTuple):
    """What one batch of a search proposes.

    Attributes:
      reduced: the coordinates that it was made in.
      y: of images, in these.
      q: null vectors to begin the finish with.
    """

    reduced: Deflated
    y: Float[np.ndarray, "b m"]
    q: Float[np.ndarray, "b n"]


@dataclass(frozen=True, eq=False)
class Patterns:
    """The search that needs no layer above the first."""

    promise: ClassVar[float] = 0.0  # it has its turn where the other finds nothing
    exact: ClassVar[bool] = False
    by_coordinates: ClassVar[bool] = False

    @classmethod
    def on(cls, seen: Observed, problem: Problem) -> "Patterns | None":
        """The search, or None where units have no inactive side, or too few of them are inactive."""
        few = seen.n >= (BESIDE if seen.still and seen.bias else CROWDED) * seen.v.shape[1]
        return cls() if problem.network.units.leak == 0 and not few else None

    def vectors(self, state: State, count: int) -> Vectors:
        """What the robust finish accepts of the candidates."""
        state.starts += count
        return accepted(state, self.candidates(state, count))

    def together(self, seen: Observed, found: Vectors) -> Vectors:
        """Each from the units that the others leave inactive."""
        return joint(seen, found)

    def alone(self, seen: Observed, found: Vectors) -> tuple[Vectors, Float[np.ndarray, " k"]]:  # noqa: ARG002
        """Nothing: a vector tells its image only with all the others."""
        return found, np.full(len(found), np.inf)

    def candidates(self, state: State, count: int) -> Candidates:
        """From columns of the change and isotropic starts."""
        missing = state.seen.n - len(state.found)
        held = missing > HELD_MISSING * state.seen.n and state.batches % FREE_EVERY != FREE_EVERY - 1
        reduced = deflated(state.seen, state.found, held)
        y = starts(state.seen, state.found, reduced, count, state.rng)
        y, z, share, rounds = stage_one(reduced, y, state.rng, state.settings.rounds)
        state.rounds += rounds
        keep = distinct(z, share, SIMILAR)
        y, z, share = stage_two(reduced, y[keep], z[keep])
        keep = distinct(z, share, ALIKE)[: max(LEAST_FINISHED, count // FINISHED)]
        return Candidates(reduced, y[keep], z[keep] @ reduced.basis_q)


def accepted(state: State, proposed: Candidates) -> Vectors:
    """Candidates after the robust finish: those that vanish on their image's inactive units, and on no others."""
    seen, settings = state.seen, state.settings
    reduced, y, q = proposed
    vectors = finish(seen, reduced, y, q)
    # Nearly right ones become right when the finish starts from what it gave.
    again = vectors.take(vectors.ratio < NEARLY)
    vectors = finish(seen, reduced, (again.c @ reduced.basis_c.T).astype(np.float32), again.q)
    return vectors.take((vectors.ratio < settings.ratio) & (vectors.agreement > state.least_agreement))


def stage_one(
    reduced: Deflated, y: Float[np.ndarray, "b m"], rng: np.random.Generator, rounds: int
) -> tuple[Float[np.ndarray, "b m"], Float[np.ndarray, "b l"], Float[np.ndarray, " b"], int]:
    """Alternate between null vectors and half-spaces until a row stops improving.

    Returns:
      Coordinates y and z, the share of g's energy on inactive units, and the number of rounds times starts.
    """
    batch = len(y)
    y = y.copy()
    z = rng.standard_normal((batch, len(reduced.v))).astype(np.float32)
    share = np.ones(batch, np.float32)
    best = np.ones(batch, np.float32)
    stale = np.zeros(batch, int)
    live = np.arange(batch)
    done = 0
    for i in range(rounds):
        _, inactive = inactive_units(y[live], reduced.p0, reduced.p1)
        mask = inactive.astype(np.float32)
        z[live] = null_vectors(reduced.v, mask, z[live], LANCZOS if i else FIRST_LANCZOS)
        g = product(z[live], reduced.v)
        share[live] = np.einsum("bw,bw->b", g * g, mask)
        y[live] = normalised(reduced.quick.fit(active_probability(g, inactive), QUICK_STEPS))
        done += len(live)
        better = share[live] < best[live] - BETTER
        stale[live] = np.where(better, 0, stale[live] + 1)
        best[live] = np.minimum(best[live], share[live])
        live = live[stale[live] < STALE]
        if not len(live):
            break
    return y, z, share, done


def surest(upper: Float[np.ndarray, "b w"], inactive: Bool[np.ndarray, "b w"], share: float) -> Bool[np.ndarray, "b w"]:
    """The `share` of each row's inactive units that lie deepest."""
    depth = np.where(inactive, upper, np.inf)
    order = np.sort(depth, axis=1)
    last = np.maximum((share * inactive.sum(1)).astype(int) - 1, 0)
    return depth <= np.take_along_axis(order, last[:, None], 1)


def stage_two(
    reduced: Deflated, y: Float[np.ndarray, "b m"], z: Float[np.ndarray, "b l"]
) -> tuple[Float[np.ndarray, "b m"], Float[np.ndarray, "b l"], Float[np.ndarray, " b"]]:
    """Null vectors on the surest inactive units, the worst tenth of them dropped; crisp labels."""
    share = np.ones(len(y))
    for i in range(STAGE_TWO_ROUNDS):
        upper, inactive = inactive_units(y, reduced.p0, reduced.p1)
        mask = surest(upper, inactive, SURE_FIRST + SURE_MORE * i)
        z = null_vectors(reduced.v, mask.astype(np.float32), z, STAGE_TWO_LANCZOS)
        mask = surest(np.abs(product(z, reduced.v)), mask, SMALLEST)
        z = null_vectors(reduced.v, mask.astype(np.float32), z, STAGE_TWO_LANCZOS)
        g = product(z, reduced.v)
        share = np.einsum("bw,bw->b", g * g, mask.astype(np.float32)) / np.maximum(mask.sum(1), 1) * g.shape[1]
        labels = (active_probability(g, mask) > 0.5).astype(np.float32)
        y = normalised(reduced.slow.fit(labels, SLOW_STEPS))
    return y, z, share
