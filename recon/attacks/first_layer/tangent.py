"""Search for images whose own gradient lies in the row space of the change: for narrow networks, in few starts.

`recon.attacks.first_layer.gradients` has the functions of which each training image is a zero. They are descended over
coordinates from many starts at once, with kinks of the activation smoothed, from a sharpness that differs from start to
start: smooth starts run into few images, but nearly always into one; sharp ones spread over many. Where the descent
ends a few units are on the wrong side; flipping one after the other, from the top layer down, ends at the exact
pattern, whose gradient is known to rounding. What is found so is taken out exactly: r_j·c = 0 for the next starts.
"""

from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy import linalg

from recon.arrays import Tensor, enable_x64
from recon.attacks.base import Problem
from recon.attacks.first_layer.deflated import columns
from recon.attacks.first_layer.flops import add, product
from recon.attacks.first_layer.gradients import (
    Polished,
    Spans,
    at_one,
    best_outputs,
    by_activations,
    combined,
    exact_outputs,
    outside,
    passed,
    polish,
    spans,
)
from recon.attacks.first_layer.joint import best, joint
from recon.attacks.first_layer.linear import normalised
from recon.attacks.first_layer.observe import Observed
from recon.attacks.first_layer.search import State
from recon.attacks.first_layer.vectors import (
    ALIKE,
    Vectors,
    complement,
    corrected,
    distinct,
    judged,
    narrowed,
    none,
    turned,
)
from recon.loops import compiled
from recon.networks import Activation

BATCH, LARGE, LARGE_BATCH = 32, 300, 128  # starts at once; images from which there are more of them
# Units for each direction of the hidden activations from which these alone are descended: at 100/1024 31 of 32 descents
# end at an image so, as many as by all that is known, for a third of the operations.
WIDE = 4
STEPS, RATE, MOMENTA = 100, 0.03, (0.9, 0.999)  # of Adam, the rate falling to zero as a cosine
SHARPNESS, SHARPEST = (5.0, 50.0), 100.0  # of kinks, at the start of a descent (drawn for each start) and at its end
# With several outputs d is free as well, and near a found image most starts fall back on it. There starts are sharper,
# which spreads them, and what is descended is the share of a gradient's part outside the found rows: of the 113 images
# in a CIFAR-10 batch of 128 whose softmax is saturated 8 batches of starts found 90, and 47 where a gradient was only
# kept off the nearest row; of 122 in another one 10 found 15 where it was not kept off.
MOST_SHARPNESS = 200.0
SIMILAR = 4  # times that a start becomes the mean of images by the likeness of their gradients: twice as many found
REPAIRS = 8  # of the pattern and of d in turn: of 32 ends near images of such a batch one alone left 15 wrong
FLOOR = 1e-5  # of the shares whose logarithms are descended: below, an image is found
# The input of the biases that a start is pushed towards, of its length: a dry batch draws another push for each start,
# and takes a share of its starts at random.
PUSH, PUSHES, ISOTROPIC = 0.5, (0.2, 1.5), 0.5
DOUBTED = 2  # of the found, for each dry batch in a row, are not taken out
# Softness of the pattern's edge in the first and in the last solve of vectors that vanish on inactive units, how many,
# and of Lanczos in each: of 36 coordinates L2 0.1 to 1.5 from images of 100/384 they gave 33 right ones; a third of the
# solves 16 to 26.
EDGES, SOLVES, SOLVE_STEPS = (0.06, 0.005), 20, 14
SAME = 1e-6  # by which the cosine of two coordinates that are at one zero may differ from one
FLIPS = 60  # of units, at most, in each layer
GAIN = 1e-13  # of the squared length, that a flip must be worth
# Share of the gradient outside its span, at the exact pattern: up to 1e-9 at images of 200/512, above 4e-4 elsewhere.
RESIDUAL = 1e-6
# With several outputs, wrong patterns come as near as 1e-7: at most so many times the square that rounding leaves, at
# least what the sum itself is rounded by, and of the faintest images at most so much.
ROUNDED, LEAST_RESIDUAL, MOST_RESIDUAL = 30.0, 1e-13, 1e-4


@dataclass(frozen=True, eq=False)
class Tangent:
    """Where the network's own gradients at the images must lie.

    Attributes:
      units: the activation.
      spans: in float64.
      exact: all gradients were taken at the known weights, so that what is found is right to rounding.
      single: what is descended, in float32: all, or the activations of some units where these tell enough.
      sharp: what sharpness is multiplied by where initial weights are larger or smaller than usual.
    """

    promise: ClassVar[float] = 1.0
    units: Activation
    spans: Spans
    exact: bool
    single: Spans
    sharp: float = 1.0

    @property
    def several(self) -> bool:
        """Whether gradients are known, but for which combination of several outputs' they are."""
        return self.exact and bool(self.spans.above) and self.spans.above[-1][0].shape[1] > 1

    @property
    def by_coordinates(self) -> bool:
        """Without kinks gradients of two images may be nearly parallel, and each image's coordinates are exact."""
        return self.exact and self.units.leak is None

    @classmethod
    def on(cls, seen: Observed, problem: Problem) -> "Tangent | None":
        """The spans, or None where biases give no size."""
        units = problem.mlp.units
        if problem.state is not None or not seen.bias or len(problem.params0) < 2:
            return None
        if not seen.still and units.leak != 0:
            return None
        exact = known = spans(seen, problem)
        count = WIDE * max(exact.h.shape[1], 1)
        if exact.h.shape[1] and (not seen.still or count <= len(exact.p)):
            some = np.random.default_rng(0).permutation(len(exact.p))[:count]
            known = by_activations(exact, some)
        elif not seen.still:
            return None
        single = jax.tree.map(lambda a: np.asarray(a, np.float32), known)
        made = cls(units, exact, seen.still, single)
        return replace(made, sharp=sharp(problem.params0["Dense_0"]["kernel"])) if made.several else made

    def vectors(self, state: State, count: int) -> Vectors:  # noqa: ARG002 (one shape for all batches: one program)
        """Images from one batch of starts."""
        seen, n = state.seen, state.seen.n
        state.starts += self.batch(n)
        known = state.found if self.exact else self.trusted(state)
        basis = complement(normalised(known.q / seen.s), n)
        padded = np.zeros((n, n))
        padded[: len(basis)] = basis
        off = np.zeros((n, n))
        if self.several and len(known):
            off[: len(known)] = linalg.qr(known.q.T, mode="economic")[0].T
        y = self.descended(seen, *self.starts(state, padded), padded, off)
        c = normalised(product(y[np.isfinite(y).all(1)], padded))  # a descent may leave float32's range
        if not len(c):
            return none(n)
        if not self.exact:
            return self.vanishing(state, c)
        if self.units.leak is None:
            c = c[distinct(c, np.arange(len(c), dtype=float), ALIKE)]
        ends = self.settled(seen, c)
        return ends.take(ends.ratio < 1)

    def vanishing(self, state: State, c: Float[np.ndarray, "b n"]) -> Vectors:
        """Vectors that vanish on the inactive units of coordinates c, where gradients moved during training."""
        seen = state.seen
        c = c[distinct(c, np.arange(len(c), dtype=float), ALIKE)]
        found = judged(seen, c, narrowed(seen, c, state.rng.standard_normal(c.shape), EDGES, SOLVES, SOLVE_STEPS))
        return found.take((found.ratio < state.settings.ratio) & (found.agreement > state.least_agreement))

    def trusted(self, state: State) -> Vectors:
        """The found that are taken out: after a dry batch fewer, as one that is rough blocks images that it is not."""
        least = len(state.found) - min(state.dry * DOUBTED, len(state.found) // 2)
        return best(state.found, least)

    def batch(self, n: int) -> int:
        """Starts at once."""
        return BATCH if n < LARGE else LARGE_BATCH

    def starts(self, state: State, basis: Float[np.ndarray, "n n"]) -> tuple[np.ndarray, np.ndarray]:
        """Columns of the change, pushed so that biases have an input, and the sharpness to begin and to end with."""
        seen, rng = state.seen, state.rng
        batch = self.batch(seen.n)
        one = seen.u[-1] / np.linalg.norm(seen.u[-1])
        c = normalised(turned(seen, columns(seen, batch, rng)))
        push: Any = PUSH
        if state.dry:
            random = rng.random((batch, 1)) < ISOTROPIC
            c = np.where(random, normalised(rng.standard_normal(c.shape)), c)
            push = rng.uniform(*PUSHES, (batch, 1))
        if self.several:
            c = self.similar(seen, c + push * one, rng)
        least, most = np.log(SHARPNESS if not self.several else (SHARPNESS[0], MOST_SHARPNESS))
        sharpness = np.exp(rng.uniform(least, most, (batch, 1)))
        ends = np.concatenate([sharpness, np.full((batch, 1), SHARPEST)], axis=1)
        return normalised(product(c + push * one, basis.T)), self.sharp * ends

    def similar(
        self, seen: Observed, c: Float[np.ndarray, "b n"], rng: np.random.Generator
    ) -> Float[np.ndarray, "b n"]:
        """Means of all images by the likeness of their gradients to those at coordinates c, for two outputs apart.

        With g the gradient at c of one output less another, the change times g is Σ_i (x_i; 1) (G_i·g).
        """
        last = self.spans.above[-1][0]
        first = rng.integers(last.shape[1], size=len(c))
        second = (first + rng.integers(1, last.shape[1], size=len(c))) % last.shape[1]
        d = np.eye(last.shape[1])[first] - np.eye(last.shape[1])[second]
        for _ in range(SIMILAR):
            at = passed(product(np.asarray(at_one(c, seen.u[-1])), self.spans.p.T), self.spans.above, self.units)
            g = np.einsum("bc,bcw->bw", d, at.g[0])
            c = normalised(turned(seen, seen.s * product(g, seen.v.T)))
        return c

    def descended(
        self,
        seen: Observed,
        y: Float[np.ndarray, "b n"],
        sharpness: Float[np.ndarray, "b 2"],
        basis: Float[np.ndarray, "n n"],
        off: Float[np.ndarray, "n n"],
    ) -> Float[np.ndarray, "b n"]:
        """Where descents end.

        Args:
          y: coordinates along the rows of `basis`.
          off: orthonormal vectors to stay off; rows of zeros do not count.
        """
        low = np.full(len(seen.u) - 1, -np.inf) if seen.low is None else seen.low
        high = np.full(len(seen.u) - 1, np.inf) if seen.high is None else seen.high

        def single(a: np.ndarray) -> np.ndarray:
            return np.asarray(a, np.float32)

        ground = Ground(single(basis), single(off), single(seen.u), single(low), single(high), self.single)
        arguments = single(y), single(sharpness), ground
        program = compiled(descent, self.units, *arguments, what="A batch of the tangent search", fix="fewer images")
        ends = np.asarray(program.run(*arguments), np.float64)
        add(STEPS * program.work.get("flops_per_step", 0.0))
        return ends

    def settled(self, seen: Observed, c: Float[np.ndarray, "b n"]) -> Vectors:
        """Vectors of the exact patterns near coordinates c; what does not meet every span has a ratio of one."""
        c = np.asarray(at_one(c, seen.u[-1]))
        if self.units.leak is None:
            return self.polished(seen, c)
        leak = self.units.leak
        z = passed(product(c, self.spans.p.T), self.spans.above, self.units).z
        worst, g = np.zeros(len(c)), np.zeros((len(c), 0))
        last = self.spans.above[-1][0]
        # From the top layer down: what comes from above, times 1 or the leak for each unit.
        for layer in range(len(z) - 1, -1, -1):
            rows = self.spans.v if layer == 0 else self.spans.rows[layer - 1]
            active = first = z[layer] > 0
            top = layer == len(z) - 1
            for _ in range(REPAIRS if top and self.several else 1):
                if top:
                    each = np.where(active, 1.0, leak)[:, None] * last.T
                    d = np.asarray(best_outputs(each, rows))
                    from_above = (exact_outputs(each, d, rows) if self.several else d) @ last.T
                else:
                    from_above = product(g, self.spans.above[layer][0].T)
                values = np.stack([from_above, leak * from_above])
                g = np.where(active, values[0], values[1])
                if not len(rows):
                    break
                g = flipped(g, np.where(active, values[1], values[0]), rows)
                before, active = active, g == values[0]
                if np.array_equal(before, active):
                    break
            if len(rows):
                worst = np.maximum(worst, outside(g, rows.T))
        q = normalised(product(g, seen.v.T))
        right = worst < self.allowed(seen, q)
        agreement = (first == (g == from_above)).mean(1)
        return Vectors(normalised(c), q, np.where(right, 0.0, 1.0), agreement)

    def allowed(self, seen: Observed, q: Float[np.ndarray, "b n"]) -> Float[np.ndarray, " b"]:
        """Share of a gradient that may lie outside its span."""
        if not self.several:
            return np.full(len(q), RESIDUAL)
        rounding = seen.v.shape[1] * (seen.noise * np.linalg.norm(q / seen.s, axis=1)) ** 2
        allowed: np.ndarray = np.clip(ROUNDED * rounding, LEAST_RESIDUAL, MOST_RESIDUAL)
        return allowed

    def together(self, seen: Observed, found: Vectors) -> Vectors:
        """Where gradients moved, by the units that each leaves inactive; else each vector at the inverse's coordinates.

        Without kinks each image's own coordinates are better than the inverse of vectors that may be nearly alike.
        """
        if not self.exact:
            return joint(seen, found)
        c = found.c if self.units.leak is None else corrected(found.c, found.q / seen.s)
        after = self.settled(seen, c)
        if not self.several or self.units.leak is None:
            return after
        # Only now is every d right to rounding, which the inverse multiplies where images are nearly parallel.
        return replace(after, c=corrected(after.c, after.q / seen.s))

    def alone(self, seen: Observed, found: Vectors) -> tuple[Vectors, Float[np.ndarray, " k"]]:
        """Each image from its own activations and gradients: where it lies, and how far noise may move it.

        Returns:
          The vectors at these coordinates; and the rms L2 distance, infinite where an image does not meet the spans at
          its own pattern or nothing holds it.
        """
        known = self.spans if self.units.leak is None else by_activations(self.spans, np.arange(len(self.spans.p)))
        told = self.exact and len(found) and (known.above or known.h.shape[1])
        if not told or seen.n >= LARGE:  # work grows as N³
            return found, np.full(len(found), np.inf)
        end = self.polish(seen, np.asarray(at_one(found.c, seen.u[-1])), known)
        at = passed(product(end.c, self.spans.p.T), self.spans.above, self.units)
        worst = np.asarray(end.share)
        for g, rows in zip(at.g, (self.spans.v, *self.spans.rows), strict=True):
            if len(rows):
                worst = np.maximum(worst, outside(combined(g, rows), rows.T))
        c = normalised(end.c)
        again = np.triu(product(c, c.T) > 1 - SAME, 1).any(0)  # at the same zero as one before
        return replace(found, c=c), np.where((worst < RESIDUAL) & ~again, end.moved, np.inf)

    def polish(self, seen: Observed, c: Float[np.ndarray, "b n"], known: Spans) -> Polished:
        """Gauss and Newton's steps in float64, for so many images at once that one program does for all."""
        done = []
        with enable_x64():
            for first in range(0, len(c), BATCH):
                some = c[first : first + BATCH]
                whole = np.concatenate([some, np.repeat(some[:1], BATCH - len(some), axis=0)])
                arguments = whole, seen.u[-1], known
                program = compiled(
                    polish, self.units, *arguments, what="A step to the nearest zero", fix="fewer images"
                )
                done.append([np.asarray(part)[: len(some)] for part in program.run(*arguments)])
        if not done:
            return Polished(c, np.zeros(0), np.zeros(0))
        return Polished(*(np.concatenate(parts) for parts in zip(*done, strict=True)))

    def polished(self, seen: Observed, c: Float[np.ndarray, "b n"]) -> Vectors:
        """Vectors of the nearest zeros, for activations without a kink."""
        end = self.polish(seen, c, self.spans)
        g = passed(product(end.c, self.spans.p.T), self.spans.above, self.units).g[0]
        q = product(np.asarray(combined(g, self.spans.v)), seen.v.T)
        right = end.share < RESIDUAL  # not where it is no number
        return Vectors(normalised(end.c), normalised(q), np.where(right, 0.0, 1.0), np.ones(len(c)))


def sharp(kernel: Float[np.ndarray, "d w"]) -> float:
    """What sharpness is multiplied by, so that kinks are as sharp for pre-activations of any size.

    To a power of four: the usual initialisations all have one, and a standard deviation of 0.5 one sixteenth.
    """
    size = float(np.sqrt(np.mean(np.square(kernel, dtype=np.float64)) * len(kernel)))
    return float(4.0 ** -np.rint(np.log(size) / np.log(4)))


def flipped(
    g: Float[np.ndarray, "b w"], other: Float[np.ndarray, "b w"], rows: Float[np.ndarray, "n w"]
) -> Float[np.ndarray, "b w"]:
    """Rows with entries exchanged for the other value one by one, while this brings them nearer to the span."""
    g, other = g.copy(), other.copy()
    own = 1 - np.sum(rows * rows, axis=0)  # squared distance of a unit's own direction from the span
    live = np.arange(len(g))
    for _ in range(FLIPS):
        rest = g[live] - product(product(g[live], rows.T), rows)
        step = other[live] - g[live]
        gain = 2 * step * rest + step * step * own
        unit = gain.argmin(1)
        better = gain[np.arange(len(live)), unit] < -GAIN * np.sum(g[live] ** 2, axis=1)
        live, unit = live[better], unit[better]
        if not len(live):
            break
        g[live, unit], other[live, unit] = other[live, unit], g[live, unit].copy()
    return g


class Ground(NamedTuple):
    """What a batch descends on; a tree of arrays.

    Attributes:
      basis: (n, n), of the coordinates, rows of zeros where images are found.
      off: (n, n), orthonormal vectors to stay off, or rows of zeros.
      u: (D, n), the images' span.
      low, high: least and greatest value of each input.
      known: what is descended.
    """

    basis: Any
    off: Any
    u: Any
    low: Any
    high: Any
    known: Spans


def loss(y: Float[Tensor, "b n"], units: Activation, ground: Ground) -> Float[Tensor, ""]:
    """Logarithms of the shares outside the spans, less those outside what is off, and the distance from the box."""
    basis, off, u, low, high, known = ground
    c = at_one(y @ basis, u[-1])
    z, total = c @ known.p.T, jnp.zeros(len(y), y.dtype)
    if known.h.shape[1]:
        total = total + jnp.log(jnp.maximum(outside(units.value(z), known.h), 0) + FLOOR)
    if known.above:
        g = passed(z, known.above, units).g[0]
        g = combined(g, known.v)
        total = total + jnp.log(jnp.maximum(outside(g, known.v.T), 0) + FLOOR)
        if known.above[-1][0].shape[1] > 1:
            total = total - jnp.log(jnp.maximum(outside(g @ known.v.T, off.T), 0) + FLOOR)
    x = c @ u[:-1].T
    away = jnp.sum((jnp.clip(x, low, high) - x) ** 2, axis=1)
    return jnp.sum(total + away / (1 + away))


def descent(activation: Activation, y: Tensor, sharpness: Tensor, ground: Ground) -> Tensor:
    """Adam on the loss over coordinates of unit length, kinks growing sharp."""
    first, second = MOMENTA
    blunt, keen = sharpness[:, :1], sharpness[:, 1:]

    def step(state: Any, i: Tensor) -> tuple[Any, None]:
        y, mean, square = state
        done = i / STEPS
        units = activation.smoothed(blunt * (keen / blunt) ** done)
        slope = jax.grad(loss)(y, units, ground)
        mean = first * mean + (1 - first) * slope
        square = second * square + (1 - second) * slope**2
        rate = RATE * 0.5 * (1 + jnp.cos(jnp.pi * done))
        y = y - rate * (mean / (1 - first ** (i + 1))) / (jnp.sqrt(square / (1 - second ** (i + 1))) + 1e-12)
        return (y / jnp.linalg.norm(y, axis=1, keepdims=True), mean, square), None

    start = (y, jnp.zeros_like(y), jnp.zeros_like(y))
    (y, _, _), _ = jax.lax.scan(step, start, jnp.arange(STEPS, dtype=y.dtype))
    return y
