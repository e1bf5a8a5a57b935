"""What the attack vouches for: which reconstructions are training images, and at what size.

An image's coordinates are those that all *other* images' null vectors leave: an error in one of them moves every image
that differs from it. So an image is vouched for once every other vector is settled: exactly zero on most of its
inactive units, on more of them than any vector can be made to vanish on, and on some where the image's own is not zero;
once these units determine it, up to what rounding leaves; and once no unit contradicts the image itself.
Pixels that turn out to be whole numbers of an 8-bit picture vouch for an image without any of this.

That leaves its size, for which `recon.attacks.first_layer.scale` collects evidence.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy import linalg

from recon.attacks.first_layer import scale
from recon.attacks.first_layer.flops import product
from recon.attacks.first_layer.images import images, room
from recon.attacks.first_layer.joint import repeated
from recon.attacks.first_layer.linear import TINY, normalised
from recon.attacks.first_layer.observe import NARROW, Observed
from recon.attacks.first_layer.proof import UNIQUE, tells, uniqueness
from recon.attacks.first_layer.vectors import NOISE_ALLOWED, Vectors, corrected, inactive_units

CERTAIN_TAIL = 0.02  # 80 % quantile of |g| on inactive units over rms |g| on active ones
CERTAIN_BOX = 0.05  # L2 distance of an image to its box, in widths of the box
ERROR_QUANTILE = 2 / 3  # of the ratios that tell an error: the rest are units that were active for a while
SURPLUS = 8  # inactive units beyond the N − 1 on which any vector can be made to vanish
MARGIN = 3.0  # an error is taken for so many times what it shows: several in one vector partly cancel
CERTAIN_SPREAD = 0.1  # L2, in widths of the box, by which errors may move an image: what a certificate promises;
CERTAIN_SHARE = 0.01  # without a box, which tells the units, this share of the image's length
# A vector is settled if it is zero on so many inactive units beyond N − 1, on this share of them all, and on so many
# where the other image's is not. Networks of 4 to 12 images on 24 to 72 units, without a box, had 19 wrong images that
# pass the rules above; each hung on a vector with −7 to 4 units beyond, a share of 0.08 to 0.64, or none telling.
ZEROS, ZERO_SHARE, TELLING = 6, 0.6, 2
INVERSE = 1e-9  # by which the cosine of coordinates and of the inverse's may differ from one
WHILE_SHARE = 0.9  # below it a vector is asked for proof by its zeros: the 80 % quantile needs none
ZERO, ALIVE = (6.0, 1e-5), (20.0, 1e-3)  # in multiples of rounding, and of rms |g| on active units: at most, at least
# Depth, in rms of the pre-activations, from which a unit of a Taylor model that is inactive on an image contradicts a
# vector that is not zero there: in 205 such networks 5 of the 5,204 right images that all else vouched for, with a box
# and without, and 2 of the 3 wrong ones.
CONTRADICTION = 0.01
# By which an image's error may exceed what rounding leaves of the images' span: it was 0.95 to 1.06 of that in 280
# images from weights rounded to 8 or 11 significant bits.
SPAN_MARGIN = 1.25
RIDGE = 1e-13  # of the Gram matrix of orthonormal rows, which may be singular
FREE = 1e-4  # singular value of unit rows on a vector's units below which these leave a direction free
# What N images that are the same in every step leave below the cut is rounding: weak, of at most so many times the
# error of rounding once (0.4 to 111 in plain networks of 8 to 200 images, float32, up to thousands of steps; 1.4e4 to
# 6.5e4 with noise of 0.01 or 0.03 a step), or else the same in all directions, as where files were rounded (a `tail` of
# 1, with noise 3 to 4); and it does not fall at once (1.9 to 3, after decay 5.5; in tables of which more directions
# stand out 9 to 400).
FIXED_ROUNDING, FIXED_TAIL, FIXED_FALL = 1000.0, 2.6, 7.0
FIXED_GAP = 100.0  # least gap that a rank which is too large for the search is believed at
OWN_SCALE = 0.5  # of what a certificate promises: what an image's size may be off by
BLANK = 1e-3  # of the box's width (of the rms of all images without one): an image that varies less is none
GRID_ACCURACY = 0.5  # share of the grid's tolerance below which the bound on an image's error means that it must show


@dataclass(frozen=True)
class Network:
    """What certificates ask of the network beside the change of its first layer.

    Attributes:
      ends: kernel and biases of the first layer at θ₀ and θ_f (at θ₀ alone of a Taylor model); none without biases.
      outputs: of the trained network at images (k, d), or None where the layers above are not known.
      vanish: units have no slope where they are inactive, so that vectors are zero there.
    """

    ends: tuple[tuple[Float[np.ndarray, "d w"], Float[np.ndarray, " w"]], ...]
    outputs: Callable[[Float[np.ndarray, "k d"]], Float[np.ndarray, "k c"]] | None
    vanish: bool = True


class Certificate(NamedTuple):
    """What the attack vouches for.

    Attributes:
      images: in their box where it tells their size.
      certified: by image, that it is a training image.
      up_to_scale: that it is one but for a factor; those certified too.
      confidence: in [0, 1], that an image is right at its own size.
      doubts: what keeps images from being certified, in words.
    """

    images: Float[np.ndarray, "k d"]
    certified: Bool[np.ndarray, " k"]
    up_to_scale: Bool[np.ndarray, " k"]
    confidence: Float[np.ndarray, " k"]
    doubts: tuple[str, ...]


class Rows(NamedTuple):
    """Vectors by unit.

    Attributes:
      g: |q V|.
      inactive: units that are inactive on the image at both known weights; of a vector that its zeros prove, those of
        them where it is zero: the others were active for a while.
      level: rms |g| on the others.
      rounding: rms |g| that rounding of the weights leaves where it should be zero.
    """

    g: Float[np.ndarray, "k w"]
    inactive: Bool[np.ndarray, "k w"]
    level: Float[np.ndarray, " k"]
    rounding: Float[np.ndarray, " k"]

    @property
    def zero(self) -> Bool[np.ndarray, "k w"]:
        """Where a vector is zero up to rounding."""
        small: np.ndarray = self.g < np.maximum(ZERO[0] * self.rounding, ZERO[1] * self.level)[:, None]
        return small

    @property
    def alive(self) -> Bool[np.ndarray, "k w"]:
        """Where it surely is not."""
        large: np.ndarray = self.g > np.maximum(ALIVE[0] * self.rounding, ALIVE[1] * self.level)[:, None]
        return large


def rows_of(seen: Observed, found: Vectors) -> Rows:
    """The vectors' entries, and what to compare them with."""
    g = np.abs(product(found.q, seen.v))
    _, inactive = inactive_units(found.c, seen.p0, seen.p1)
    level = np.sqrt((g * g * ~inactive).sum(1) / np.maximum((~inactive).sum(1), 1)) + TINY
    rows = Rows(g, inactive, level, seen.noise * np.linalg.norm(found.q / seen.s, axis=1))
    share = (inactive & rows.zero).sum(1) / np.maximum(inactive.sum(1), 1)
    doubted = np.flatnonzero((share < WHILE_SHARE) & (share >= ZERO_SHARE))
    if tells(seen) and len(found) == seen.n and len(doubted):
        # Of coordinates that are those of the vectors' inverse: else it is these that disagree with the zeros.
        own = np.abs(np.einsum("kn,kn->k", normalised(found.c), corrected(found.c, found.q / seen.s)))
        doubted = doubted[own[doubted] > 1 - INVERSE]
        sure = doubted[uniqueness(seen, found.q[doubted], inactive[doubted]) > UNIQUE]
        inactive[sure] &= rows.zero[sure]
    return rows


def tail(rows: Rows) -> Float[np.ndarray, " k"]:
    """80 % quantile of |g| on inactive units over rms |g| on active ones."""
    some = rows.inactive.any(1)
    ratio = np.ones(len(rows.g))
    ratio[some] = np.nanquantile(np.where(rows.inactive, rows.g, np.nan)[some], 0.8, axis=1) / rows.level[some]
    return ratio


def settled(rows: Rows) -> Bool[np.ndarray, " k"]:
    """Which images hang on settled vectors only: all the others'."""
    n = len(rows.g)
    zero = rows.inactive & rows.zero
    count = zero.sum(1)
    sure = (count >= n - 1 + ZEROS) & (count >= ZERO_SHARE * rows.inactive.sum(1))
    telling = product(zero.astype(np.float32), rows.alive.T.astype(np.float32)) >= TELLING  # of b's vector on image a
    right = (sure[:, None] & telling) | np.eye(n, dtype=bool)
    every: np.ndarray = right.all(0)
    return every


def shared(whole: Observed, rows: Rows) -> Bool[np.ndarray, " k"]:
    """Which vectors do not vanish alone where they do, once directions count that were left out as faint.

    Two images of nearly one row hold one strong direction and one faint one: without the latter they pass for one.
    """
    values = np.ones(len(rows.g))
    for i, zero in enumerate(rows.inactive & rows.zero):
        v = whole.v[:, zero]
        values[i] = linalg.eigh(product(v, v.T), eigvals_only=True, subset_by_index=(1, 1))[0] if whole.n > 1 else 1.0
    some: np.ndarray = values < UNIQUE**2
    return some


def contradicted(seen: Observed, found: Vectors, rows: Rows) -> Bool[np.ndarray, " k"]:
    """Which images' own vectors are not zero at a unit that was inactive on them in every step.

    That is known where all gradients were taken at one θ₀. A vector that is zero at a unit which was active contradicts
    nothing: by chance, or where the layers above pass nothing on, it may be.
    """
    if not seen.still:
        return np.zeros(len(found), bool)
    ahead = product(found.c, seen.p0.T)
    depth = CONTRADICTION * np.sqrt(np.mean(ahead**2, axis=1, keepdims=True))
    some: np.ndarray = (rows.alive & (ahead < -depth)).any(1)
    return some


def sizes(raw: Float[np.ndarray, "k D"], x: Float[np.ndarray, "k d"]) -> Float[np.ndarray, " k"]:
    """What coordinates are multiplied by to be those of (x; 1).

    Args:
      raw: U c.
    """
    multiple: np.ndarray = np.linalg.norm(x, axis=1) / (np.linalg.norm(raw[:, : x.shape[1]], axis=1) + TINY)
    return multiple


def moved_by_span(seen: Observed, found: Vectors, x: Float[np.ndarray, "k d"]) -> Float[np.ndarray, " k"]:
    """L2 distance by which rounding of the weights moves each image as it moves the images' span.

    Column k of U is off by noise / s_k in every input that the change depends on.

    Args:
      x: the images.
    """
    inputs = np.count_nonzero(np.any(seen.u, axis=1))
    c = found.c * sizes(found.c @ seen.u.T, x)[:, None]
    moved: np.ndarray = np.sqrt(inputs) * seen.noise * np.linalg.norm(c / seen.s, axis=1)
    return moved


def moved_by_vectors(
    seen: Observed, found: Vectors, rows: Rows, x: Float[np.ndarray, "k d"]
) -> Float[np.ndarray, " k"]:
    """L2 distance by which it moves each image as it moves the vectors of the others, one standard deviation.

    Vector q is what vanishes on the units where it is zero, K q = 0 with K = V_z V_zᵀ, up to rounding η on each of
    them, so that it is off by about η K^{-1/2} at right angles to itself. An error of r_b along r_a mixes the images
    the other way round: x_a moves by ε (x_b − x_a). Where these units leave more than one vector K is singular, and
    nothing tells which mixture of some images vector b is: ε may be one.

    Args:
      x: the images.
    """
    c = found.c * sizes(found.c @ seen.u.T, x)[:, None]
    scaled, own = c / seen.s, np.abs(np.einsum("kn,kn->k", found.q / seen.s, c)) + TINY
    length = np.linalg.norm(scaled, axis=1)
    squares = np.zeros(len(x))
    for b, zero in enumerate(rows.inactive & rows.zero):
        v = seen.v[:, zero]
        gram = product(v, v.T) + np.outer(found.q[b], found.q[b]) + RIDGE * np.eye(seen.n)
        half = linalg.solve_triangular(linalg.cholesky(gram, lower=True), scaled.T, lower=True)
        times = np.linalg.norm(half, axis=0)
        noise = np.hypot(rows.rounding[b], np.sqrt(np.mean(rows.g[b, zero] ** 2)) if zero.any() else 0.0)
        error = np.where(FREE * times > length, 1.0, np.minimum(noise / own[b] * times, 1.0))
        squares += (error * np.linalg.norm(x - x[b], axis=1)) ** 2
    moved: np.ndarray = np.sqrt(squares)
    return moved


def spread(seen: Observed, found: Vectors, rows: Rows, x: Float[np.ndarray, "k d"]) -> Float[np.ndarray, " k"]:
    """L2 distance by which the vectors' remaining errors may move each image, once all N are found.

    An error ε r_a in r_b mixes the images the other way round: x_a moves by ε (x_b − x_a). Where b is inactive and a
    is active, g_b should vanish and is ε g_a instead, so the ratio of the two on those units bounds ε: few units where
    the images are alike, which is where errors hide. What the weights' rounding explains does not count here. Errors of
    different vectors add up as independent ones.

    Args:
      x: the images.
    """
    raw, r = found.c @ seen.u.T, found.q / seen.s
    own = np.abs(np.einsum("kn,kn->k", r, found.c)) * sizes(raw, x) + TINY  # r·c, to be one
    g = rows.g / own[:, None] + TINY
    rounding = NOISE_ALLOWED * rows.rounding / own
    rest = np.maximum(g - rounding[:, None], 0)
    squares = np.zeros(len(x))
    for b in range(len(x)):
        telling = ~rows.inactive[:, rows.inactive[b]]
        count = telling.sum(1)
        ratio = np.where(telling, rest[b, rows.inactive[b]] / g[:, rows.inactive[b]], np.inf)
        ratio.sort(axis=1)
        at = np.minimum((ERROR_QUANTILE * count).astype(int), np.maximum(count - 1, 0))
        error = np.minimum(ratio[np.arange(len(x)), at], 1.0) if ratio.shape[1] else np.ones(len(x))
        squares += (MARGIN * error * np.linalg.norm(x - x[b], axis=1)) ** 2
    moved: np.ndarray = np.sqrt(squares)
    return moved


def fixed(seen: Observed) -> bool:
    """Whether the change is one of N images that are the same in every step: what is beyond them is rounding.

    Noise, crops, contrast and the like that change from step to step leave more, and most of it where the images are.
    """
    weak = seen.rounding < FIXED_ROUNDING or seen.tail < FIXED_TAIL
    return seen.at_rounding or bool(weak and seen.fall < FIXED_FALL)


def blank(seen: Observed, x: Float[np.ndarray, "k d"]) -> Bool[np.ndarray, " k"]:
    """Which images are empty, or the same everywhere."""
    width = np.sqrt(np.mean(x * x)) if seen.low is None or seen.high is None else np.min(seen.high - seen.low)
    none: np.ndarray = ~(np.ptp(x, axis=1) > BLANK * width) if x.size else np.zeros(len(x), bool)
    return none


def outside(seen: Observed, x: Float[np.ndarray, "k d"]) -> Float[np.ndarray, " k"]:
    """L2 distance of each image to its box, zero without one."""
    if seen.low is None or seen.high is None:
        return np.zeros(len(x))
    distance: np.ndarray = np.linalg.norm(x - np.clip(x, seen.low, seen.high), axis=1)
    return distance


def box_width(low: Float[np.ndarray, "*any"], high: Float[np.ndarray, "*any"]) -> float:
    """What pixels from 0 to 1 are multiplied by to be inputs: the rms, where it is not the same for all."""
    return float(np.sqrt(np.mean((high - low) ** 2)))


def promised(seen: Observed, x: Float[np.ndarray, "k d"]) -> Float[np.ndarray, " k"]:
    """L2 distance to a training image within which a certified image is."""
    return promised_in(x, None if seen.low is None or seen.high is None else box_width(seen.low, seen.high))


def promised_in(x: Float[np.ndarray, "k d"], width: float | None) -> Float[np.ndarray, " k"]:
    """The same by the width of the box, None without one."""
    if width is None:
        share: np.ndarray = CERTAIN_SHARE * np.linalg.norm(x, axis=1)
        return share
    return np.full(len(x), CERTAIN_SPREAD * width)


def fitted(
    outputs: Callable[[Float[np.ndarray, "k *shape"]], Float[np.ndarray, "k c"]],
    x: Float[np.ndarray, "k *shape"],
    allowed: Float[np.ndarray, " k"],
) -> Bool[np.ndarray, " k"]:
    """Which images the network was trained on to the end, as it gives targets there, if most of them are.

    Args:
      allowed: L2 distance by which an image's size may be off.
    """
    here, larger = outputs(x), outputs((1 + scale.GROWN) * x)
    size = np.linalg.norm(x.reshape(len(x), -1), axis=1)
    right = scale.at_targets(here, (larger - here) / scale.GROWN, size, allowed)
    most = bool(right.mean() >= scale.TARGET_SHARE)
    return right if most else np.zeros(len(x), bool)


def at_own_scale(
    seen: Observed, network: Network, rows: Rows, x: Float[np.ndarray, "k d"], pixels: scale.Grid | None
) -> Bool[np.ndarray, " k"]:
    """Which images have evidence of their size beside the bias's share of the change.

    Args:
      x: images at the size that the biases tell.
      pixels: which lie on the grid of 8-bit pixels, and at what scale, where there is a box.
    """
    told, reaching = np.zeros(len(x), bool), np.zeros(len(x), bool)
    may = OWN_SCALE * promised(seen, x)
    if seen.low is not None and seen.high is not None and pixels is not None:
        told |= pixels.on | scale.flat(x, seen.low, seen.high, may)
        if scale.ends(x, seen.low, seen.high) or pixels.common:
            reaching = np.logical_or(*scale.touching(x, seen.low, seen.high))
    another = pixels is not None and bool((pixels.on & (pixels.factor != 1)).any())
    if not seen.bias or not seen.alike or another or told.all():
        return told
    if seen.of_state or seen.decayed_alike:
        return np.ones(len(x), bool)
    if told.mean() >= scale.COMMON_SHARE:
        told |= reaching  # where pixels tell of most images, one of which they do not tell is suspect
    else:
        told |= reaching | by_network(seen, network, rows, x)
    return told


def by_network(seen: Observed, network: Network, rows: Rows, x: Float[np.ndarray, "k d"]) -> Bool[np.ndarray, " k"]:
    """Of which images the network's own biases or outputs tell that they are of the right size."""
    told = np.zeros(len(x), bool)
    if any(bias.any() for _, bias in network.ends):
        told |= scale.fits_biases(x, network.ends, rows.alive)
    if network.outputs is not None:
        told |= fitted(network.outputs, x, OWN_SCALE * promised(seen, x))
    return told


def certificate(
    seen: Observed,
    found: Vectors,
    network: Network,
    mixed: Bool[np.ndarray, " k"],
    parts: bool = False,
    alone: Float[np.ndarray, " k"] | None = None,
) -> Certificate:
    """Vouch for images: all N vectors must be found, or an image's own gradients or pixels tell.

    Args:
      mixed: images that may have some of another in them.
      parts: the images are parts of images, which may be blank.
      alone: rms distance by which noise may move images that meet, by themselves, all that the layers' changes tell of
        a training image; infinite for others.
    """
    x = images(seen, found.c)
    complete = len(found) == seen.n and not repeated(found).any()
    if not len(x):
        none = np.zeros(0, bool)
        return Certificate(x, none, none, np.zeros(0), what_is_missing(seen, complete=complete, found=0))
    rows = rows_of(seen, found)
    pixels, misfit = None, None
    if seen.low is not None and seen.high is not None:
        levels = scale.grid(x, seen.low, seen.high)
        pixels = scale.without_faint(levels) if seen.bias else levels
        misfit = (pixels.other or levels.other) if seen.bias else None
        if misfit and by_network(seen, network, rows, x).mean() >= scale.COMMON_SHARE:
            # Biases or outputs confirm the size that the pixels contradict: it is the box that is not as told.
            none = np.zeros(len(x), bool)
            pixels = scale.Grid(none, none, np.ones(len(x)), none)
    sized = at_own_scale(seen, network, rows, x, pixels)
    if seen.bias:
        # No image has a negative input of the biases: these were not trained as the kernel was.
        sized &= found.c @ seen.u[-1] > 0 if pixels is None else (found.c @ seen.u[-1] > 0) | pixels.on
    if pixels is not None:
        x = x * pixels.factor[:, None]
    by_themselves = np.zeros(len(x), bool) if pixels is None else pixels.sure
    width = tail(rows)
    # How far off an image may be counts at the size that its box allows it, as nothing else may tell its size.
    largest = np.maximum(room(seen, x), 1.0)
    promise = promised(seen, x) + TINY
    coarse = SPAN_MARGIN * moved_by_span(seen, found, x) / promise
    moved = np.hypot(spread(seen, found, rows, x), MARGIN * moved_by_vectors(seen, found, rows, x)) / promise
    moved = np.hypot(moved, coarse)
    enough = rows.inactive.sum(1) >= len(found) - 1 + SURPLUS
    empty = blank(seen, x) & (not parts)
    same, other = fixed(seen), settled(rows)
    wrong = mixed | contradicted(seen, found, rows)
    sound = (width < CERTAIN_TAIL) & (moved * largest < 1) & enough & other & complete & same & ~wrong
    itself = np.full(len(x), np.inf) if alone is None else np.hypot(MARGIN * alone / promise, coarse)
    own = (itself * largest < 1) & same & ~(wrong & network.vanish)
    if not network.vanish:
        sound, width, moved, enough, other = own, np.zeros(len(x)), itself, ~empty, ~empty
    # In the unit of what is promised: widths of the box, where there is one.
    away = outside(seen, x) / promise * CERTAIN_SPREAD
    strange = np.zeros(len(x), bool)
    if pixels is not None and seen.low is not None and seen.high is not None and pixels.on.any():
        # These pictures are of 8 bits: one that is sharp enough to show it and does not, at any scale, is none of them.
        tolerance = scale.GRID_RMS / scale.LEVELS * np.linalg.norm(seen.high - seen.low)
        strange = pixels.off & (moved * promise < GRID_ACCURACY * tolerance)
    up_to_scale = (((sound | own) & ~strange) | by_themselves) & ~empty
    certified = up_to_scale & (away < CERTAIN_BOX) & sized
    confidence = 1 / (1 + (width / CERTAIN_TAIL) ** 2) / (1 + moved**2)
    confidence = confidence / (1 + (away / CERTAIN_BOX) ** 2)
    for doubt in (~np.full(len(x), complete and same), ~sized, ~enough, ~other, empty, wrong, strange):
        confidence = np.where(doubt, 0.5, 1.0) * confidence
    confidence = np.where(own & sized & ~strange & ~empty, np.maximum(confidence, 1 / (1 + itself**2)), confidence)
    confidence = np.where(by_themselves & ~empty, 1.0, confidence)
    doubts = what_is_missing(
        seen,
        complete=complete,
        found=len(x),
        unsure=int((~up_to_scale).sum()),
        coarse=int((~up_to_scale & (coarse * largest >= 1)).sum()),
        outside=int((up_to_scale & sized & ~certified).sum()),
        unsized=int((up_to_scale & ~sized).sum()),
        misfit=misfit,
        by_pixels=bool((up_to_scale & sized).any() and pixels is not None and pixels.on.any()),
    )
    return Certificate(x, certified, up_to_scale, confidence, doubts)


def what_is_missing(
    seen: Observed,
    *,
    complete: bool,
    found: int,
    unsure: int = 0,
    coarse: int = 0,
    outside: int = 0,
    unsized: int = 0,
    misfit: float | None = None,
    by_pixels: bool = False,
) -> tuple[str, ...]:
    """Why not all images are certified, as far as the numbers show it, each reason as a sentence without its stop.

    Args:
      complete: all vectors were found.
      found: images in all.
      unsure, coarse, outside, unsized: images that are not vouched for, those of them that rounding of the weights may
        move too far, that lie outside their box, and of whose size nothing tells.
      misfit: the scale other than the biases' at which the images are pictures of 8 bits in their box.
      by_pixels: pixels tell the size of others.
    """
    words = []
    if seen.fall >= FIXED_FALL and not seen.at_rounding:
        words.append(
            f"more directions of the change stand clear of rounding than the {seen.n} above the largest gap: there are "
            "as many images as inputs, the inputs are of very different size and were not standardised before "
            "training, or weight decay worked on the kernel alone"
        )
    elif not fixed(seen):
        words.append(
            f"the spectrum's gap is only {seen.gap:.3g}, and what lies below it is more than rounding, as where images "
            "are not the same in every step (noise, crops, contrast or another augmentation): the rank may count views"
        )
    inputs = int(np.count_nonzero(np.any(seen.u, axis=1)))
    if not complete and seen.n == inputs - 1 > 1:
        words.append(f"the change fills {seen.n} of its {inputs} inputs, as where there are as many images or more")
    if not complete:
        words.append(f"the search found {found} of {seen.n} images, and one that is missing may be in all the others")
    elif coarse and not words:
        words.append(f"rounding of the weights may move {coarse} of {found} images by more than a certificate allows")
    if complete and unsure > coarse and not words:
        words.append(
            f"{unsure - coarse} of {found} images are not sure enough: too few of the {seen.v.shape[1]} units are "
            "inactive all the time on them or on the images that they are told from"
        )
    if misfit:
        words.append(
            f"the pixels are whole levels of 8 bits at {misfit:.4g} times the size that the first biases tell: these "
            "were trained at another rate than the kernel, or the std is wrong by that factor"
            + (", or the images are fainter by it than 8-bit pictures" if misfit > 1 else "")
        )
    if outside:
        words.append(
            f"{outside} of {found} images would be certified but lie outside the box of the pixels: the mean or the "
            "std may be wrong"
        )
    if unsized and by_pixels:
        words.append(f"the pixels tell the size of most images and not of {unsized}")
    elif unsized and not seen.alike:
        words.append(
            f"weight decay shows in the first kernel ({seen.decay[0]:.4g} of it is left) and not, or not known to be "
            f"as strong, in its biases, so that they do not tell the size of {unsized} images"
        )
    elif unsized and not seen.bias:
        words.append(f"no first bias that was trained as the kernel was tells the size of {unsized} images")
    elif unsized:
        words.append(
            f"only the first biases' change tells the size of {unsized} images, and it tells it wrongly if biases were "
            "trained at another rate or decay than kernels, or images at changing contrast"
        )
    return tuple(words)


def why_unclear(seen: Observed) -> str:
    """Why the rank does not tell the number of images, a sentence without its stop."""
    inputs, width = int(np.count_nonzero(np.any(seen.u, axis=1))), seen.v.shape[1]
    if seen.gap <= FIXED_GAP:
        return (
            f"the spectrum of the first layer's change has no clear gap (the largest is {seen.gap:.2g}): so after "
            "Adam, noise on images or weights, augmentation or rounding, and with as many images as inputs or units"
        )
    if seen.n >= inputs:
        return f"the change fills all {inputs} inputs: there are as many images or more, or noise was added to them"
    return (
        f"the rank is {seen.n}, more than {NARROW:g} times the first layer's {width} units: too many images for the "
        "search, or steps of Adam or rounding, which fill the change with directions that are no images"
    )
