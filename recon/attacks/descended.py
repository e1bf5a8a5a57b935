"""The result of an attack that was one descent on flat or shaped images, whatever it descended on."""

import numpy as np
from jaxtyping import Float

from recon.arrays import Tensor
from recon.attacks.base import Problem, Reconstruction, Snapshot
from recon.attacks.gradient_matching import Descended


def result(
    attack: str,
    problem: Problem,
    done: Descended,
    start: Tensor,
    seconds: dict[str, float],
    work: dict[str, float | int],
    duals: Float[Tensor, "p m c"] | None = None,
) -> Reconstruction:
    """The reconstruction that a descent on the variable "x" ended at.

    Args:
      start: images that it started from.
      seconds: of tracing and compiling.
      work: of a step, "flops_per_step" among it.
    """
    shape = problem.m, *problem.image_shape
    last, _, steps, _ = done.state
    flops = work["flops_per_step"]
    return Reconstruction(
        attack=attack,
        images=np.asarray(last["x"]).reshape(shape),
        start=np.asarray(start).reshape(shape),
        duals=None if duals is None else np.asarray(duals),
        trace=done.trace,
        steps=steps,
        why=done.why,
        work=work | {"flops": steps * flops},
        seconds=seconds | {"run": done.seconds},
        snapshots=tuple(Snapshot(at, when, at * flops, np.asarray(x).reshape(shape)) for at, when, x in done.kept),
    )
