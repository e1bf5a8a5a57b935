"""Exact recovery through convolutions: the dense layers' inputs first, then the images that have them as features.

The dense layers behind convolutions are a plain network of the flattened features. The gradient of its first layer is
Σ_i (h_i; 1) G_iᵀ with h_i the features of image i. So `exact` recovers and certifies the features, where all gradients
were taken at θ₀ (one step, a linearised model) or the convolutions are frozen. Then each image is found from its
features (`recon.attacks.inversion`), and is vouched for if its features are the certified ones and determine it. Where
convolutions are trained on, features move from step to step, and the rank blurs.
"""

import time
from dataclasses import dataclass, replace
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, PRNGKeyArray

from recon.attacks.base import Attack, Problem, Reconstruction, Tree
from recon.attacks.exact import observed, recover
from recon.attacks.first_layer import scale
from recon.attacks.first_layer.certificate import OWN_SCALE, promised_in
from recon.attacks.first_layer.settings import Exact
from recon.attacks.inversion import Box, Convolutions, inverted, moved_by_noise
from recon.networks.conv_dense import ConvDense, dense_part
from recon.progress import Report

BLANK = 0.02  # standard deviation of an image, in widths of the box, below which it is none
MOVED = "the convolutions were trained, so that the features moved from step to step"
LEAST_NOISE = 1e-6  # of the features' rms: they come in float32


@dataclass(frozen=True)
class ExactFeatures(Exact):
    """Settings of the features' recovery, and of what follows.

    Attributes:
      repairs: rounds of repairs of the images, at most.
    """

    repairs: int = 40


def of_features(problem: Problem) -> Problem:
    """The dense layers' problem, with features in the images' place."""
    network = problem.network
    assert isinstance(network, ConvDense)  # `reconstruct` gives it no other
    before, after = dense_part(problem.params0), dense_part(problem.params1)
    state = None if problem.state is None else dense_part(problem.state)
    shape = (before["Dense_0"]["kernel"].shape[0],)
    gradient = None if problem.gradient is None else dense_part(problem.gradient)
    update = None if problem.update is None else dense_part(problem.update)
    inner = Problem(network.head, before, after, shape, None, problem.linearised, problem.m, state)
    return replace(inner, gradient=gradient, update=update)


def fixed(problem: Problem) -> bool:
    """Whether the features were the same in every step."""
    change = problem.change
    return problem.linearised or not any(
        np.any(part) for name in change if name.startswith("Conv_") for part in change[name].values()
    )


def halfway(problem: Problem) -> Tree:
    """Weights of the convolutions that the features are inverted with: those half-way, where they moved."""
    if fixed(problem):
        return problem.params0
    middle: Tree = jax.tree.map(lambda a, b: (a + b) / 2, problem.params0, problem.params1)
    return middle


def noise_of(h: Float[np.ndarray, "k f"], inner: Problem) -> Float[np.ndarray, " k"]:
    """Standard deviation of what is wrong with each image's recovered features, as far as they tell.

    Rounding of the weights moves the features' span: column k of U is off by noise / s_k. Features of ReLU are zero or
    more, so that what is below zero is half of the noise of those that are zero.
    """
    if not len(h):
        return np.ones(0)
    seen = observed(inner)
    c = np.concatenate([h, np.ones((len(h), 1))], axis=1)[:, : len(seen.u)] @ seen.u
    rounding = seen.noise * np.linalg.norm(c / seen.s, axis=1)
    below = [np.sqrt(np.mean(row[row < 0] ** 2)) for row in h if (row < 0).any() and inner.network.units.leak == 0]
    least = LEAST_NOISE * np.sqrt(np.mean(h * h))
    noise: np.ndarray = np.maximum(rounding, max(least, np.median(rounding), np.median(below) if below else 0.0))
    return noise


def sized(x: Float[np.ndarray, "k d"], box: Box) -> Bool[np.ndarray, " k"]:
    """Which images' own pixels tell that they are of the right size."""
    if not box.known or not len(x):
        return np.zeros(len(x), bool)
    pixels = scale.grid(x, box.low, box.high)
    told: np.ndarray = (pixels.on & (pixels.factor == 1)) | scale.flat(
        x, box.low, box.high, OWN_SCALE * promised_in(x, box.width)
    )
    return told


class Counts(NamedTuple):
    """How many images pass each check, of those that pass the ones before.

    Attributes:
      found: in all.
      matched: that have their features.
      trusted: whose features are vouched for, but for their scale.
      told: that their features determine, near enough.
      sized: whose scale something confirms.
    """

    found: int
    matched: int
    trusted: int
    told: int
    sized: int

    def doubts(self, of_features: tuple[str, ...], known: bool) -> tuple[str, ...]:
        """Why not all images are certified, each reason as a sentence without its stop.

        Args:
          of_features: those of `exact` on the features.
          known: the features were the same in every step.
        """
        k, matched, trusted, told, sized = self
        words = [f"of the features: {doubt}" for doubt in of_features if trusted < matched or sized < told or not k]
        if not known:
            words.append(MOVED)
        if matched < k:
            words.append(f"of {k - matched} of {k} images none was found that has their features")
        if told < trusted:
            words.append(
                f"the features do not determine {trusted - told} of {k} images: too few of them are not zero, or they "
                "are too coarse"
            )
        if sized < told:
            words.append(f"nothing but the change of the first dense biases tells the size of {told - sized} images")
        return tuple(words)


def run(problem: Problem, settings: ExactFeatures, key: PRNGKeyArray, report: Report) -> Reconstruction:
    """Recover the features, then their images, each with its own check; certified images come first.

    Raises:
      ReconError: as `exact` does of the dense layers.
    """
    inner = of_features(problem)
    found = recover("exact-features", inner, settings, key, lambda done, text: report(0.5 * done, text))
    assert found.certified is not None
    assert found.up_to_scale is not None
    began = time.perf_counter()
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key), np.uint32))
    convolutions = Convolutions(problem.network, halfway(problem), problem.image_shape)  # type: ignore[arg-type]
    box = Box.of(problem.box, problem.image_shape)
    h = found.images.astype(np.float64)
    noise, known = noise_of(h, inner), fixed(problem)
    repairs = 0 if found.interrupted else settings.repairs
    made = inverted(
        convolutions,
        h,
        float(np.median(noise)) if len(h) else 1.0,
        box,
        repairs,
        rng,
        lambda done, text: report(0.5 + 0.5 * done, text),
    )
    trusted = made.matched & found.up_to_scale & known
    moved = np.full(len(h), np.inf)
    for i in np.flatnonzero(trusted):
        moved[i] = moved_by_noise(convolutions, made.x[i], h[i], float(noise[i]), box)
    up_to_scale = (moved < promised_in(made.x, box.width if box.known else None)) & (made.x.std(1) > BLANK * box.width)
    certified = up_to_scale & (found.certified | sized(made.x, box))
    counts = Counts(len(h), *(int(which.sum()) for which in (made.matched, trusted, up_to_scale, certified)))
    order = np.lexsort((~made.matched, moved, ~up_to_scale, ~certified))
    shape = -1, *problem.image_shape
    start = box.noise(rng, problem.m)
    return Reconstruction(
        attack="exact-features",
        images=made.x[order].astype(np.float32).reshape(shape),
        start=start.astype(np.float32).reshape(shape),
        trace=found.trace,
        steps=found.steps,
        why="interrupted" if made.interrupted or found.interrupted else found.why,
        certified=certified[order],
        up_to_scale=up_to_scale[order],
        doubts=counts.doubts(found.doubts, known),
        n_estimated=found.n_estimated,
        work=found.work | {"features": len(h), "matched": int(made.matched.sum())},
        seconds=found.seconds | {"run": found.seconds["run"] + time.perf_counter() - began},
        spectrum=found.spectrum,
    )


ATTACK = Attack(
    "exact-features",
    "exact recovery of the features of convolutions, then of their images",
    ExactFeatures(),
    run,
    networks=ConvDense,
    descends=False,
)
