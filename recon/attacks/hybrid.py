"""Gradient matching first, exact recovery from its images after: for networks too narrow for the exact search alone.

The images of `ntk-fast` need only be near: each gives a pattern of inactive units, which the first layer's change
confirms or refutes. What is confirmed is finished exactly, and the search for the rest starts from there.
"""

from dataclasses import dataclass, replace

import jax
import numpy as np
from jaxtyping import Float, PRNGKeyArray

from recon.attacks import gradient_matching, ntk_fast
from recon.attacks.base import Attack, Problem, Reconstruction, Snapshot
from recon.attacks.exact import recover
from recon.attacks.first_layer.settings import Exact
from recon.metrics import distances
from recon.progress import Report


@dataclass(frozen=True)
class Hybrid:
    """Settings of the two stages.

    Attributes:
      steps: steps of the gradient attack, on the schedule of `ntk-fast`.
      gradient_seconds: stop the gradient attack after so much time (None: no limit).
      seconds: stop the exact stage after so much time (None: no limit).
      starts: stop the exact stage after so many starts of its own (None: as `exact` does).
    """

    steps: int = 2_000
    gradient_seconds: float | None = None
    seconds: float | None = None
    starts: int | None = None


def run(problem: Problem, settings: Hybrid, key: PRNGKeyArray, report: Report) -> Reconstruction:
    """Both stages.

    Returns at least `problem.m` images: those of the exact stage, certified first, then the gradient attack's own
    that are least like them, uncertified.

    Raises:
      ReconError: as the gradient attack.
    """
    k_gradient, k_exact = jax.random.split(key)
    schedule = replace(ntk_fast.SETTINGS, steps=settings.steps, seconds=settings.gradient_seconds)
    near = gradient_matching.run(
        "hybrid", problem, schedule, k_gradient, lambda fraction, text: report(0.7 * fraction, text)
    )
    if near.interrupted:
        unsure = np.zeros(len(near.images))
        none = unsure.astype(bool)
        return replace(near, certified=none, up_to_scale=none, confidence=unsure)
    exact = recover(
        "hybrid",
        problem,
        Exact(seconds=settings.seconds, starts=settings.starts),
        k_exact,
        lambda fraction, text: report(0.7 + 0.3 * fraction, text),
        given=near.images.reshape(len(near.images), -1),
    )
    gradient_flops = near.steps * near.work["flops_per_step"]
    whole = filled(exact.images, near.images, problem.m)
    unsure = np.zeros(len(whole) - len(exact.images))
    first = Snapshot(near.steps, near.seconds["run"], gradient_flops, near.images)
    later = (
        Snapshot(
            near.steps + s.step,
            near.seconds["run"] + s.seconds,
            gradient_flops + s.flops,
            filled(s.images, near.images, problem.m),
        )
        for s in exact.snapshots
    )
    return replace(
        exact,
        images=whole,
        start=near.start,
        duals=None,
        certified=np.concatenate([exact.certified, unsure.astype(bool)]),
        up_to_scale=np.concatenate([exact.up_to_scale, unsure.astype(bool)]),
        confidence=np.concatenate([exact.confidence, unsure]),
        labels=None if exact.labels is None else np.concatenate([exact.labels, np.full(len(unsure), -1)]),
        work={
            **near.work,
            **exact.work,
            "gradient_steps": near.steps,
            "given": float(exact.trace[0, 1]) if len(exact.trace) else 0.0,
            "flops": gradient_flops + exact.work["flops"],
        },
        seconds={**near.seconds, "gradient": near.seconds["run"], "run": near.seconds["run"] + exact.seconds["run"]},
        snapshots=(*near.snapshots, first, *later),
    )


def filled(
    found: Float[np.ndarray, "k *shape"], near: Float[np.ndarray, "j *shape"], m: int
) -> Float[np.ndarray, "i *shape"]:
    """What the exact stage found, filled up to `m` images with those of the gradient attack that are least like it."""
    flat, known = (x.reshape(len(x), int(np.prod(near.shape[1:]))) for x in (near, found))
    far = distances(flat, known).min(1, initial=np.inf)  # of each from the nearest that was found
    rest = near[np.argsort(-far, kind="stable")[: max(m - len(found), 0)]]
    return np.concatenate([found, rest])


ATTACK = Attack("hybrid", "gradient matching, then exact recovery from its images", Hybrid(), run, relu_only=True)
