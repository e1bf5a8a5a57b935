"""RKIP-finite: the attack on a network of finite width, with fewer images than it was trained on."""

import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import jax
import numpy as np
from jaxtyping import Float, PRNGKeyArray

from recon.arrays import enable_x64
from recon.attacks import reconstruct
from recon.distillation.base import DistilledSet, Method, Problem
from recon.dynamics import Dynamics, GradientFlow, Linearised, train
from recon.errors import ReconError
from recon.kernels import as_matrix, ntk
from recon.networks import MLP, Params
from recon.progress import Report

ATTACKS = {"adam": "ntk", "fast": "ntk-fast"}


@dataclass(frozen=True)
class FiniteDistillation:
    """Settings of RKIP-finite.

    Attributes:
      network: architecture; its number of outputs is set by the targets.
      dynamics: how it is trained on all images.
      optimiser: "adam", the attack as published, or "fast", the same objective on a fast schedule.
      options: settings of the attack that differ from its own.
    """

    network: MLP = field(default_factory=lambda: MLP((1024, 1024)))
    dynamics: Dynamics = field(default_factory=GradientFlow)
    optimiser: Literal["fast", "adam"] = "fast"
    options: Mapping[str, Any] = field(default_factory=dict)


def labels_of(
    network: MLP, params: Params, images: Float[np.ndarray, "m *shape"], alpha: Float[np.ndarray, "m c"]
) -> Float[np.ndarray, "m c"]:
    """K(S, S) α: the labels whose regression on the images with the network's kernel has the duals α; in float64."""
    with enable_x64():
        p64 = jax.tree.map(lambda a: np.asarray(a, np.float64), params)
        kernel = np.asarray(as_matrix(ntk(network, p64, np.asarray(images, np.float64))))
    labels: np.ndarray = (kernel @ np.asarray(alpha, np.float64).ravel()).reshape(alpha.shape)
    return labels.astype(np.float32)


def distil(problem: Problem, settings: FiniteDistillation, key: PRNGKeyArray, report: Report) -> DistilledSet:
    """Train on all images, attack with as many images as the set has, label them by the attack's duals.

    Raises:
      ReconError: an unknown optimiser or option, several points of the path, or training or the attack failed.
    """
    if settings.optimiser not in ATTACKS:
        raise ReconError("optimiser is 'fast' or 'adam'.")
    if len(settings.options.get("points", (1.0,))) != 1:
        raise ReconError("RKIP-finite labels images by the duals at one point of the path: give points one number.")
    clock = time.perf_counter()
    network = dataclasses.replace(settings.network, outputs=problem.y.shape[1])
    linearised = isinstance(settings.dynamics, Linearised)
    k_init, k_attack = jax.random.split(key)
    params0 = jax.tree.map(np.asarray, network.init(k_init, int(np.prod(problem.x.shape[1:]))))
    trained = train(
        network, params0, problem.x, problem.y, settings.dynamics, lambda f, text: report(0.3 * f, f"training: {text}")
    )
    took = time.perf_counter() - clock
    m = len(problem.labels)
    found = reconstruct(
        params0,
        trained.final.params,
        attack=ATTACKS[settings.optimiser],
        image_shape=problem.x.shape[1:],
        box=problem.box,
        m=m,
        linearised=linearised,
        key=k_attack,
        progress=lambda f, text: report(0.3 + 0.7 * f, f"attack: {text}"),
        **settings.options,
    )
    if found.duals is None:
        raise ReconError(f"The attack {found.attack} ended without duals to label images by ({found.why}): let it run.")
    (s,) = (0.0,) if linearised else settings.options.get("points", (1.0,))
    point: Params = jax.tree.map(lambda a, b: a + s * (b - a), params0, trained.final.params)
    return DistilledSet(
        method="rkip-finite",
        images=found.images,
        # The attack's sum over images is divided by their number.
        labels=labels_of(network, point, found.images, found.duals[0] / m),
        start=found.start,
        loss=float(found.trace[-1, 1]) if len(found.trace) else float("inf"),
        step=found.steps,
        trace=found.trace,
        steps=found.steps,
        why=found.why,
        settings={**dataclasses.asdict(settings), "dynamics": type(settings.dynamics).__name__},
        work=found.work,
        seconds={"train": took, **found.seconds},
    )


METHOD = Method("rkip-finite", "the attack on a finite network, with few images", FiniteDistillation(), distil)
