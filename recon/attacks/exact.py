"""Exact recovery from the first layer's change, with a certificate and without a wide-network limit.

Every gradient step, whatever the loss, the batch or the momentum, changes the first layer by a combination of training
images: [ΔW₁; Δb₁] = Σ_i (x_i; 1) G_iᵀ, of rank N where N < d and N < W, and G_i vanishes exactly at every hidden unit
that was never active on x_i, about half of them. The row space is known from a singular value decomposition, and on
which half of the units G_i vanishes is a half-space test in the known weights at θ₀ and θ_f. So the attack searches
the row space for the N vectors that vanish on their own half-space; the inverse of their matrix is the images.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import jax
import numpy as np
from jaxtyping import Float, PRNGKeyArray

from recon.attacks.base import Attack, Problem, Reconstruction, Snapshot, Tree
from recon.attacks.first_layer.batched import normalised
from recon.attacks.first_layer.certificate import Network, certificate, why_unclear
from recon.attacks.first_layer.flops import Count, counted, product
from recon.attacks.first_layer.joint import best, cleaned, images, joint, leaked, passing, placed, repeated
from recon.attacks.first_layer.observe import Observed, observe
from recon.attacks.first_layer.search import (
    ALIKE,
    Vectors,
    complement,
    deflated,
    distinct,
    finish,
    joined,
    judged,
    none,
    robust,
    stage_one,
    stage_two,
    starts,
)
from recon.attacks.first_layer.second import Hidden, hidden, span_search
from recon.attacks.first_layer.switches import Switches, switch_search, switches
from recon.networks import MLP
from recon.progress import Report

MOST_FREE = 0.1  # free directions for each hidden unit beyond which coordinates are too rough to doubt vectors by
GIVEN_SOFTNESS = (0.3, 0.02)  # of the pattern's edge of images that another attack found, first and last
GIVEN_RATIO = 0.03  # below which their vectors are taken over
SNAPSHOT_SHARE, SNAPSHOT_GROWTH = 0.1, 1.25  # of N, and of what the last one held, by which the found have grown
CONTROL_RMS = 0.3  # of an input of the images that stand for the search's start


@dataclass(frozen=True)
class Exact:
    """Settings of the search.

    Attributes:
      seconds: stop after so much time (None: no limit).
      starts: stop after so many starts (None: 100 for each training image).
      patience: stop after so many batches in a row that found nothing.
      batch: most starts at once.
      rounds: most rounds of the first stage.
      ratio: accept a vector whose median |g| on inactive units is below this fraction of rms |g| on active ones.
      agreement: and whose pattern agrees with its image's on this fraction of the units.
      loose: search by the first layer's patterns alone, and allow more units that were active for a while, as for an
        optimiser's state.
    """

    seconds: float | None = None
    starts: int | None = None
    patience: int = 20
    batch: int = 128
    rounds: int = 30
    ratio: float = 0.002
    agreement: float = 0.85
    loose: bool = False


@dataclass
class Progress:
    """What the search has so far; the one thing that changes while it runs, so that Ctrl-C loses nothing."""

    found: Vectors
    top: Vectors
    starts: int = 0
    rounds: int = 0
    batches: int = 0
    yields: dict[str, float] = field(default_factory=lambda: {"switches": 1.0, "span": 0.9, "patterns": 0.5})
    dry: int = 0
    failed: int = 0
    inferred: bool = False  # the last vector is what the others leave, not what a search found
    joint: int = 0
    trace: list[tuple[int, int]] = field(default_factory=list)
    snapshots: list[Snapshot] = field(default_factory=list)
    count: Count = field(default_factory=Count)
    began: float = field(default_factory=time.perf_counter)

    @property
    def seconds(self) -> float:
        """Since the attack began."""
        return time.perf_counter() - self.began

    def keep(self, images: Float[np.ndarray, "k *shape"]) -> None:
        """Take a snapshot with these images."""
        self.snapshots.append(Snapshot(self.batches, self.seconds, self.count.flops, images))


def run(problem: Problem, settings: Exact, key: PRNGKeyArray, report: Report) -> Reconstruction:
    """Search until complete, out of time or out of starts.

    Returns exactly the images that were found, fewer than N if the search did not complete: `problem.m` is not used.
    Certified images come first, then by falling confidence.
    """
    return recover("exact", problem, settings, key, report)


def recover(
    name: str,
    problem: Problem,
    settings: Exact,
    key: PRNGKeyArray,
    report: Report,
    given: Float[np.ndarray, "k d"] | None = None,
    parts: bool = False,
) -> Reconstruction:
    """The attack as `run` describes it, from images that another attack found if some are given.

    Args:
      parts: the images are parts of images.
    """
    began = time.perf_counter()
    problem, share = in_standard_parametrisation(problem)
    with counted() as count:
        seen = observed(problem, share, settings.loose)
        progress = Progress(none(seen.n), none(seen.n), count=count, began=began)
        seconds = {"svd": progress.seconds}
        rng = np.random.default_rng(np.asarray(jax.random.key_data(key), np.uint32))
        why = "no clear rank"
        try:
            if seen.clear:
                alone = settings.loose or problem.state is not None or len(problem.params0) < 2
                inside = None if alone else hidden(seen, problem.change["Dense_1"]["kernel"])
                above = None if alone else switches(seen, problem)
                if given is not None:
                    progress.found = progress.top = from_images(seen, given, rng)
                    progress.trace.append((0, len(progress.found)))
                why = search(seen, inside, above, settings, progress, rng, problem.image_shape, report)
        except KeyboardInterrupt:
            why = "interrupted"
        found = progress.found if why == "complete" else progress.top
        if len(found) and why != "complete":
            found = replace(found, c=placed(seen, found, 0.9))
        # The last vector may be too faint to be right, which turns other images into mixtures with the last one.
        mixed = leaked(seen, found) if progress.inferred else np.zeros(len(found), bool)
        vouched = certificate(seen, found, known_network(problem), mixed, parts)
        order = np.lexsort((-vouched.confidence, ~vouched.up_to_scale, ~vouched.certified))
        recovered = vouched.images[order].astype(np.float32).reshape(-1, *problem.image_shape)
    progress.keep(recovered)
    seconds["run"] = progress.seconds
    control = initial_images(seen, problem.m, rng)
    return Reconstruction(
        attack=name,
        images=recovered,
        start=control.astype(np.float32).reshape(-1, *problem.image_shape),
        trace=np.array(progress.trace, np.float64).reshape(-1, 2),
        steps=progress.batches,
        why=why,
        certified=vouched.certified[order],
        up_to_scale=vouched.up_to_scale[order],
        confidence=vouched.confidence[order],
        doubts=vouched.doubts if seen.clear else (why_unclear(seen),),
        n_estimated=seen.n if seen.clear else None,
        work={
            "starts": progress.starts,
            "rounds": progress.rounds,
            "batches": progress.batches,
            "joint_steps": progress.joint,
            "gap": seen.gap,
            "tail": seen.tail,
            "flops": count.flops,
        },
        seconds=seconds,
        snapshots=tuple(progress.snapshots),
    )


def pictures(seen: Observed, c: Float[np.ndarray, "k n"], shape: tuple[int, ...]) -> Float[np.ndarray, "k *shape"]:
    """Images of coordinates c, of the given shape, in float32."""
    return images(seen, c).astype(np.float32).reshape(-1, *shape)


def from_images(seen: Observed, given: Float[np.ndarray, "k d"], rng: np.random.Generator) -> Vectors:
    """Vectors of approximate images: the given pattern is kept, its edge narrows as the null vectors settle."""
    x = np.asarray(given, np.float64)
    if seen.bias:
        x = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    c = normalised(x @ seen.u)
    q = rng.standard_normal(c.shape)
    for i, softness in enumerate(np.geomspace(*GIVEN_SOFTNESS, 16)):
        q = robust(seen, c, q, solves=1, steps=8, softness=float(softness), warm=i > 0)
    vectors = judged(seen, c, q)
    return merged(none(seen.n), vectors.take((vectors.ratio < GIVEN_RATIO) & (vectors.agreement > 0.8)), seen.n)


def in_standard_parametrisation(problem: Problem) -> tuple[Problem, float]:
    """The same network with its scales multiplied into the weights, and the bias's share of a change.

    A kernel's weights act with a factor s, a bias's with t. Their changes act with these once more, so that a bias's
    is t²/s² of what it is in a network that is trained in the standard parametrisation; of a state, t/s.
    """
    network = problem.network
    if not isinstance(network, MLP) or network.parametrisation == "standard":
        return problem, 1.0
    factors = {name: network.scales(layer["kernel"].shape[0]) for name, layer in problem.params0.items()}

    def scaled(tree: Tree) -> Tree:
        return {
            name: {"kernel": s * layer["kernel"]} | ({"bias": t * layer["bias"]} if t and "bias" in layer else {})
            for (name, layer), (s, t) in zip(tree.items(), factors.values(), strict=True)
        }

    s, t = factors["Dense_0"]
    standard = replace(network, parametrisation="standard", bias=network.bias and t > 0)
    state = None if problem.state is None else scaled(problem.state)
    whole = replace(
        problem, network=standard, params0=scaled(problem.params0), params1=scaled(problem.params1), state=state
    )
    return whole, (t / s) ** 2 if t else 1.0


def known_network(problem: Problem) -> Network:
    """What a certificate asks of the network."""
    trees = (problem.params0,) if problem.linearised else (problem.params0, problem.params1)
    layers = [tree["Dense_0"] for tree in trees if "bias" in tree["Dense_0"]]
    ends = tuple((np.asarray(a["kernel"], np.float64), np.asarray(a["bias"], np.float64)) for a in layers)
    return Network(ends, trained_outputs(problem))


def trained_outputs(problem: Problem) -> Callable[[np.ndarray], np.ndarray] | None:
    """The trained model, or the Taylor model where that was trained, as a function; None of a first layer alone."""
    if len(problem.params0) < 2:
        return None
    network, before, after = problem.network, problem.params0, problem.params1

    def outputs(x: np.ndarray) -> np.ndarray:
        x = np.asarray(x, np.float32)
        if not problem.linearised:
            return np.asarray(network.apply(after, x), np.float64)
        moved = jax.jvp(lambda theta: network.apply(theta, x), (before,), (problem.change,))
        return np.add(*(np.asarray(part, np.float64) for part in moved))

    return outputs


def observed(problem: Problem, share: float = 1.0, loose: bool = False) -> Observed:
    """The first layer of a problem as the search sees it.

    Args:
      share, loose: as `observe` takes them.
    """
    first, last = problem.params0["Dense_0"], problem.params1["Dense_0"]
    bias = "bias" in first

    def stacked(layer: dict[str, np.ndarray]) -> Float[np.ndarray, "D w"]:
        rows = np.asarray(layer["kernel"], np.float64)
        return np.concatenate([rows, np.asarray(layer["bias"], np.float64)[None]]) if bias else rows

    before, after = stacked(first), stacked(last)
    box = None
    if problem.box is not None:
        low, high = (np.broadcast_to(np.float64(b), problem.image_shape).ravel() for b in problem.box)
        box = (low, high)
    state = None if problem.state is None else stacked(problem.state["Dense_0"])
    still = problem.linearised and state is None
    return observe(before, after, bias, box, still=still, state=state, share=share, loose=loose)


def initial_images(seen: Observed, count: int, rng: np.random.Generator) -> Float[np.ndarray, "m d"]:
    """Images of random columns of the change, at the rms of a pixel: what the search starts from, for controls."""
    columns = rng.choice(seen.v.shape[1], count)
    x = (seen.s[:, None] * seen.v[:, columns]).T @ seen.u.T
    x = normalised(x[:, :-1] if seen.bias else x)
    scaled: np.ndarray = CONTROL_RMS * np.sqrt(x.shape[1]) * x
    return scaled


def search(
    seen: Observed,
    inside: Hidden | None,
    above: Switches | None,
    settings: Exact,
    progress: Progress,
    rng: np.random.Generator,
    shape: tuple[int, ...],
    report: Report,
) -> str:
    """Find vectors batch by batch and keep them in `progress`; returns why it stopped.

    Args:
      shape: of an image, for the snapshots.
    """
    most = 100 * seen.n if settings.starts is None else settings.starts
    clean_at = 14
    while True:
        if len(progress.found) == seen.n:
            after = joint(seen, progress.found)
            progress.joint += 1
            again = repeated(after)
            if passing(after).all() and not again.any():
                progress.found = after
                return "complete"
            # The inverse spreads one false vector's error over all: doubt those of least agreement, more each time.
            progress.failed += 1
            spare = max(2, seen.n // 50) * progress.failed
            kept = seen.n - min(spare, max(seen.n // 4, 1))
            progress.found = progress.top = best(progress.found.take(~again), kept)
            # What the others leave was no image either: search before inferring it again.
            progress.dry += progress.inferred
            progress.inferred = False
        if progress.starts >= most:
            return "out of starts"
        if settings.seconds is not None and progress.seconds > settings.seconds:
            return "out of time"
        if progress.dry >= settings.patience:
            return "nothing more found"
        if len(progress.top) == seen.n - 1 and progress.dry and progress.dry % 2:
            # The last image is known without a search, and its vector may be too faint for one to accept.
            progress.found = joined(progress.top, last(seen, progress.top, rng))
            progress.inferred = True
            continue
        new = one_batch(seen, inside, above, progress, settings, rng)
        progress.found = merged(progress.found, new, seen.n)
        progress.dry += 1
        if len(progress.found) > len(progress.top):
            progress.top, progress.dry = progress.found, 0
            before = len(progress.snapshots[-1].images) if progress.snapshots else 0
            if len(progress.top) >= min(before + SNAPSHOT_SHARE * seen.n, SNAPSHOT_GROWTH * before):
                progress.keep(pictures(seen, progress.top.c, shape))
        stuck = progress.dry > 0 and progress.dry % 2 == 0
        # Cleaning needs enough units for each free direction of the coordinates.
        placeable = (seen.n - len(progress.found)) / seen.v.shape[1] < MOST_FREE
        if placeable and (stuck or clean_at < len(progress.found) < seen.n):
            # A mixture among the found blocks the images it is made of: when nothing new comes, doubt the worst.
            base = progress.top if stuck else progress.found
            spare = min((seen.n - len(base)) * progress.dry // 2, seen.n // 10) if stuck else 0
            progress.found = cleaned(seen, base, spare)
            progress.joint += 1
            clean_at = max(int(1.25 * len(progress.found)), clean_at)
        progress.trace.append((progress.starts, len(progress.found)))
        report(len(progress.found) / seen.n, f"{len(progress.found)} of {seen.n}, {progress.starts} starts")


def last(seen: Observed, found: Vectors, rng: np.random.Generator) -> Vectors:
    """The vector of the one image that is missing: its coordinates are orthogonal to all r but its own."""
    c = complement(normalised(found.q / seen.s), seen.n)
    if seen.bias:
        c = c * np.where(c @ seen.u[-1] < 0, -1.0, 1.0)[:, None]
    q = robust(seen, c, rng.standard_normal(c.shape), solves=6, steps=20, softness=seen.slack)
    return judged(seen, c, q)


def one_batch(
    seen: Observed,
    inside: Hidden | None,
    above: Switches | None,
    progress: Progress,
    settings: Exact,
    rng: np.random.Generator,
) -> Vectors:
    """Search from one batch of starts; returns what is accepted."""
    missing = seen.n - len(progress.found)
    count = min(settings.batch, max(16, 4 * missing))
    possible = {"patterns": True, "span": inside is not None, "switches": above is not None}
    kind = max((k for k in progress.yields if possible[k]), key=lambda k: progress.yields[k])
    hold_q = kind == "patterns" and missing > 0.1 * seen.n and progress.batches % 3 != 2
    reduced = deflated(seen, progress.found, hold_q)
    if kind == "switches" and above is not None:
        y = starts(seen, progress.found, reduced, count, rng)
        active, q = switch_search(seen, above, product(y, reduced.basis_c))
        y = normalised(reduced.slow.fit(active.astype(np.float32), 6))
    elif kind == "span" and inside is not None:
        y = span_search(seen, inside, reduced, count, rng)
        keep = distinct(y, np.arange(len(y), dtype=float), ALIKE)
        y, q = y[keep], rng.standard_normal((len(keep), seen.n))
    else:
        y = starts(seen, progress.found, reduced, count, rng)
        y, z, share, rounds = stage_one(reduced, y, rng, settings.rounds)
        keep = distinct(z, share, 0.9)
        y, z, share = stage_two(reduced, y[keep], z[keep])
        keep = distinct(z, share, ALIKE)[: max(16, count // 4)]
        y, q = y[keep], z[keep] @ reduced.basis_q
        progress.rounds += rounds
    vectors = finish(seen, reduced, y, q)
    # Nearly right ones become right when the finish starts from what it gave.
    again = vectors.take(vectors.ratio < 0.05)
    vectors = finish(seen, reduced, (again.c @ reduced.basis_c.T).astype(np.float32), again.q)
    # A half-space of m coordinates learnt from W labels errs on a share of the units that grows as m/W.
    limit = max(settings.agreement, 1 - seen.slack - 0.35 * missing / seen.v.shape[1] - 0.02 * progress.dry)
    vectors = vectors.take((vectors.ratio < settings.ratio) & (vectors.agreement > limit))
    progress.starts += count
    progress.batches += 1
    # The search that found most of late goes on; the others' last yields grow until they get their turn.
    found = len(merged(progress.found, vectors, seen.n)) - len(progress.found)
    progress.yields = {k: 1.2 * y + 1e-3 for k, y in progress.yields.items()} | {kind: found / count}
    return vectors


def merged(found: Vectors, new: Vectors, most: int) -> Vectors:
    """The found and those of the new that differ from all of them, best first."""
    for i in np.argsort(new.ratio, kind="stable"):
        row = new.take(np.array([i]))
        if len(found) < most and (not len(found) or np.abs(found.q @ row.q[0]).max() < ALIKE):
            found = joined(found, row)
    return found


ATTACK = Attack("exact", "exact recovery from the first layer, with a certificate", Exact(), run, descends=False)
