"""How large an image is: evidence that does not rest on the bias's share of the change alone.

The change tells (x; 1) up to a factor, and so x, but only where biases were trained exactly as kernels were. A decay on
kernels alone, another rate, frozen biases, a contrast that changes from step to step: each leaves (x; β) with an
unknown β in the 1's place, and x/β looks like an image as well. What else tells the size:

* 8-bit pixels. In a known box, an image's pixels are whole numbers of 0 to 255 at one scale and at no other. That is
  the picture's own brightness, and the image may be a fainter copy of it; biases tell how images compare.
* A flat part, such as black, that lies at an edge of the box which is not zero.
* Biases that are not zero: at another scale x is active on other units than those its gradient shows.
* All pixels over all images: they reach both ends of the box and do not pass them. That tells of images that reach one
  of them themselves.
* The outputs at the images: a network trained to the end gives its targets there.

The first two tell of one image by itself. The others tell of all together: one wrong rate scales all alike.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import special

from recon.attacks.first_layer.flops import product
from recon.attacks.first_layer.linear import TINY

LEVELS = 255  # steps of a pixel of 8 bits
GRID_RMS = 0.15  # of the distance from whole levels, in levels, at most; by chance it is 0.29
GRID_LEVELS = 16  # at least: pictures of fewer greys have them at steps, which are whole levels at many scales
GRID_CHANCE = -14.0  # log of the chance that so many levels lie so near to whole ones at one of the scales tried
GRID_TRIES = 1e4  # scales that are tried at most
GRID_FLOOR = 1e-3  # rms distance that counts as none: weights are rounded
GRID_FAILURES = 16  # images in a row for which no scale is found before the rest is not searched
GRID_RANGE = 8.0  # scales are tried from what the box allows down to so much less
GRID_STEP = 0.2  # between two scales, in levels at the farthest pixel
GRID_PIXELS = 256  # that the scales are tried on
GRID_BEST = 20  # scales that are then tried on all
# By how much likelier the levels must be at one scale than at all others: of a digit of 21 levels, 0.964 times its size
# had them within 0.07 of whole ones, which is no chance, but that they lay within 1e-5 at its size was still less.
GRID_RIVAL = 14.0
GRID_SURE = -60.0  # log of the chance below which no rival is looked for: it takes levels that no other scale has
# What pixels must show to vouch for an image by themselves: besides so small a chance, so small a distance from whole
# levels, at most so many times what pixels of one level differ by, or next to nothing. A digit of five levels with 4 %
# of another in it had 37, within 0.13 of whole ones at 1.6 times its size: levels that are sums of a few numbers are
# fewer than they seem, but all pixels of one level are off by the same.
GRID_SURE_RMS, GRID_SURE_RATIO, GRID_NOTHING = 0.02, 3.0, 5e-4
SAME = 5e-4  # relative difference of scales that is none: an L2 distance of 0.01
ONE_SCALE = 0.01  # relative differences of images' scales below which one factor explains them
COMMON_SHARE = 0.5  # of the images that must lie on the grid at one scale
# Times the least scale of all images, above which an image is a faint copy of the picture that its pixels are of: one
# rate of the biases scales all alike. Weight decay on kernels and a contrast that changes from step to step scale them
# by different factors, 0.9 to 1.1 of each other at a contrast of 10 %.
FAINT = 1.5
# Times the kernel's rate that one of its biases may be: 2 is common, and the factor of a wrong std is 2 to 5. By more,
# all images are faint copies of pictures.
RATES = 6.0
FLAT_SHARE = 0.05  # of the inputs that must lie at an edge of the box to be flat,
FLAT_WIDTH = 0.002  # within this share of its width
EDGE = 0.02  # least distance of such an edge from zero, as a share of the box's width: zero is at any scale
END_WIDTH = 0.002  # of the box's width: so near its ends the least and the greatest pixels of all images must come,
END_IMAGES = 2  # in so many images each
COMMON_RANGE, COMMON_SCALES = (1 / 16, 16.0), 201  # that are tried for all images together
COMMON = 0.2  # by which one scale for all images may be off, as far as biases tell: rates differ by more or not at all
TARGET_SHARE = 0.8  # of the images whose outputs must sit at targets
GROWN = 0.01  # by which an image is enlarged to see how its outputs change


class Grid(NamedTuple):
    """Images on the grid of 8-bit pixels.

    Attributes:
      on: which lie on it, at some scale.
      sure: which do so beyond doubt, whatever else is known of them.
      factor: that scale, 1 where there is none.
      off: which have levels enough to lie on it or not, and do not.
    """

    on: Bool[np.ndarray, " k"]
    sure: Bool[np.ndarray, " k"]
    factor: Float[np.ndarray, " k"]
    off: Bool[np.ndarray, " k"]

    @property
    def common(self) -> bool:
        """Whether most images lie on it at the size that the biases tell, as all do then."""
        return bool(np.mean(self.on & (self.factor == 1)) >= COMMON_SHARE) if len(self.on) else False

    @property
    def other(self) -> float | None:
        """The one other scale at which most images lie on it, if there is one."""
        if not len(self.on) or np.mean(self.on & (self.factor != 1)) < COMMON_SHARE:
            return None
        middle = float(np.median(self.factor[self.on]))
        return middle if np.abs(self.factor[self.on] / middle - 1).max() < ONE_SCALE else None


def without_faint(pixels: Grid) -> Grid:
    """The grid without images that are faint copies of pictures, which are left at the scale of the others.

    If all are, that is the scale that the biases tell.

    Args:
      pixels: of images whose sizes biases tell but for one factor.
    """
    least = float(pixels.factor[pixels.on].min(initial=np.inf))
    # Of few greys at steps, a picture may lie on the grid at half its size: those that do at their own tell.
    least = 1.0 if least >= RATES or (pixels.on & (pixels.factor == 1)).any() else least
    faint = pixels.on & (pixels.factor > FAINT * least)
    factor = np.where(faint, least, pixels.factor)
    return pixels._replace(on=pixels.on & ~faint, sure=pixels.sure & ~faint, factor=factor)


class Levels(NamedTuple):
    """How near pixels are to whole levels.

    Attributes:
      rms: distance from them, without the pixels at the commonest: a background says once that its level is whole,
        however many pixels it has.
      levels: number of different ones but that.
      within: rms difference of pixels of one level from their mean, zero if each has its own.
      step: greatest common divisor of the differences of levels. Where it is above one, as in a picture of few greys,
        the levels are whole at other scales as well.
    """

    rms: float
    within: float
    levels: int
    step: int


def levels_of(p: Float[np.ndarray, " d"]) -> Levels:
    """The levels of pixels, in units of a level."""
    whole = np.rint(p)
    values, place, counts = np.unique(whole, return_inverse=True, return_counts=True)
    rest = whole != values[np.argmax(counts)]
    off = p - whole
    rms = float(np.sqrt(np.mean(off[rest] ** 2))) if rest.any() else 0.0
    about = (off - (np.bincount(place, off) / counts)[place])[rest]
    spare = int(counts.sum() - counts.max()) - (len(counts) - 1)
    within = float(np.sqrt((about @ about) / spare)) if spare else 0.0
    return Levels(rms, within, len(values) - 1, int(np.gcd.reduce(np.diff(values).astype(np.int64))))


def chance(rms: float, levels: int) -> float:
    """Log of the chance that `levels` random numbers lie within `rms` of whole ones at one of the scales tried.

    The volume of a ball of that radius in the unit cube; a scale is fitted, which takes one of the levels.
    """
    n = levels - 1
    if n < 1:
        return 0.0
    radius = np.sqrt(n) * max(rms, GRID_FLOOR)
    return float(n / 2 * np.log(np.pi) - special.gammaln(n / 2 + 1) + n * np.log(radius) + np.log(GRID_TRIES))


def grid(x: Float[np.ndarray, "k d"], low: Float[np.ndarray, " d"], high: Float[np.ndarray, " d"]) -> Grid:
    """Find the scale at which each image is a picture of 8 bits in its box, if there is one."""
    width = high - low
    zero = -LEVELS * low / width  # the level of an input of zero
    on, sure, off = np.zeros((3, len(x)), bool)
    factor = np.ones(len(x))
    common, failures = 1.0, 0
    for i, y in enumerate(LEVELS * x / width):
        tried = [t for t in (settled_scale(y, zero, c) for c in dict.fromkeys((1.0, common))) if t is not None]
        surest = min((t.chance for t in tried), default=0.0)
        if surest > GRID_SURE and (tried or failures < GRID_FAILURES):
            tried += scanned_scales(y, zero)
            failures = 0 if tried else failures + 1
        found = only(tried)
        if found is not None:
            on[i], factor[i] = True, found.at
            sure[i] = found.beyond_doubt
            common = found.at if abs(found.at - 1) > SAME else common
        else:
            off[i] = not tried and chance(GRID_RMS, levels_of(zero + y).levels) < GRID_CHANCE
    return Grid(on, sure, np.where(np.abs(factor - 1) < SAME, 1.0, factor), off)


class Scale(NamedTuple):
    """A scale at which an image is a picture of 8 bits, and the log of the chance that it only seems so."""

    at: float
    chance: float
    rms: float
    within: float

    @property
    def beyond_doubt(self) -> bool:
        """Whether it shows by itself that the image is a picture of 8 bits."""
        near = min(GRID_SURE_RMS, max(GRID_SURE_RATIO * self.within, GRID_NOTHING))
        return self.chance < GRID_SURE and self.rms < near


def only(tried: Sequence[Scale]) -> Scale | None:
    """The scale that is likelier than all others by far, or None."""
    if not tried:
        return None
    best = min(tried, key=lambda t: t.chance)
    rivals = [t.chance for t in tried if abs(t.at / best.at - 1) > SAME]
    return best if not rivals or best.chance < min(rivals) - GRID_RIVAL else None


def settled_scale(y: Float[np.ndarray, " d"], zero: Float[np.ndarray, " d"], s: float) -> Scale | None:
    """The scale near `s` at which zero + s·y are levels, or None."""
    size = float(y @ y)
    if size <= TINY:
        return None
    for _ in range(4):
        s = float(y @ (np.rint(zero + s * y) - zero)) / size
    p = zero + s * y
    rms, within, count, step = levels_of(p)
    inside, log = p.min() > -0.5 and p.max() < LEVELS + 0.5, chance(rms, count)
    whole = rms < GRID_RMS and step == 1 and count >= GRID_LEVELS and log < GRID_CHANCE
    return Scale(s, log, rms, within) if s > 0 and inside and whole else None


def scanned_scales(y: Float[np.ndarray, " d"], zero: Float[np.ndarray, " d"]) -> list[Scale]:
    """The best of all scales that the box allows."""
    room = np.where(y > 0, LEVELS - zero, zero) + 0.5
    most = float(np.min(room / np.maximum(np.abs(y), TINY)))
    far = float(np.abs(most * y).max())
    if not np.isfinite(most) or far < 1:
        return []
    steps = int(np.log(GRID_RANGE) / np.log1p(GRID_STEP / far))
    scales = most * np.exp(-np.arange(steps) * np.log1p(GRID_STEP / far))
    # A background has one level, and would outvote the rest.
    rest = np.flatnonzero(np.abs(y - np.median(y)) > 0.01 * np.ptp(y))
    if len(rest) < 2:
        return []
    some = rest[np.unique(np.linspace(0, len(rest) - 1, GRID_PIXELS).astype(int))]
    p = zero[some] + scales[:, None] * y[some]
    best = np.argsort(((p - np.rint(p)) ** 2).mean(1), kind="stable")[:GRID_BEST]
    return [t for t in (settled_scale(y, zero, float(scales[b])) for b in best) if t is not None]


def flat(
    x: Float[np.ndarray, "k d"],
    low: Float[np.ndarray, " d"],
    high: Float[np.ndarray, " d"],
    allowed: Float[np.ndarray, " k"],
) -> Bool[np.ndarray, " k"]:
    """Which images have a flat part at an edge of the box that tells their size to an L2 distance of `allowed`."""
    width = high - low
    told = np.zeros(len(x), bool)
    size = np.linalg.norm(x, axis=1) + TINY
    for edge in (low, high):
        usable = np.abs(edge) > EDGE * width
        near = (np.abs(x - edge) < FLAT_WIDTH * width) & usable
        share = near.mean(1)
        ratio = np.where(near, x / np.where(usable, edge, 1.0), np.nan)
        some = near.any(1)
        at = np.full(len(x), np.inf)
        at[some] = np.nanmedian(ratio[some], axis=1)
        told |= (share > FLAT_SHARE) & (share < 1 - FLAT_SHARE) & (np.abs(at - 1) * size < allowed)
    return told


def touching(
    x: Float[np.ndarray, "k d"], low: Float[np.ndarray, " d"], high: Float[np.ndarray, " d"]
) -> tuple[Bool[np.ndarray, " k"], Bool[np.ndarray, " k"]]:
    """Which images reach the lower and the upper end of the box, where it is not zero."""
    width = high - low
    at_low, at_high = (
        ((np.abs(x - edge) < END_WIDTH * width) & (np.abs(edge) > EDGE * width)).any(1) for edge in (low, high)
    )
    return at_low, at_high


def ends(x: Float[np.ndarray, "k d"], low: Float[np.ndarray, " d"], high: Float[np.ndarray, " d"]) -> bool:
    """Whether the images together reach both ends of the box, neither of them zero, and none passes them."""
    near = END_WIDTH * (high - low)
    if (x < low - near).any() or (x > high + near).any():
        return False
    return all(int(side.sum()) >= END_IMAGES for side in touching(x, low, high))


def fits_biases(
    x: Float[np.ndarray, "k d"],
    ends: Sequence[tuple[Float[np.ndarray, "d w"], Float[np.ndarray, " w"]]],
    active: Bool[np.ndarray, "k w"],
) -> Bool[np.ndarray, " k"]:
    """Which images the biases show to be right in size, of all that they show to be right together.

    A unit whose w·x and b differ in sign changes its state as x grows: those that the gradients show are right on one
    side of that only. All scales count that break at most as many of them as chance adds to the least. So few units
    tell of one image that it takes all images to exclude another rate; each must allow for it by itself.

    Args:
      ends: kernel and biases at each of the known weights; a unit counts as active on an image if it is at one of them.
      active: units whose gradient is not zero at the image.
    """
    low, high = COMMON_RANGE
    scales = np.append(np.geomspace(low, high, COMMON_SCALES), 1.0)
    ahead = [product(x, kernel) for kernel, _ in ends]

    def broken(s: float) -> Bool[np.ndarray, "k w"]:
        wrong: np.ndarray = active != np.any([s * z + b > 0 for z, (_, b) in zip(ahead, ends, strict=True)], axis=0)
        return wrong

    counts = np.array([broken(float(s)).sum(1) for s in scales])  # (scales, images)
    together = counts.sum(1)
    right = together <= allowed(together.min(keepdims=True))
    if not right[-1] or scales[right].min() < 1 - COMMON or scales[right].max() > 1 + COMMON:
        return np.zeros(len(x), bool)
    fits: np.ndarray = counts[-1] <= allowed(counts.min(0))
    return fits


def allowed(least: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Units that a scale may break where the best one breaks `least`: two standard deviations of such a count more."""
    most: np.ndarray = least + 2 * np.sqrt(least) + 3
    return most


def at_targets(
    outputs: Float[np.ndarray, "k c"],
    grown: Float[np.ndarray, "k c"],
    size: Float[np.ndarray, " k"],
    allowed: Float[np.ndarray, " k"],
) -> Bool[np.ndarray, " k"]:
    """At which images the network gives a target, as it does at those that it was trained on to the end.

    Targets are ±1, 0 and 1, one-hot vectors or these less 1/C.

    Args:
      outputs: at the images.
      grown: derivative of the outputs as the image grows by its own size.
      size: L2 norm of the images.
      allowed: L2 distance by which an image's size may be off.
    """
    count = outputs.shape[1]
    sides = [np.where(outputs > 0, 1.0, -1.0), np.where(outputs > 0.5, 1.0, 0.0)]
    if count > 1:
        hot = np.eye(count)[outputs.argmax(1)]
        sides += [hot, hot - 1 / count]
    away = np.min([np.linalg.norm(outputs - side, axis=1) for side in sides], axis=0)
    told: np.ndarray = away < allowed / np.maximum(size, TINY) * np.linalg.norm(grown, axis=1)
    return told
