"""What the attacker sees of the first layer: the row space of its change, and the images' pre-activations in it."""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import linalg

from recon.attacks.first_layer.flops import product
from recon.attacks.rank import SEARCHED_GAP, TINY, largest_gap, rank_of_double

FALL = 8  # places
EPSILON = 2.0**-24  # relative rounding error of float32
DECAY_GAP = 1e3  # below this, see whether weight decay hides the rank
FINE = 0.5  # share of the weights that an update must move by what float32 weights cannot hold to be more precise
DECAYED_STATE = 10.0  # by which the gap must grow for decay to have been in a state
DECAYED = 1e-4  # by which decay must have shrunk the initial weights to matter: less moves no image by L2 0.01
OWN_DIRECTION = 1e-4  # squared distance from the span below which the biases' own direction lies in it
SLACK = 0.02  # units that were active for a part of the training only
STATE_SLACK = 0.05  # patterns move while the optimiser averages
NARROW = 0.47  # images for each hidden unit above which nothing was found: 50/110, linearised, came back whole


@dataclass(frozen=True)
class Observed:
    """The first layer's change Z = [ΔW₁; Δb₁] = U S V, cut at its rank N, in float64.

    Every training image is (x_i; 1) = U c_i. Its row of the change is g_i = q_i V up to a factor, q_i = S r_i with
    r_i·c_j = δ_ij, and g_i vanishes at every hidden unit that was never active on x_i.

    Attributes:
      u: (D, N), the images' span; D = d + 1 with biases.
      s: singular values.
      v: (N, W), orthonormal rows.
      p0, p1: pre-activations at θ₀ and θ_f of the columns of U, units scaled to unit rms at θ₀. The same array where
        the gradients were all taken at θ₀.
      scale: what the units were scaled by.
      gap: ratio of the singular values on the two sides of the cut.
      noise: rms of an entry of the change below the cut: rounding, mostly.
      rounding: that rms in multiples of what rounding to float32 once leaves in a number of the weights' size, or of
        the change's own where it is known by itself.
      tail: the largest singular value below the cut over that of noise as strong and the same in every entry.
      fall: that value over the one `FALL` places later.
      bias: whether the last row of U belongs to the biases.
      of_state: it is a sum of gradients, on which no rate and no decay of the weights has worked.
      decay: by what training multiplied the initial kernel and the initial biases, NaN where biases begin at zero and
        nothing tells.
      slack: share of the units on which a right vector may disagree with its image's pattern at the known weights.
      low, high: least and greatest value of each input, or None.
      spectrum: all singular values of the change, those below the cut, too.
      at_rounding: the cut is where singular values fall to the rounding of float64. What is below is no other image's.
      added: multiple of the final kernel that weight decay added to the state.
    """

    u: Float[np.ndarray, "D n"]
    s: Float[np.ndarray, " n"]
    v: Float[np.ndarray, "n w"]
    p0: Float[np.ndarray, "w n"]
    p1: Float[np.ndarray, "w n"]
    scale: Float[np.ndarray, "w 1"]
    gap: float
    noise: float
    rounding: float
    tail: float
    fall: float
    bias: bool
    of_state: bool
    decay: tuple[float, float]
    slack: float
    low: Float[np.ndarray, " d"] | None
    high: Float[np.ndarray, " d"] | None
    spectrum: Float[np.ndarray, " k"]
    at_rounding: bool = False
    added: float = 0.0

    @property
    def n(self) -> int:
        """Number of training images."""
        return len(self.s)

    @property
    def clear(self) -> bool:
        """Whether the rank is clear, and small enough for a search."""
        inputs = np.count_nonzero(np.any(self.u, axis=1))  # that the change depends on at all
        told = self.gap > SEARCHED_GAP or self.at_rounding
        return bool(told and self.n < NARROW * self.v.shape[1] and self.n < inputs)

    @property
    def alike(self) -> bool:
        """Whether decay, if there was any, shrank the biases as it shrank the kernel."""
        kernel, bias = self.decay
        return abs(kernel - 1) < DECAYED or abs(kernel - bias) < DECAYED

    @property
    def decayed_alike(self) -> bool:
        """Whether decay shows on kernel and biases, and is the same: at another rate the biases' would not be."""
        kernel, bias = self.decay
        return abs(kernel - 1) > 10 * DECAYED and abs(kernel - bias) < DECAYED

    @property
    def middle(self) -> Float[np.ndarray, "w n"]:
        """Mean of the pre-activations at θ₀ and θ_f."""
        return self.p0 if self.still else (self.p0 + self.p1) / 2

    @property
    def still(self) -> bool:
        """Whether the patterns at θ₀ and θ_f are one."""
        return self.p0 is self.p1


def cut_at(seen: Observed, n: int) -> Observed:
    """The same with its `n` strongest directions: what the others hold is now below the cut, as noise is."""
    below = seen.s[-1] / seen.gap
    stronger = seen.s[n] / below
    p0 = seen.p0[:, :n]
    return replace(
        seen,
        u=seen.u[:, :n],
        s=seen.s[:n],
        v=seen.v[:n],
        p0=p0,
        p1=p0 if seen.still else seen.p1[:, :n],
        gap=float(seen.s[n - 1] / seen.s[n]),
        noise=float(seen.noise * stronger),
        rounding=float(seen.rounding * stronger),
    )


class Factors(NamedTuple):
    """A matrix cut at the largest gap of its singular values, Z = U S V.

    Attributes:
      gap: ratio of the singular values on the two sides of the cut.
      noise: rms of an entry of the rest, from the largest singular value below the cut.
      tail: that value over the one that so strong a rest has if it is noise, the same in every entry.
      fall: that value over the one `FALL` places later.
      spectrum: all singular values, one for each input that was lit or unit that was active, whichever are fewer.
      at_rounding: the cut is where rounding of float64 begins, be there a gap or not.
    """

    u: Float[np.ndarray, "D n"]
    s: Float[np.ndarray, " n"]
    v: Float[np.ndarray, "n w"]
    gap: float
    noise: float
    tail: float
    fall: float
    spectrum: Float[np.ndarray, " k"]
    at_rounding: bool = False


def factors(z: Float[np.ndarray, "D w"], double: bool = False) -> Factors:
    """Rank and factors, by the smaller Gram matrix: float64 squared still resolves what float32 weights hold.

    Args:
      double: entries are right to the precision of float64, so that no square will do.
    """
    wide = z.shape[0] < z.shape[1]
    if double:
        left, s, right = linalg.svd(z, full_matrices=False, check_finite=False)
    else:
        values, vectors = linalg.eigh(
            product(z, z.T) if wide else product(z.T, z), overwrite_a=True, check_finite=False
        )
        s = np.sqrt(np.maximum(values[::-1], 0.0))
    # Pixels that are never lit and units that are never active have no change and no noise.
    used, alive = (np.count_nonzero(np.any(z, axis=axis)) for axis in (1, 0))
    most, at_rounding = max(min(int(used), int(alive)) - 1, 1), False
    if double:
        n, gap, at_rounding = rank_of_double(s, most)
    else:
        n, gap = largest_gap(s, most)
    edge = np.sqrt(used) + np.sqrt(alive)  # largest singular value of noise of variance one
    noise = float(s[n]) / edge if n < len(s) else 0.0
    tail = noise * np.sqrt(used * alive) / max(float(np.linalg.norm(s[n:])), TINY)
    last = min(n + FALL, int(min(used, alive)) - 1)
    fall = float(s[n] / max(s[last], TINY)) if last > n else 1.0
    spectrum, s = s[: min(used, alive)], s[:n]
    if double:
        return Factors(left[:, :n], s, right[:n], gap, noise, tail, fall, spectrum, at_rounding)
    basis = vectors[:, ::-1][:, :n]
    u, v = (basis, product((basis / s).T, z)) if wide else (product(z, basis / s), basis.T)
    return Factors(u, s, v, gap, noise, tail, fall, spectrum)


def leading(z: Float[np.ndarray, "d w"], count: int) -> Float[np.ndarray, "d k"]:
    """The `count` leading left singular vectors, by subspace iteration: the rest of the spectrum is far below."""
    vectors = product(z, np.random.default_rng(0).standard_normal((z.shape[1], count + 10)))
    for _ in range(3):
        vectors = linalg.qr(vectors, mode="economic")[0]
        vectors = product(z, product(z.T, vectors))
    vectors = linalg.qr(vectors, mode="economic")[0]
    left, _, _ = linalg.svd(product(vectors.T, z), full_matrices=False)
    return product(vectors, left[:, :count])


def shrunk(
    initial: Float[np.ndarray, "D w"], final: Float[np.ndarray, "D w"], cut: Factors, bias: bool
) -> tuple[float, float]:
    """By what training multiplied the initial kernel and biases: least squares outside the images' span.

    The formula (1 − ηλ)^T is not accurate enough, as rounding adds up over the steps. Where the biases begin at zero
    theirs is NaN.
    """

    def outside(z: Float[np.ndarray, "D w"]) -> Float[np.ndarray, "D w"]:
        rest: np.ndarray = z - product(cut.u, product(cut.u.T, z))
        return rest

    rest = outside(final)
    kernel = initial.copy()
    if bias:
        kernel[-1] = 0
    kernel = outside(kernel)
    if not bias or not initial[-1].any():
        return float(np.vdot(kernel, rest) / max(np.vdot(kernel, kernel), TINY)), np.nan
    # The biases are one row: outside the span it is a column times their vector.
    column = -product(cut.u, cut.u[-1])
    column[-1] += 1
    both, cross = initial[-1], product(column, kernel)
    gram = np.array([[np.vdot(kernel, kernel), cross @ both], [cross @ both, (column @ column) * (both @ both)]])
    side = np.array([np.vdot(kernel, rest), column @ rest @ both])
    c_kernel, c_bias = linalg.lstsq(gram, side)[0]
    return float(c_kernel), float(c_bias)


def without_decay(
    initial: Float[np.ndarray, "D w"], final: Float[np.ndarray, "D w"], bias: bool, decay: tuple[float, float]
) -> Float[np.ndarray, "D w"]:
    """The change less what decay took of the initial weights."""
    z = final - decay[0] * initial
    if bias:
        z[-1] = final[-1] - (1.0 if np.isnan(decay[1]) else decay[1]) * initial[-1]
    return z


def decayed(
    initial: Float[np.ndarray, "D w"], final: Float[np.ndarray, "D w"], plain: Factors, bias: bool, most: int = 20
) -> tuple[Factors, tuple[float, float]]:
    """The change without the multiples of the initial weights that weight decay leaves in the final ones.

    Plain descent with weight decay ends at A_f = c A₀ + Z with Z in the images' span, where c is one number for the
    kernel and one for the biases. They follow from the part of A_f outside that span, and the span from A_f − c A₀:
    alternate, from c = 1.

    Args:
      plain: the factors for c = 1, returned where no other c gives a clearer gap.
    """
    now, c = plain, shrunk(initial, final, plain, bias)
    if plain.gap >= DECAY_GAP and abs(c[0] - 1) < DECAYED:
        return plain, c
    now, c = alternated(initial, final, bias, c, most)
    return (now, c) if now.gap > plain.gap else (plain, shrunk(initial, final, plain, bias))


def alternated(
    initial: Float[np.ndarray, "D w"], final: Float[np.ndarray, "D w"], bias: bool, c: tuple[float, float], most: int
) -> tuple[Factors, tuple[float, float]]:
    """Factors of A_f − c A₀, and c, which follow from each other, from a first c on."""
    for _ in range(most):
        now = factors(without_decay(initial, final, bias, c))
        new = shrunk(initial, final, now, bias)
        moved = np.nanmax(np.abs(np.subtract(new, c)))
        c = new
        if moved < 1e-9:
            break
    return now, c


def with_weights(
    weights: Float[np.ndarray, "D w"], state: Float[np.ndarray, "D w"], plain: Factors, bias: bool, most: int = 20
) -> tuple[Factors, float]:
    """A state without the multiple of the weights that decay as a part of the gradients put into it.

    Args:
      weights: the final ones.
      plain: the state's factors as it is, returned with a multiple of zero where that shows a clear rank.
    """
    if plain.gap >= DECAY_GAP:
        return plain, 0.0
    now, c = alternated(weights, state, bias, shrunk(weights, state, plain, bias), most)
    return (now, c[0]) if now.gap > DECAYED_STATE * plain.gap else (plain, 0.0)


def observe(
    initial: Float[np.ndarray, "D w"],
    final: Float[np.ndarray, "D w"],
    bias: bool,
    box: tuple[Float[np.ndarray, " d"], Float[np.ndarray, " d"]] | None = None,
    still: bool = False,
    state: Float[np.ndarray, "D w"] | None = None,
    share: float = 1.0,
    loose: bool = False,
    double: bool = False,
    update: Float[np.ndarray, "D w"] | None = None,
) -> Observed:
    """Cut the first layer's change at its rank.

    Biases that did not change count as none, as do those whose change is none of the images': where decay or contrast
    worked on them otherwise than on the kernel, they add a direction of their own to the span.

    Args:
      initial, final: [W₁; b₁] at θ₀ and at θ_f.
      still: all gradients were taken at θ₀.
      state: a sum of gradients in the change's place, such as a momentum buffer, or one gradient.
      share: what the parametrisation multiplies a bias's change by, in multiples of the kernel's.
      loose: allow as many units that were active for a while as a state does.
      double: the state is right to the precision of float64.
      update: the change by itself. Where it is more precise than float32 has weights, what is rounding is measured by
        its own size.
    """
    change = final - initial if update is None else update
    if bias and not np.any(change[-1] if state is None else state[-1]):
        bias, initial, final, change = False, initial[:-1], final[:-1], change[:-1]
        state = None if state is None else state[:-1]
    ends, fine = (initial, final), False
    if update is not None:
        final = initial + change
        # Where float32 weights give the update as their difference, few of the sums are no float32 number.
        fine = bool(np.mean(final != final.astype(np.float32)) > FINE)
    if bias and share != 1:
        rows = np.append(np.ones(len(initial) - 1), 1 / share)[:, None]
        initial, final = rows * initial, rows * final
        state = None if state is None else rows * state
    z = final - initial if state is None else state
    cut, decay = factors(z, double), (1.0, 1.0)
    added = 0.0
    if state is None:
        cut, decay = decayed(initial, final, cut, bias)
    elif not still:
        cut, added = with_weights(final, state, cut, bias)
    if bias and cut.gap > SEARCHED_GAP and cut.u[-1] @ cut.u[-1] > 1 - OWN_DIRECTION:
        rest = None if state is None else state[:-1]
        update = None if update is None else update[:-1]
        return observe(ends[0][:-1], ends[1][:-1], False, box, still, rest, share, loose, double, update)
    n = len(cut.s)
    p0 = product(ends[0].T, cut.u)
    size = np.linalg.norm(p0, axis=1, keepdims=True)
    scale = np.sqrt(n) / np.where(size > 0, size, np.sqrt(n))  # units of zero weights, as pruned ones, stay as they are
    p0 = p0 * scale
    rounded = initial if state is None and not fine else z
    p1 = p0 if still else product(ends[1].T, cut.u) * scale
    low, high = (None, None) if box is None else box
    return Observed(
        u=cut.u,
        s=cut.s,
        v=cut.v,
        p0=p0,
        p1=p1,
        scale=scale,
        gap=cut.gap,
        noise=float(cut.noise),
        rounding=float(cut.noise / (EPSILON * np.sqrt(np.mean(rounded**2)) + TINY)),
        tail=float(cut.tail),
        fall=cut.fall,
        bias=bias,
        of_state=state is not None,
        decay=decay,
        slack=STATE_SLACK if loose or (state is not None and not still) else SLACK,
        low=low,
        high=high,
        spectrum=cut.spectrum,
        at_rounding=cut.at_rounding,
        added=added,
    )
