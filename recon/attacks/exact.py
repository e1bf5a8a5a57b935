"""Exact recovery from the first layer's change, with a certificate and without a wide-network limit.

Every gradient step, whatever the loss, the batch or the momentum, changes the first layer by a combination of training
images: [ΔW₁; Δb₁] = Σ_i (x_i; 1) G_iᵀ, of rank N where N < d and N < W, and G_i vanishes exactly at every hidden unit
that was never active on x_i, about half of them. The row space is known from a singular value decomposition, and on
which half of the units G_i vanishes is a half-space test in the known weights at θ₀ and θ_f. So the attack searches
the row space for the N vectors that vanish on their own half-space; the inverse of their matrix is the images.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float, PRNGKeyArray

from recon.attacks.base import Attack, Problem, Reconstruction, Spectrum, Tree
from recon.attacks.first_layer.certificate import Network, certificate, rows_of, shared, why_unclear
from recon.attacks.first_layer.flops import counted
from recon.attacks.first_layer.joint import TRUST, leaked, placed
from recon.attacks.first_layer.labels import told
from recon.attacks.first_layer.linear import normalised
from recon.attacks.first_layer.observe import Observed, cut_at, observe
from recon.attacks.first_layer.patterns import Patterns
from recon.attacks.first_layer.proof import finished
from recon.attacks.first_layer.search import Search, State, search
from recon.attacks.first_layer.settings import Exact
from recon.attacks.first_layer.tangent import Tangent
from recon.attacks.first_layer.vectors import Vectors, judged, merged, narrowed, none
from recon.attacks.first_layer.zeros import Zeros
from recon.attacks.rank import DOUBLE_NOISE, TINY
from recon.errors import NoSearch
from recon.networks import MLP
from recon.progress import Report

SEARCHES: tuple[type[Search], ...] = (Tangent, Zeros, Patterns)  # but for the first by the first layer alone
# Of images that another attack found, chosen while building: softness of the pattern's edge, first and last, and in so
# many steps; steps of Lanczos in each; ratio below which and agreement above which their vectors are taken over.
GIVEN_SOFTNESS, GIVEN_SOLVES, GIVEN_STEPS = (0.3, 0.02), 16, 8
GIVEN_RATIO, GIVEN_AGREEMENT = 0.03, 0.8
# Ratio of neighbouring singular values of a gradient from which those below are faint, if such a share is above; and
# dry batches after which a faint image counts as not found.
FAINT, BRIGHT, FAINT_PATIENCE = 30.0, 0.5, 6
TREES = ("params0", "params1", "state", "gradient", "update")  # of a problem
CONTROL_RMS = 0.3  # of an input of the images that stand for the search's start


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

    Raises:
      ReconError: no search takes this kind of network and training.
    """
    began = time.perf_counter()
    problem, share = in_standard_parametrisation(problem)
    with counted() as count:
        seen = observed(problem, share, settings.loose)
        words = np.asarray(jax.random.key_data(key), np.uint32)
        rng = np.random.default_rng(words)
        state = State(seen, settings, problem.image_shape, rng, count, began)
        seconds = {"svd": state.seconds}
        why = "no clear rank"
        try:
            if seen.clear:
                vanish = problem.network.units.leak == 0
                by_patterns = (settings.loose and vanish) or not settings.tangent
                ways = (way.on(seen, problem) for way in (SEARCHES[1:] if by_patterns else SEARCHES))
                state.yields = {way: way.promise for way in ways if way is not None}
                if problem.gradient is not None:  # what one finds exactly the other takes for mixtures
                    state.yields = {w: p for w, p in state.yields.items() if w.exact} or state.yields
                if not state.yields and not vanish:
                    raise NoSearch(
                        f"The attack {name!r} takes {problem.network.activation} networks of this shape after "
                        "linearised training or one step alone: use ntk-fast."
                    )
                if given is not None:
                    state.found = state.top = from_images(seen, given, rng)
                    state.trace.append((0, len(state.found)))
                why = "too few units"
                if state.yields:
                    why = search_in_stages(state, problem, report)
        except KeyboardInterrupt:
            why = "interrupted"
        whole, seen = seen, state.seen
        found = finished(seen, state.found) if why == "complete" else state.top
        if len(found) and why != "complete" and not state.way.by_coordinates:
            found = replace(found, c=placed(seen, found, TRUST))
        # The last vector may be too faint to be right, which turns other images into mixtures with the last one.
        mixed = leaked(seen, found) if state.inferred else np.zeros(len(found), bool)
        if seen is not whole:
            mixed = mixed | shared(whole, rows_of(seen, found))
        vouched = certificate(seen, found, known_network(problem), mixed, parts)
        if not vouched.up_to_scale.all():
            found, alone = by_themselves(state, found, ~vouched.up_to_scale)
            vouched = certificate(seen, found, known_network(problem), mixed, parts, alone)
        order = np.lexsort((-vouched.confidence, ~vouched.up_to_scale, ~vouched.certified))
        recovered = vouched.images[order].astype(problem.precision).reshape(-1, *problem.image_shape)
    state.keep(recovered)
    seconds["run"] = state.seconds
    # From numbers of its own: how many the search has drawn depends on rounding.
    control = initial_images(seen, problem.m, np.random.default_rng([*words, 1]))
    labels = absent = None
    if problem.gradient is not None:
        labels, absent = told(seen, found, vouched.up_to_scale, problem)
        absent = absent if seen is whole else None
    return Reconstruction(
        attack=name,
        images=recovered,
        start=control.astype(np.float32).reshape(-1, *problem.image_shape),
        trace=np.array(state.trace, np.float64).reshape(-1, 2),
        steps=state.batches,
        why=why,
        certified=vouched.certified[order],
        up_to_scale=vouched.up_to_scale[order],
        confidence=vouched.confidence[order],
        doubts=vouched.doubts if seen.clear else (why_unclear(seen),),
        n_estimated=whole.n if seen.clear else None,
        labels=None if labels is None else labels[order],
        absent=absent,
        work={
            "starts": state.starts,
            "rounds": state.rounds,
            "batches": state.batches,
            "joint_steps": state.joint,
            "gap": seen.gap,
            "tail": seen.tail,
            "flops": count.flops,
        },
        seconds=seconds,
        snapshots=tuple(state.snapshots),
        spectrum=spectrum_of(whole),
    )


def spectrum_of(seen: Observed) -> Spectrum | None:
    """The singular values, and where rounding begins among them."""
    if seen.n >= len(seen.spectrum):
        return None
    first, below = float(seen.spectrum[0]), float(seen.spectrum[seen.n])
    level = DOUBLE_NOISE * first if seen.at_rounding else below / max(seen.rounding, TINY)
    return Spectrum(seen.spectrum, seen.n, level)


def search_in_stages(state: State, problem: Problem, report: Report) -> str:
    """Search as `search` does; of a gradient in float64 first without directions that stand apart as faint.

    A saturated softmax leaves some images many orders of magnitude fainter than others. Near rounding such an image may
    meet no test, and while it is missing it may be in all the others: so what was complete without it stays.
    """
    whole, done = state.seen, False
    for n in stages(whole) if isinstance(state.way, Tangent) else [whole.n]:
        before = state.seen, state.found, state.yields
        if n < whole.n or state.seen is not whole:
            seen = whole if n == whole.n else cut_at(whole, n)
            way = Tangent.on(seen, problem)
            assert way is not None
            c = np.pad(state.found.c[:, :n], ((0, 0), (0, max(n - state.found.c.shape[1], 0))))
            found = way.settled(seen, c)
            state.seen, state.yields = seen, {way: way.promise}
            state.begin(found.take(found.ratio < 1))
        why = search(state, report)
        if why != "complete" and done:
            state.seen, state.found, state.yields = before
            return "complete"
        if why != "complete":
            break
        state.patience, done = FAINT_PATIENCE, True
    return why


def stages(seen: Observed) -> list[int]:
    """Numbers of directions to search in turn: those above each wide gap, and all."""
    apart = np.flatnonzero(seen.s[:-1] > FAINT * seen.s[1:]) + 1 if seen.at_rounding else np.zeros(0, int)
    return [*(int(n) for n in apart if n >= BRIGHT * seen.n), seen.n]


def by_themselves(
    state: State, found: Vectors, unsure: Bool[np.ndarray, " k"]
) -> tuple[Vectors, Float[np.ndarray, " k"]]:
    """How far noise may move images that tell where they are of themselves; they are moved there.

    Args:
      unsure: those that are asked.
    """
    moved, c = np.full(len(found), np.inf), found.c.copy()
    for way in state.yields:
        if way.exact:
            alone, moved[unsure] = way.alone(state.seen, found.take(unsure))
            c[unsure] = alone.c
    return replace(found, c=np.where(np.isfinite(moved)[:, None], c, found.c)), moved


def from_images(seen: Observed, given: Float[np.ndarray, "k d"], rng: np.random.Generator) -> Vectors:
    """Vectors of approximate images: the given pattern is kept, its edge narrows as the null vectors settle."""
    x = np.asarray(given, np.float64)
    if seen.bias:
        x = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    c = normalised(x @ seen.u)
    q = narrowed(seen, c, rng.standard_normal(c.shape), GIVEN_SOFTNESS, GIVEN_SOLVES, GIVEN_STEPS)
    vectors = judged(seen, c, q)
    return merged(
        none(seen.n), vectors.take((vectors.ratio < GIVEN_RATIO) & (vectors.agreement > GIVEN_AGREEMENT)), seen.n
    )


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
    trees = {name: getattr(problem, name) for name in TREES}
    given: dict[str, Any] = {name: scaled(tree) for name, tree in trees.items() if tree is not None}
    whole = replace(problem, network=standard, **given)
    return whole, (t / s) ** 2 if t else 1.0


def known_network(problem: Problem) -> Network:
    """What a certificate asks of the network."""
    trees = (problem.params0,) if problem.linearised else (problem.params0, problem.params1)
    layers = [tree["Dense_0"] for tree in trees if "bias" in tree["Dense_0"]]
    ends = tuple((np.asarray(a["kernel"], np.float64), np.asarray(a["bias"], np.float64)) for a in layers)
    return Network(ends, trained_outputs(problem), problem.network.units.leak == 0)


def trained_outputs(problem: Problem) -> Callable[[np.ndarray], np.ndarray] | None:
    """The trained model, or the Taylor model where that was trained, as a function; None where nothing was trained."""
    if len(problem.params0) < 2 or problem.gradient is not None:
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
    one = problem.gradient is not None
    given = problem.gradient if one else problem.state
    state = None if given is None else stacked(given["Dense_0"])
    still = one or (problem.linearised and state is None)
    double = one and problem.precision == np.float64
    update = None if problem.update is None else stacked(problem.update["Dense_0"])
    options: dict[str, Any] = {"still": still, "share": share, "loose": loose, "double": double, "update": update}
    return observe(before, after, bias, box, state=state, **options)


def initial_images(seen: Observed, count: int, rng: np.random.Generator) -> Float[np.ndarray, "m d"]:
    """Images of random columns of the change, at the rms of a pixel: what the search starts from, for controls."""
    columns = rng.choice(seen.v.shape[1], count)
    x = (seen.s[:, None] * seen.v[:, columns]).T @ seen.u.T
    x = normalised(x[:, :-1] if seen.bias else x)
    scaled: np.ndarray = CONTROL_RMS * np.sqrt(x.shape[1]) * x
    return scaled


ATTACK = Attack(
    "exact", "exact recovery from the first layer, with a certificate", Exact(), run, descends=False, double=True
)
