"""What would stop this attack, measured on the user's own setting.

The images that are known are trained on once more from the initial weights, as the audited update was made or nearly
so, with one thing changed at a time, and the result is attacked like the first. That an attack fails is no proof that
none would succeed; only ε is a promise.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from recon.attacks import CONTROLS, Reconstruction, reconstruct
from recon.attacks.base import Tree
from recon.auditing.result import OUT_OF_TIME, Audit, Defences, count_certified, count_vouched
from recon.errors import ReconError
from recon.loops import chunks
from recon.memory import TooLarge
from recon.networks import MLP
from recon.progress import Report, silent

SECONDS, ATTACK_SECONDS = 120.0, 10.0  # of all replays, where nobody says, and at most of one attack
CUT = f"attack stopped after {ATTACK_SECONDS:g} s: more may come back"
DRAWS = 3  # of what is random
FEWEST = 4  # images below which nothing is replayed: the change of fewer shows little of how they hide each other
# Of a replayed training: at most so many steps, until so small a share of the loss is left that outputs confirm images'
# brightness (at 1e-3 they did not). With noise fewer, of which each takes more time and more of ε.
STEPS, UNTIL, MOMENTUM, NOISED_STEPS = 1000, 1e-8, 0.9, 60
RATE = 0.5  # of one over the loss's curvature: at one, momentum may overshoot
TRIES = 2  # of the search, the second by other random numbers and more loosely, as the audit's own
POWER = 20  # products by which the curvature is estimated; more change it by a few per cent
LOCAL, PARTS = (2, 5), 4  # local steps in place of one, and minibatches in an epoch
CROWDS = (2, 4, 8)  # times as many images for the width
EPSILONS = (1e6, 1e3, 10.0)  # from noise that promises nothing to the largest ε that is usually called private
ROUNDED = {"bfloat16": jnp.bfloat16, "float16": np.float16}
LEVELS = 127  # of an 8-bit number on either side of zero
WORDS = (
    "{known} were trained on again from the initial weights, by {rule}, with one thing changed at a time, and each "
    "result was attacked in the same way. The last column is the share of the training loss that was left: what a "
    "change costs in test accuracy is not known. That this attack fails is no proof of privacy; only ε is a promise."
)
COLUMNS = ("change", "certified", "certified or up to scale", "of", "loss left", "note")


class Late(Exception):
    """There was no time to finish an update."""


@dataclass(frozen=True)
class Rule:
    """How an update is made: full-batch gradient descent, but for what is changed.

    Attributes:
      steps: number of them, at most.
      until: share of the loss on all images at which training is over; none with noise, as it would tell of them.
      momentum: of the heavy ball.
      parts: minibatches in an epoch.
      clipped: every image's gradient is shortened to the median length that they have at the start.
      noise: standard deviation of the noise on the sum of the gradients, in units of that length.
    """

    steps: int = 1
    until: float = 0.0
    momentum: float = 0.0
    parts: int = 1
    clipped: bool = False
    noise: float = 0.0


@dataclass(frozen=True)
class Case:
    """What is replayed.

    Attributes:
      network, params0: what is trained, and the initial weights.
      x, y: images and what their outputs are to become, or the classes' rows of ones.
      softmax: the loss is cross-entropy after a softmax; else half the squared error.
      rule: how the update is made.
      gradient: the attacker has a gradient where the update is one step, and no weights after it.
      options: of `reconstruct`, such as the images' shape.
      deadline: by `time.perf_counter`, after which no update is finished.
    """

    network: MLP
    params0: Tree
    x: Float[np.ndarray, "n d"]
    y: Float[np.ndarray, "n c"]
    softmax: bool
    rule: Rule
    gradient: bool
    options: Mapping[str, Any]
    deadline: float = math.inf

    def seen(self, draw: int) -> "Seen":
        """What the attacker has of an update; `Late` where there is no time for it."""
        change, left = updated(self, draw)
        return Seen(self.network, self.params0, change, self.rule.steps == 1, left)


@dataclass(frozen=True)
class Seen:
    """What an attacker has.

    Attributes:
      network: the architecture.
      before: the initial weights, as far as the attacker knows.
      change: of the weights.
      one: it is that of one step.
      left: share of the loss on the images that the update leaves.
    """

    network: MLP
    before: Tree
    change: Tree
    one: bool
    left: float


@runtime_checkable
class Change(Protocol):
    """One thing that one could do otherwise."""

    @property
    def words(self) -> str:
        """As the table calls it."""

    @property
    def note(self) -> str:
        """What else is to be said."""

    @property
    def draws(self) -> int:
        """How often it is measured, with other random numbers."""

    def seen(self, case: Case, draw: int) -> Seen:
        """What the attacker has where it is done."""


@dataclass(frozen=True)
class Otherwise:
    """Another way of making the update."""

    words: str
    rule: Rule
    note: str = ""
    draws: int = 1

    def seen(self, case: Case, draw: int) -> Seen:
        """The update made so."""
        return replace(case, rule=self.rule).seen(draw)


@dataclass(frozen=True)
class Crowded:
    """More images for the first layer's width, which is as many units fewer for the same images."""

    times: int
    units: int
    images: int
    draws: int = 1

    @property
    def words(self) -> str:
        """How many times."""
        return f"{self.times} times as many images for the width"

    @property
    def note(self) -> str:
        """How it was measured."""
        return f"replayed on {self.units} units of the first layer, {self.units / self.images:.3g} for each image"

    def seen(self, case: Case, draw: int) -> Seen:
        """The update of a network that has the first units alone, each of which counts for more."""
        first, second, *rest = (case.params0[f"Dense_{i}"] for i in range(len(case.params0)))
        kernel = second["kernel"][: self.units] * np.float32(np.sqrt(self.times))
        layers = [{part: a[..., : self.units] for part, a in first.items()}, {**second, "kernel": kernel}, *rest]
        network = replace(case.network, widths=(self.units, *case.network.widths[1:]))
        return replace(case, network=network, params0=numbered(layers)).seen(draw)


@dataclass(frozen=True)
class OtherStart:
    """The attacker does not have the initial weights."""

    words: str = "initial weights that the attacker does not have"
    note: str = "attacked with others of the same distribution; a seed that can be guessed is as good as the weights"
    draws: int = DRAWS

    def seen(self, case: Case, draw: int) -> Seen:
        """The same update, and initial weights in another order."""
        rng = np.random.default_rng(draw)
        other = jax.tree.map(lambda a: rng.permutation(a.ravel()).reshape(a.shape), case.params0)
        return replace(case.seen(draw), before=other)


@dataclass(frozen=True)
class WithoutBiases:
    """Layers without biases."""

    words: str = "no biases"
    note: str = "then only --mean and --std tell how bright images are"
    draws: int = 1

    def seen(self, case: Case, draw: int) -> Seen:
        """The update of the network without them."""
        layers = [{"kernel": case.params0[f"Dense_{i}"]["kernel"]} for i in range(len(case.params0))]
        return replace(case, network=replace(case.network, bias=False), params0=numbered(layers)).seen(draw)


@dataclass(frozen=True)
class Rounded:
    """The update is sent in fewer bits."""

    words: str
    to: Callable[[np.ndarray], np.ndarray]
    note: str = ""
    draws: int = 1

    def seen(self, case: Case, draw: int) -> Seen:
        """The rounded update."""
        whole = case.seen(draw)
        return replace(whole, change=jax.tree.map(self.to, whole.change))


def numbered(layers: Sequence[dict[str, np.ndarray]]) -> Tree:
    """Layers by their names."""
    return {f"Dense_{i}": layer for i, layer in enumerate(layers)}


def as_type(dtype: Any) -> Callable[[np.ndarray], np.ndarray]:
    """Rounding to a type of numbers and back."""
    return lambda a: np.asarray(a.astype(np.dtype(dtype)).astype(np.float32))


def as_levels(a: np.ndarray) -> np.ndarray:
    """Rounding to whole levels of 8 bits, the largest number of an array being the last of them."""
    step = max(float(np.abs(a).max()), float(np.finfo(np.float32).tiny)) / LEVELS
    return np.asarray(np.rint(a / step) * step, np.float32)


def measure_defences(
    audit: Audit,
    params0: Tree,
    params1: Tree | None,
    options: Mapping[str, Any],
    seconds: float | None = None,
    key: int = 0,
    report: Report = silent,
) -> Defences:
    """Measure what would stop the attack of an audit, where training images are known.

    They are those that the audit certifies, if these are all; else those of --data, if its update is more than one
    gradient, whose labels would be missing; else as many as are certified.

    Args:
      audit: without them.
      params0, params1: the initial and the final weights, None with a gradient.
      options: of `reconstruct`: the images' shape and their box.
      seconds: for all (default: `SECONDS`).
      key: seed of the attack.
      report: progress.
    """
    found, train = audit.found, audit.train
    sure = found.certified if found.certified is not None else np.zeros(len(found.images), bool)
    if audit.from_gradient and found.labels is not None:
        sure = sure & (found.labels >= 0)
    x, known = found.images[sure], f"The {int(sure.sum())} images that the audit certifies"
    if train is not None and not audit.from_gradient and len(x) != audit.n:
        x, known = train.images.x, f"The {len(train.images.x)} images given"
    if len(x) < FEWEST:
        what = "certified with a label" if audit.from_gradient else "certified or given by --data"
        return Defences(f"Nothing was measured: it takes {FEWEST} images that are {what}.", COLUMNS, ())
    network = audit.network
    if not isinstance(network, MLP) or network.activation != "relu":
        return Defences("Nothing was measured: networks of ReLU units without convolutions alone are.", COLUMNS, ())
    flat = np.asarray(x.reshape(len(x), -1), np.float32)
    if params1 is None:
        labels = np.asarray(found.labels)[sure]
        softmax = network.outputs > 1
        y = np.eye(network.outputs)[labels] if softmax else 2.0 * labels[:, None] - 1
        rule = Rule()
    else:
        softmax, y = False, np.asarray(network.apply(params1, flat))
        rule = Rule() if options.get("linearised") else Rule(STEPS, UNTIL, MOMENTUM)
    shown = {name: options[name] for name in ("image_shape", "box")}
    case = Case(network, params0, flat, np.asarray(y, np.float32), softmax, rule, params1 is None, shown)
    return measured(case, known, seconds, key, report)


def changes_of(case: Case) -> list[Change]:
    """What is tried, what is most often asked for first."""
    from recon.metrics.privacy import noise_multiplier  # takes its time

    rule, n, units = case.rule, len(case.x), case.network.widths[0]
    made: list[Change] = [Otherwise("nothing: the update replayed", rule)]
    if rule.steps == 1:
        made += [Otherwise(f"{k} local steps in place of one", Rule(k), "weights before and after") for k in LOCAL]
    elif n >= 2 * PARTS:
        made.append(Otherwise(f"minibatches of {n // PARTS}", replace(rule, parts=PARTS)))
    made += [Crowded(times, units // times, n) for times in CROWDS if units // times > 1]
    made.append(Otherwise("clipping alone", replace(rule, clipped=True), "no ε without noise"))
    for epsilon in EPSILONS:
        private = replace(rule, steps=min(rule.steps, NOISED_STEPS), until=0.0, clipped=True)
        noise = noise_multiplier(epsilon, private.steps)
        words = f"clipping and noise (DP-SGD) of σ = {noise:.2g}"
        note = f"ε = {epsilon:,.0f}{'' if epsilon <= min(EPSILONS) else ', which promises nothing'}"
        made.append(Otherwise(words, replace(private, noise=noise), note, DRAWS))
    made += [OtherStart(), WithoutBiases()] if case.network.bias else [OtherStart()]
    made += [Rounded(f"the update rounded to {name}", as_type(dtype)) for name, dtype in ROUNDED.items()]
    return [*made, Rounded("the update rounded to 8 bits", as_levels, "each array to 255 levels")]


def measured(case: Case, known: str, seconds: float | None, key: int, report: Report) -> Defences:
    """Replay and attack, change by change, until the time is over.

    Args:
      known: which images are replayed, in words.
      seconds: for all (default: `SECONDS`).
      key: seed of the attack.
      report: progress.
    """
    most, rows, left_out, stopped = seconds or SECONDS, [], [], False
    case = replace(case, deadline=time.perf_counter() + most)
    changes = changes_of(case)
    for i, change in enumerate(changes):
        found, left, cut = [], [], False
        try:
            report(i / len(changes), change.words)
            for draw in range(0 if stopped else change.draws):
                seen = change.seen(case, draw)
                one, short = attacked(seen, case, ATTACK_SECONDS, key)
                found.append(one)
                left.append(seen.left)
                cut = cut or short
        except Late:
            pass
        except KeyboardInterrupt:  # what was measured until then is kept
            stopped = True
        if len(left) == change.draws:
            counts = [counted(found, count) for count in (count_certified, count_vouched)]
            note = "; ".join(filter(None, (change.note, CUT if cut else "")))
            rows.append((change.words, *counts, str(len(case.x)), f"{100 * np.median(left):.2g} %", note))
        else:
            left_out.append(change.words)
    rule = "one gradient step" if case.rule.steps == 1 else "gradient descent with momentum"
    words = WORDS.format(known=known, rule=rule)
    words += f" Of changes with random numbers, {DRAWS} draws are shown." if DRAWS > 1 else ""
    if left_out:
        why = "Interrupted before" if stopped else "There was no time (see --seconds) for"
        words += f" {why}: {'; '.join(left_out)}."
    return Defences(words, COLUMNS, tuple(rows), stopped)


def attacked(seen: Seen, case: Case, seconds: float, key: int) -> tuple[Reconstruction | None, bool]:
    """What the exact attack gets, and whether time cut it short; nothing where it refuses, as of infinite numbers.

    Args:
      seconds: for a try, at most.

    Raises:
      Late: the deadline cut it short, so that what did not come back is no work of the change.
    """
    after = {"params1": jax.tree.map(lambda a, b: np.asarray(a + b, np.float32), seen.before, seen.change)}
    one = {"gradient": jax.tree.map(np.negative, seen.change)} if case.gradient else {**after, "linearised": True}
    given = {"attack": "exact", "m": CONTROLS, "progress": False, **(one if seen.one else after)}
    best: Reconstruction | None = None
    cut = False
    for i in range(TRIES):
        allowed = min(seconds, remaining(case))
        try:
            found = reconstruct(
                seen.before,
                network=seen.network,
                key=key + i,
                loose=bool(i % 2),
                seconds=allowed,
                **given,
                **case.options,
            )
        except TooLarge:
            raise
        except ReconError:
            break
        if found.interrupted:
            raise KeyboardInterrupt
        best = found if best is None or count_vouched(found) > count_vouched(best) else best
        if count_vouched(best) >= (best.n_estimated or 0):
            return best, False
        if found.why in OUT_OF_TIME:
            if allowed < seconds:
                raise Late
            cut = True
    return best, cut


def remaining(case: Case) -> float:
    """Seconds to the deadline.

    Raises:
      Late: it is over.
    """
    if (left := case.deadline - time.perf_counter()) <= 0:
        raise Late
    return left


def counted(found: Sequence[Reconstruction | None], count: Callable[[Reconstruction], int]) -> str:
    """Numbers of images, by draw."""
    return ", ".join("0" if one is None else str(count(one)) for one in found)


def updated(case: Case, draw: int) -> tuple[Tree, float]:
    """The weights' change by the case's rule, in float32, and the share of the loss that it leaves.

    Args:
      draw: seed of minibatches and noise.

    Raises:
      Late: the deadline comes first.
    """
    params, rule = jax.tree.map(jnp.asarray, case.params0), case.rule
    data, still = (jnp.asarray(case.x), jnp.asarray(case.y)), jax.tree.map(jnp.zeros_like, params)
    clip, rate, first = _at_start(case.network, case.softmax, params, *data)
    numbers, carry = (clip, rate, first), (jnp.asarray(0), params, still, still, first)
    for _, last in chunks(rule.steps):
        remaining(case)
        carry = _descended(case.network, case.softmax, rule, carry, data, numbers, jax.random.key(draw), last)
        if int(carry[0]) < last:
            break
    total, left = carry[2], carry[4] / first
    return jax.tree.map(lambda a: np.asarray(a, np.float32), total), float(left)


def _loss(network: MLP, softmax: bool, params: Any, x: Any, y: Any) -> Any:
    """Mean over images of cross-entropy, or of half the squared error."""
    outputs = network.apply(params, x)
    each = -(y * jax.nn.log_softmax(outputs)).sum(1) if softmax else 0.5 * ((outputs - y) ** 2).sum(1)
    return each.mean()


def _parts(network: MLP, softmax: bool, params: Any, x: Any, y: Any) -> list[tuple[Any, Any, float, float]]:
    """Of each layer its inputs, what comes back to it, and the factors of kernel and bias.

    An image's gradient is the product of the first two, so that none is ever made.
    """
    outputs = network.apply(params, x)
    layers = network.layers(params, x, weights=(jax.nn.softmax(outputs) if softmax else outputs) - y)
    return [(h, delta, *network.scales(h.shape[1])) for h, delta in zip(layers.inputs, layers.deltas, strict=True)]


def _lengths(network: MLP, parts: Any) -> Any:
    """Of each image's gradient."""
    squares = [(delta**2).sum(1) * (s**2 * (h**2).sum(1) + network.bias * b**2) for h, delta, s, b in parts]
    return jnp.sqrt(sum(squares))


@partial(jax.jit, static_argnums=(0, 1))
def _at_start(network: MLP, softmax: bool, params: Any, x: Array, y: Array) -> tuple[Array, Array, Array]:
    """At the initial weights: the images' median length of gradient, the learning rate, and the loss."""

    def curved(v: Any) -> Any:
        """Outputs times the curvature that squared error has."""
        back = jax.vjp(lambda theta: network.apply(theta, x), params)[1](v)[0]
        return jax.jvp(lambda theta: network.apply(theta, x), (params,), (back,))[1] / len(x)

    v = jnp.ones_like(y) / np.sqrt(y.size)
    v = jax.lax.fori_loop(0, POWER, lambda _, v: (w := curved(v)) / jnp.linalg.norm(w), v)
    clip = jnp.median(_lengths(network, _parts(network, softmax, params, x, y)))
    return clip, RATE / jnp.linalg.norm(curved(v)), _loss(network, softmax, params, x, y)


@partial(jax.jit, static_argnums=(0, 1, 2))
def _descended(
    network: MLP, softmax: bool, rule: Rule, start: Any, data: Any, numbers: Any, key: PRNGKeyArray, last: Any
) -> Any:
    """Descent from (step, weights, their change, velocity, loss), up to the last step or the loss.

    Args:
      data: images and targets.
      numbers: the clip, the learning rate and the loss at the start.
    """
    (x, y), (clip, rate, first) = data, numbers
    size = len(x) // rule.parts

    def go_on(carry: Any) -> Any:
        return (carry[0] < last) & (carry[4] > rule.until * first)

    def step(carry: Any) -> Any:
        i, params, total, velocity, _ = carry
        chosen = jnp.arange(len(x))
        if rule.parts > 1:
            order = jax.random.permutation(jax.random.fold_in(key, i // rule.parts), len(x))
            chosen = jax.lax.dynamic_slice(order, (size * (i % rule.parts),), (size,))
        parts = _parts(network, softmax, params, x[chosen], y[chosen])
        weights = jnp.minimum(1.0, clip / _lengths(network, parts)) if rule.clipped else jnp.ones(len(chosen))
        gradient = {}
        for layer, (h, delta, s, b) in enumerate(parts):
            weighted = weights[:, None] * delta
            bias = {"bias": b * weighted.sum(0)} if network.bias else {}
            gradient[f"Dense_{layer}"] = {"kernel": s * h.T @ weighted, **bias}
        if rule.noise:
            leaves, tree = jax.tree.flatten(gradient)
            keys = jax.random.split(jax.random.fold_in(key, i), len(leaves))
            drawn = [clip * rule.noise * jax.random.normal(k, a.shape) for k, a in zip(keys, leaves, strict=True)]
            gradient = jax.tree.map(jnp.add, gradient, jax.tree.unflatten(tree, drawn))
        velocity = jax.tree.map(lambda u, g: rule.momentum * u - rate / size * g, velocity, gradient)
        # The change by itself, as weights hold less of a small one.
        total, params = (jax.tree.map(jnp.add, tree, velocity) for tree in (total, params))
        return i + 1, params, total, velocity, _loss(network, softmax, params, x, y)

    return jax.lax.while_loop(go_on, step, start)
