"""Whether given images were trained on, by the span of the first layer's change: an answer where no search finds any.

The kernel's change is Z = Σ_i x_i G_iᵀ, so that every training image lies in its column space, however many there are
below the numbers of inputs and units, and another image does not. What is known is Z with its rounding errors E. A
training image is x = Z w with w = V S⁻¹ Uᵀ x, and so lies off the known span by E w, whose size follows from w and from
the errors that the change shows beyond its rank. That is the threshold of each image: nothing is chosen but how rare a
larger error may be. Multiples of an image lie in the span with it. The first layer's biases, if they were trained as
the kernel was, tell them apart: then (x; 1) lies in the span of [ΔW₁; Δb₁].

The converse needs a control. Where there are as many training images as their kind of image has dimensions, all images
of the kind lie in the span (MNIST: digits span about 600 of 784 dimensions), and the spectrum may have its gap there
all the same. So images in the span are members only if held-out ones are not. A mixture of training images, with
biases one whose weights add up to one, lies in the span without being a training image. And a training image lies
outside that left no trace of its own: its G_i is below rounding, or parallel to that of a near duplicate, as after
linearised training of one output where the two are active on the same units: then a mixture of the two takes their
place. So the answer was wrong on the 2 near duplicates of 20 images in each of ten linearised networks (L2 0.01 apart,
of different targets), and on none of them after standard training.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float
from scipy import special

from recon import statistics
from recon.attacks.base import Problem, Tree
from recon.attacks.exact import in_standard_parametrisation, observed
from recon.attacks.first_layer.certificate import FIXED_GAP, fixed, why_unclear
from recon.attacks.first_layer.observe import EPSILON, Observed
from recon.attacks.rank import TINY
from recon.errors import ReconError
from recon.networks import MLP, from_params
from recon.statistics import Estimate

Answer = Literal["member", "multiple", "not", "no answer"]

CHANCE = 1e-6  # that errors of one size in every weight put a training image beyond the threshold
# Errors are not of one size, as larger weights are rounded more. Members came to 0.2 to 1.15 times what is expected of
# errors of one size in 1,500 images of MNIST and 1,800 of CIFAR-10 on networks of 1,024 units after standard training,
# and to 1.5 times in networks that other code trained in float32.
UNEVEN = 1.5
INPUT = 4 * EPSILON  # relative error of an image's own numbers: pixels are normalised in float32, in some order
COARSE = 0.01  # of an image's length: with a larger threshold, another image that looks the same would pass, too
# Multiple of the threshold from which an image was surely not trained on. Images with noise of 0.01 that differed in
# every step of training came to 0.9 to 4, training images with one pixel wrong by one level of 255 to 1.2 and more,
# held-out ones to 600 and more.
BEYOND = 10.0
# Directions that must be left beyond the rank to see rounding by. With 60 images on 48 units the largest gap was before
# the 48th direction, and all of the images lay outside the span of the rest.
SPARE = 8
# Noise of about one size: of the directions beyond the rank the largest is at most so many times that of this place
# among them. It was 1.2 to 3.1 times in networks of this package, 5 with an optimiser's state, up to 8 in others'.
PLACE, EVEN = 0.75, 30.0
NIL = 1e-12  # entries of singular vectors that are zero but for float64
MOST, FEWEST = 0.01, 10  # share of held-out images in the span above which, and number of them below which, none tells


@dataclass(frozen=True)
class Placed:
    """Where images are.

    Attributes:
      distance: from the span, relative to the image's length.
      threshold: what rounding may leave of it, likewise.
    """

    distance: Float[np.ndarray, " k"]
    threshold: Float[np.ndarray, " k"]

    @property
    def inside(self) -> Bool[np.ndarray, " k"]:
        """Which lie in the span, as far as rounding allows to tell."""
        return np.asarray(self.distance <= self.threshold)


@dataclass(frozen=True)
class Membership:
    """Which of some images were trained on.

    Attributes:
      images, held_out: where they are in the span of the kernel's change; None where no held-out images were given.
      sized: which images the first layer's biases confirm at their own size; none where these were trained otherwise.
      rank, gap: dimension of the span, and the ratio of the singular values on its two sides.
      clear: whether the change holds a set of images and rounding, so that distances to its span tell anything.
      why: why images in the span are not called members, a sentence without its stop; empty where they are.
    """

    images: Placed
    held_out: Placed | None
    sized: Bool[np.ndarray, " k"]
    rank: int
    gap: float
    clear: bool
    why: str

    @cached_property
    def answers(self) -> tuple[Answer, ...]:
        """For each image.

        "member": it was trained on; "multiple": some multiple of it was; "not": it was not, or left no trace of its
        own; or "no answer".
        """
        there = self.images.inside & (not self.why) & (self.images.threshold <= COARSE)
        away = self.clear & (self.images.distance > BEYOND * self.images.threshold)
        told = np.select([there & self.sized, there, away], ["member", "multiple", "not"], "no answer")
        return tuple(told.tolist())

    @property
    def false_positives(self) -> Estimate | None:
        """Share of the held-out images that lie in the span, with its interval; None where there are none."""
        if self.held_out is None:
            return None
        return statistics.share(self.held_out.inside, np.arange(len(self.held_out.distance)))


def membership(
    params0: Mapping[str, Mapping[str, Any]],
    params1: Mapping[str, Mapping[str, Any]],
    images: Float[np.ndarray, "k *shape"],
    held_out: Float[np.ndarray, "m *other"] | None = None,
    *,
    network: MLP | None = None,
    state: Mapping[str, Mapping[str, Any]] | None = None,
    update: Mapping[str, Mapping[str, Any]] | None = None,
) -> Membership:
    """Tell which images a network was trained on: whether each lies in the span of the first layer's change.

    Args:
      params0, params1: weights before and after training, as `recon.reconstruct` takes them, of a network whose first
        layer is dense, of any activation.
      images: to test, exactly as the network would take them: a change of one grey level makes another image.
      held_out: images of the same kind that were surely not trained on, the control. Without, no image is a member.
      network: the architecture, where its weights act with factors (default: as the weights tell).
      state, update: the optimiser's state, and the change by itself, as `recon.reconstruct` takes them.

    Raises:
      ReconError: weights or images that do not fit each other, or are not finite.
    """
    trees = [
        {name: {part: np.asarray(a) for part, a in layer.items()} for name, layer in tree.items()}
        for tree in (params0, params1, *(tree for tree in (state, update) if tree is not None))
    ]
    network = from_params(trees[0]) if network is None else network
    shapes = [{part: a.shape for part, a in tree["Dense_0"].items()} for tree in trees]
    if any(shape != shapes[0] for shape in shapes):
        raise ReconError("The first layers are not of one shape: give weights, and a state, of the same network.")
    if not all(np.isfinite(a).all() for tree in trees for a in tree["Dense_0"].values()):
        raise ReconError("The first layer holds values that are not finite: give weights of a network that computes.")
    dim = len(trees[0]["Dense_0"]["kernel"])
    tested, control = flat(images, dim), None if held_out is None else flat(held_out, dim)
    first, last = trees[:2]
    held: dict[str, Any] = {
        "state": None if state is None else trees[2],
        "update": None if update is None else trees[-1],
    }
    problem, share = in_standard_parametrisation(Problem(network, first, last, (dim,), None, False, 1, **held))
    kernel = kernels(problem)
    if not np.any((kernel.change if kernel.state is None else kernel.state)["Dense_0"]["kernel"]):
        raise ReconError("The first layer's kernel did not change: give weights from before and after training.")
    seen = observed(kernel)
    others = None if control is None else placed(seen, control)
    unclear = why_nothing(kernel, seen)
    why = unclear or why_no_member(others)
    whole = observed(problem, share)
    sized = placed(whole, tested).inside & (whole.bias and whole.n == seen.n)
    return Membership(placed(seen, tested), others, sized, seen.n, seen.gap, not unclear, why)


def kernels(problem: Problem) -> Problem:
    """The same with the first layer's kernel alone."""

    def first(tree: Tree) -> Tree:
        return {"Dense_0": {"kernel": tree["Dense_0"]["kernel"]}}

    trees = {name: getattr(problem, name) for name in ("params0", "params1", "state", "update")}
    made: dict[str, Any] = {name: first(tree) for name, tree in trees.items() if tree is not None}
    return replace(problem, **made)


def flat(images: Float[np.ndarray, "k *shape"], dim: int) -> Float[np.ndarray, "k d"]:
    """Images as rows of `dim` numbers in float64."""
    x = np.asarray(images, np.float64)
    if x.ndim < 2 or not len(x) or x[0].size != dim or not np.isfinite(x).all():
        raise ReconError(f"The images are of shape {x.shape}: give finite ones of {dim} numbers each, (n, {dim}).")
    return x.reshape(len(x), dim)


def placed(seen: Observed, x: Float[np.ndarray, "k d"]) -> Placed:
    """Distances of images to the span, and the most that rounding leaves of them if they lie in it.

    Where biases take part, each image has a one for them.
    """
    y = np.concatenate([x, np.ones((len(x), 1))], axis=1) if seen.bias else x
    length = np.maximum(np.linalg.norm(y, axis=1), TINY)
    c = y @ seen.u
    distance = np.linalg.norm(y - c @ seen.u.T, axis=1) / length
    distance[~y.any(1)] = np.inf  # nothing lies in every span
    # E w lies off the span and w in the row space: of the errors, the part beyond both is seen.
    inputs, units = sides(seen)
    free, beyond = max(inputs - seen.n, 1), max(units - seen.n, 1)
    rest = seen.noise / max(seen.tail, TINY) * np.sqrt(inputs * units / beyond)  # norm of E w for a w of length one
    largest = UNEVEN * np.sqrt(special.chdtri(free, CHANCE) / free)
    return Placed(distance, np.hypot(largest * rest * np.linalg.norm(c / seen.s, axis=1) / length, INPUT))


def sides(seen: Observed) -> tuple[int, int]:
    """Numbers of the inputs and of the units that the change depends on at all."""
    largest = np.abs(seen.u).max(axis=1), np.abs(seen.v).max(axis=0)
    return int(np.count_nonzero(largest[0] > NIL)), int(np.count_nonzero(largest[1] > NIL))


def even(problem: Problem, seen: Observed) -> bool:
    """Whether what the change holds beyond its rank is noise of about one size, without images of a faint trace."""
    first, last = (np.asarray(tree["Dense_0"]["kernel"], np.float64) for tree in (problem.params0, problem.params1))
    held = problem.state
    if problem.update is not None:
        last = first + problem.update["Dense_0"]["kernel"]
    if held is None:
        z = last - seen.decay[0] * first
    else:
        z = np.asarray(held["Dense_0"]["kernel"], np.float64) - seen.added * last
    rest = z - seen.u @ (seen.u.T @ z)
    squares = np.linalg.eigvalsh(rest @ rest.T if len(rest) < len(rest.T) else rest.T @ rest)[::-1]
    place = int(PLACE * (min(sides(seen)) - seen.n))
    return bool(squares[0] <= EVEN**2 * squares[place])


def why_nothing(problem: Problem, seen: Observed) -> str:
    """Why distances to the span tell nothing, or nothing."""
    if seen.gap <= FIXED_GAP:
        return why_unclear(seen)
    if min(sides(seen)) < seen.n + SPARE:
        return "there are nearly as many images as inputs or units, or more, so that the change does not show its rank"
    if not (fixed(seen) and even(problem, seen)):
        return (
            f"beyond its rank of {seen.n} the first layer's change holds more than rounding, as where images were not "
            "the same in every step, or some of them left a much fainter trace than others"
        )
    return ""


def why_no_member(control: Placed | None) -> str:
    """Why images in the span may be none that were trained on, or nothing."""
    if control is None:
        return "no held-out images were given, to see whether they lie in the span, too"
    count, inside = len(control.distance), int(control.inside.sum())
    if inside > MOST * count:
        return (
            f"{inside} of {count} held-out images lie in the span, too: it is not that of the training images alone, "
            "which are as many as such images have dimensions, or some of the held-out images were trained on"
        )
    return "" if count >= FEWEST else f"{count} held-out images are too few to tell: give {FEWEST} or more"
