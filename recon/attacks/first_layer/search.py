"""The search for null vectors: batch by batch, each by the way to search that pays most, until all are found.

Ways to search are `Search` objects, a file each: `tangent`, `zeros`, `patterns`. What they find is kept in a `State`.
"""

import time
from dataclasses import dataclass, field
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from recon.attacks.base import Problem, Snapshot
from recon.attacks.first_layer.flops import Count
from recon.attacks.first_layer.images import images
from recon.attacks.first_layer.joint import best, cleaned, passing, repeated
from recon.attacks.first_layer.linear import normalised
from recon.attacks.first_layer.observe import Observed
from recon.attacks.first_layer.proof import proven, tells
from recon.attacks.first_layer.settings import Exact
from recon.attacks.first_layer.vectors import Vectors, complement, joined, judged, merged, none, robust, turned
from recon.progress import Report

# Chosen while building, where a line does not say what was measured.
# For each training image, after which the search gives up; where vectors prove themselves, and a start is a small part
# of a batch, at least.
STARTS, LEAST_STARTS = 100, 20_000
BATCH, LEAST_BATCH = 4, 16  # starts at once for each image that is missing, and at least
# A half-space of m coordinates learnt from W labels errs on a share of the units that grows as m/W. What a pattern may
# disagree on grows by MISLABELLED times that, and for each batch that found nothing by LENIENCE.
MISLABELLED, LENIENCE = 0.35, 0.02
RISE = (1.2, 1e-3)  # of the yields of the ways to search that do not have the turn: factor and term, each batch
CLEAN_FROM, CLEAN_GROWTH = 14, 1.25  # found vectors above which they are cleaned, and by which they then must grow
MOST_FREE = 0.1  # free directions for each hidden unit beyond which coordinates are too rough to doubt vectors by
MOST_CLEANED = 10  # one in so many of all vectors is dropped at most by cleaning where no ratio demands it
DOUBTED, LEAST_DOUBTED, MOST_DOUBTED = 50, 2, 4  # after a failed joint step: one in so many, at least, one in so many
PROVEN, RESCUES = 0.5, 5  # of the found, by their own zeros, for only these to stay; of N found, so often
LAST_SOLVES, LAST_STEPS = 6, 20  # for the vector of the last image, and of Lanczos in each
SNAPSHOT_SHARE, SNAPSHOT_GROWTH = 0.1, 1.25  # of N, and of what the last one held, by which the found have grown


@runtime_checkable
class Search(Protocol):
    """A way to search, on one problem.

    Attributes:
      promise: what it is expected to find for each start before it was tried: decides which comes first.
    """

    promise: ClassVar[float]

    @property
    def exact(self) -> bool:
        """Whether what it keeps needs no cleaning later."""
        ...

    @property
    def by_coordinates(self) -> bool:
        """Whether images of nearly one null vector are told apart by their coordinates."""
        ...

    @classmethod
    def on(cls, seen: Observed, problem: Problem) -> "Search | None":
        """The search on a problem, or None where it is not possible."""
        ...

    def vectors(self, state: "State", count: int) -> Vectors:
        """Vectors to keep, from about `count` starts, which are added to the state's."""
        ...

    def together(self, seen: Observed, found: Vectors) -> Vectors:
        """All N vectors solved together."""
        ...

    def alone(self, seen: Observed, found: Vectors) -> tuple[Vectors, Float[np.ndarray, " k"]]:
        """Each image from what it tells of itself; and how far noise may move it, infinite if it tells none."""
        ...


@dataclass
class State:
    """What the search works on, and what it has so far: the one thing that changes, so that Ctrl-C loses nothing.

    Attributes:
      seen: the first layer's change.
      settings: when to stop and what to accept.
      shape: of an image.
      rng: of all that is drawn.
      count: of operations.
      began: when the attack did, by `time.perf_counter`.
      yields: the ways to search, with the vectors found for each start of late.
      found: accepted vectors.
      top: as they were when there were most.
      proves: whether vectors may be proven by their own zeros.
      patience: batches in a row that find nothing, after which the search stops.
      dry: batches in a row after which there were no more of them than before, and vectors inferred in vain.
      failed: joint steps on N vectors that were not all right.
      inferred: the last vector is what the others leave, not what a search found.
      clean_from: found vectors above which they are cleaned after each batch.
      starts, rounds, batches, joint: of the search, of its stage one, of the search, and on all vectors together.
      trace: (starts, number found) after each batch.
    """

    seen: Observed
    settings: Exact
    shape: tuple[int, ...]
    rng: np.random.Generator
    count: Count
    began: float
    yields: dict[Search, float] = field(default_factory=dict)
    found: Vectors = field(init=False)
    top: Vectors = field(init=False)
    proves: bool = field(init=False)
    patience: int = field(init=False)
    dry: int = 0
    failed: int = 0
    inferred: bool = False
    clean_from: int = CLEAN_FROM
    starts: int = 0
    rounds: int = 0
    batches: int = 0
    joint: int = 0
    trace: list[tuple[int, int]] = field(default_factory=list)
    snapshots: list[Snapshot] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Nothing is found yet."""
        self.found = self.top = none(self.seen.n)
        self.proves = tells(self.seen)
        self.patience = self.settings.patience

    @property
    def seconds(self) -> float:
        """Since the attack began."""
        return time.perf_counter() - self.began

    @property
    def way(self) -> Search:
        """The search whose turn it is: the one that found most of late."""
        return max(self.yields, key=self.yields.__getitem__)

    @property
    def missing(self) -> int:
        """Vectors that are not found."""
        return self.seen.n - len(self.found)

    @property
    def over(self) -> str:
        """Why there is no use in going on, or nothing."""
        least = LEAST_STARTS if self.proves else 0
        most = max(STARTS * self.seen.n, least) if self.settings.starts is None else self.settings.starts
        if self.starts >= most:
            return "out of starts"
        if self.settings.seconds is not None and self.seconds > self.settings.seconds:
            return "out of time"
        # Where a last faint image is sought, it may be found and lost again for ever.
        failed = self.failed if self.patience < self.settings.patience else 0
        return "nothing more found" if self.dry + failed >= self.patience else ""

    @property
    def one_to_infer(self) -> bool:
        """Whether it is the turn of the last image to be told from the others: after each other dry batch.

        It is known without a search, and its vector may be too faint for one to accept.
        """
        return len(self.top) == self.seen.n - 1 and self.dry % 2 == 1

    @property
    def stuck(self) -> bool:
        """Whether it is the turn of the found to be doubted: after each other dry batch."""
        return self.dry > 0 and self.dry % 2 == 0

    @property
    def least_agreement(self) -> float:
        """Share of the units above which a vector's pattern must agree with its image's to be accepted."""
        mislabelled: float = MISLABELLED * self.missing / self.seen.v.shape[1]
        return max(self.settings.agreement, 1.0 - self.seen.slack - mislabelled - LENIENCE * self.dry)

    def begin(self, found: Vectors) -> None:
        """Go on from these vectors, of another number of coordinates."""
        self.found = self.top = found
        self.dry = self.failed = 0
        self.inferred = False

    def keep(self, images: Float[np.ndarray, "k *shape"]) -> None:
        """Take a snapshot with these images."""
        self.snapshots.append(Snapshot(self.batches, self.seconds, self.count.flops, images))


def search(state: State, report: Report) -> str:
    """Find vectors until there are N that are right together; returns why it stopped."""
    n = state.seen.n
    while True:
        if len(state.found) == n and solve_together(state):
            return "complete"
        if why := state.over:
            return why
        if state.one_to_infer:
            state.found, state.inferred = joined(state.top, last(state)), True
            continue
        search_once(state)
        clean(state)
        state.trace.append((state.starts, len(state.found)))
        report(len(state.found) / n, f"{len(state.found)} of {n}, {state.starts} starts")


def solve_together(state: State) -> bool:
    """Solve all N together; whether all are right. Where they are not, those of least agreement go."""
    n = state.seen.n
    for way in sorted(state.yields, key=lambda way: (way.exact, state.yields[way]), reverse=True):
        after = way.together(state.seen, state.found)
        state.joint += 1
        again = np.zeros(n, bool) if way.by_coordinates else repeated(after)
        if passing(after).all() and not again.any():
            state.found = after
            return True
        if way.exact and state.proves and state.failed < RESCUES:
            # Beside false vectors others pass together: search on from those that prove themselves.
            sure = proven(state.seen, state.found)
            if PROVEN * n <= len(sure) < n:
                state.failed, state.dry, state.inferred = state.failed + 1, state.dry + state.inferred, False
                state.found = state.top = sure
                return False
    # The inverse spreads one false vector's error over all: doubt those of least agreement, more each time.
    state.failed += 1
    doubted = min(max(LEAST_DOUBTED, n // DOUBTED) * state.failed, max(n // MOST_DOUBTED, 1))
    state.found = state.top = best(state.found.take(~again), n - doubted)
    # What the others leave was no image either: search before inferring it again.
    state.dry += state.inferred
    state.inferred = False
    return False


def last(state: State) -> Vectors:
    """The vector of the one image that is missing: its coordinates are orthogonal to all r but its own."""
    seen = state.seen
    c = turned(seen, complement(normalised(state.top.q / seen.s), seen.n))
    q = state.rng.standard_normal(c.shape)
    return judged(seen, c, robust(seen, c, q, solves=LAST_SOLVES, steps=LAST_STEPS, softness=seen.slack))


def search_once(state: State) -> None:
    """Search from one batch of starts, and keep what is accepted."""
    seen = state.seen
    count = min(state.settings.batch, max(LEAST_BATCH, BATCH * state.missing))
    way = state.way
    before = state.starts
    vectors = way.vectors(state, count)
    vectors = vectors.take(np.isfinite(vectors.c).all(1) & np.isfinite(vectors.q).all(1))
    state.batches += 1
    found = merged(state.found, vectors, seen.n, way.by_coordinates)
    # The search that found most of late goes on; the others' last yields grow until they get their turn.
    factor, term = RISE
    rest = {other: factor * was + term for other, was in state.yields.items()}
    state.yields = rest | {way: (len(found) - len(state.found)) / (state.starts - before)}
    state.found = found
    state.dry += 1
    if len(found) > len(state.top):
        state.top, state.dry = found, 0
        kept = len(state.snapshots[-1].images) if state.snapshots else 0
        if len(found) >= min(kept + SNAPSHOT_SHARE * seen.n, SNAPSHOT_GROWTH * kept):
            state.keep(pictures(seen, found.c, state.shape))


def clean(state: State) -> None:
    """Drop mixtures from the found when nothing new comes or they have grown by a share.

    A mixture blocks the images it is made of: when nothing new comes, the worst are doubted, more each time. It needs
    enough units for each free direction of the coordinates.
    """
    n, stuck = state.seen.n, state.stuck
    if state.way.exact:
        return
    if state.missing / state.seen.v.shape[1] >= MOST_FREE or not (stuck or state.clean_from < len(state.found) < n):
        return
    base = state.top if stuck else state.found
    if state.proves:
        if not stuck:
            return
        if len(sure := proven(state.seen, base)) >= PROVEN * len(base):
            state.found = state.top = sure
            return
    spare = min((n - len(base)) * state.dry // 2, n // MOST_CLEANED) if stuck else 0
    state.found = cleaned(state.seen, base, spare)
    state.joint += 1
    state.clean_from = max(int(CLEAN_GROWTH * len(state.found)), state.clean_from)


def pictures(seen: Observed, c: Float[np.ndarray, "k n"], shape: tuple[int, ...]) -> Float[np.ndarray, "k *shape"]:
    """Images of coordinates c, of the given shape, in float32."""
    return images(seen, c).astype(np.float32).reshape(-1, *shape)
