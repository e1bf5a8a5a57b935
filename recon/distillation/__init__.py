"""Distillation methods by name, behind one call. A new method is one file in this package that defines `METHOD`."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, PRNGKeyArray

from recon.distillation.base import DistilledSet, Method, Problem
from recon.distillation.score import finite_accuracy, infinite_accuracy
from recon.errors import ReconError
from recon.progress import Report, reporter
from recon.registry import changed, defined
from recon.tasks import TaskData

__all__ = ["DistilledSet", "Method", "Problem", "distill", "finite_accuracy", "infinite_accuracy", "methods"]

Arrays = tuple[np.ndarray, np.ndarray]
"""Images (n, *shape) in the network's input space, and targets (n, c)."""


def methods() -> dict[str, Method]:
    """Every method of the package, by name."""
    return defined(__name__, "METHOD")


def with_options(name: str, options: Mapping[str, Any]) -> tuple[Method, Any]:
    """The method called `name`, and its settings with `options` changed; see `recon.registry.changed`."""
    return changed(methods(), "method", name, options)


def distill(
    data: TaskData | Arrays,
    n_per_class: int,
    *,
    method: str = "rkip",
    key: PRNGKeyArray | int = 0,
    held_out: Arrays | None = None,
    progress: bool | Report = True,
    **options: Any,
) -> DistilledSet:
    """Make a small training set from a large one.

    Args:
      data: a task's draw, of which the training images are distilled; or images and targets, −1 and +1 in one column,
        or a row for each class with its largest entry at the class.
      n_per_class: images of each class.
      method: name of the method, see `methods()`.
      key: PRNG key, or a seed.
      held_out: images and targets to choose the stopping point with (default: the task's held-out images).
      progress: show a progress bar, or a `Report` to call.
      **options: settings of the method to change, by name.

    Returns:
      The set; after Ctrl-C the best so far, with `interrupted` true.

    Raises:
      ReconError: unknown method or option, images or targets that cannot be used, or the loss stopped being finite.
    """
    solver, settings = with_options(method, options)
    box, mean, names = None, None, None
    if isinstance(data, TaskData):
        x, y = data.train.x, data.train.y
        box, mean, names = data.box, data.mean, tuple(data.task.groups) or None
        held_out = held_out or (data.held_out.x, data.held_out.y)
    else:
        x, y = data
    x, y = _checked(x, y, "training")
    if held_out is not None:
        held_out = _checked(*held_out, "held-out")
        if held_out[0].shape[1:] != x.shape[1:] or held_out[1].shape[1:] != y.shape[1:]:
            raise ReconError("Held-out images or targets are not shaped like the training ones: give such.")
    if n_per_class < 1:
        raise ReconError(f"Cannot distil to {n_per_class} images a class: choose at least 1.")
    each = class_targets(y)
    problem = Problem(x, y, np.repeat(each, n_per_class, axis=0), held_out, box)
    rng = jax.random.key(key) if isinstance(key, int) else key
    with reporter(f"distillation {method}", progress) as report:
        found = solver.run(problem, settings, rng, report)
    return dataclasses.replace(
        found,
        mean=np.zeros(1, np.float32) if mean is None else mean,
        classes=names or tuple(str(i) for i in range(len(each))),
    )


def class_targets(y: Float[np.ndarray, "n c"]) -> Float[np.ndarray, "classes c"]:
    """The target of each class, in the order of the outputs: of one output the lower one first.

    Raises:
      ReconError: there are not two different targets for one output, or one for each of several.
    """
    rows = np.unique(y, axis=0)
    if y.shape[1] > 1:
        rows = rows[np.argsort(rows.argmax(axis=1), kind="stable")]
    right = len(rows) == 2 if y.shape[1] == 1 else np.array_equal(rows.argmax(axis=1), np.arange(y.shape[1]))
    if not right:
        raise ReconError(
            f"{len(rows)} different targets of {y.shape[1]} outputs are not those of classes: give -1 and +1 in one "
            "column, or one row for each class, with its largest entry at the class."
        )
    return rows


def _checked(x: np.ndarray, y: np.ndarray, which: str) -> Arrays:
    """Images and targets as float32.

    Raises:
      ReconError: they do not fit each other, or are not finite.
    """
    x, y = np.asarray(x, np.float32), np.asarray(y, np.float32)
    if x.ndim < 2 or y.ndim != 2 or len(x) != len(y) or not x.size or not y.size:
        raise ReconError(f"The {which} images {x.shape} and targets {y.shape} must be (n, *shape) and (n, c), n >= 1.")
    if not np.isfinite(x).all() or not np.isfinite(y).all():
        raise ReconError(f"The {which} images or targets hold values that are not finite: remove them.")
    return x, y
