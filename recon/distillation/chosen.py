"""Sets of real images to compare distilled ones with: chosen from the training images, with their own targets."""

import time
import warnings
from collections.abc import Callable

import numpy as np
import scipy  # its cluster is loaded on first use
from jaxtyping import Float, Int

from recon.arrays import enable_x64
from recon.distillation.base import DistilledSet, groups_of
from recon.distillation.regression import RIDGE, duals, own_kernel
from recon.errors import ReconError
from recon.kernels.infinite import InfiniteMLP
from recon.metrics import distances, greedy


def choose(
    name: str, x: Float[np.ndarray, "n *shape"], y: Float[np.ndarray, "n c"], n_per_class: int, seed: int = 0
) -> DistilledSet:
    """The set called `name`, see `CHOICES`: class by class, in the order of the outputs.

    Args:
      name: how the images are chosen.
      x, y: training images and their targets.
      n_per_class: images of each class; "all" takes every one.
      seed: of what is drawn at random.

    Raises:
      ReconError: there is no such choice, or a class has too few images.
    """
    if name not in CHOICES:
        raise ReconError(f"Unknown choice {name!r}: choose one of {', '.join(CHOICES)}.")
    began = time.perf_counter()
    group = groups_of(y)
    classes = [np.flatnonzero(group == g) for g in np.unique(group)]
    fewest = min(map(len, classes))
    if name != "all" and not 1 <= n_per_class <= fewest:
        raise ReconError(f"Cannot choose {n_per_class} images of a class of {fewest}: choose 1 to {fewest}.")
    index = CHOICES[name](x.reshape(len(x), -1), y, classes, n_per_class, np.random.default_rng(seed))
    return DistilledSet(
        method=name,
        images=x[index],
        labels=y[index],
        start=x[index],
        loss=float("nan"),
        step=0,
        trace=np.zeros((0, 2)),
        steps=0,
        why="chosen",
        seconds={"run": time.perf_counter() - began},
    )


Classes = list[Int[np.ndarray, " _"]]
Choice = Callable[[np.ndarray, np.ndarray, Classes, int, np.random.Generator], Int[np.ndarray, " m"]]
"""(flat images, targets, indices of each class, images a class, generator) → indices of the set."""


def _all(x: np.ndarray, y: np.ndarray, classes: Classes, k: int, rng: np.random.Generator) -> np.ndarray:  # noqa: ARG001
    return np.concatenate(classes)


def _random(x: np.ndarray, y: np.ndarray, classes: Classes, k: int, rng: np.random.Generator) -> np.ndarray:  # noqa: ARG001
    return np.concatenate([rng.choice(mine, k, replace=False) for mine in classes])


def _k_means(x: np.ndarray, y: np.ndarray, classes: Classes, k: int, rng: np.random.Generator) -> np.ndarray:  # noqa: ARG001
    """The nearest image to each centre, each image at most once."""
    chosen = []
    for mine in classes:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "One of the clusters is empty")  # its centre stays where it is
            centres, _ = scipy.cluster.vq.kmeans2(x[mine].astype(np.float64), k, iter=50, minit="++", rng=rng)
        chosen.append(mine[greedy(distances(centres, x[mine])).index])
    return np.concatenate(chosen)


def _largest_alpha(x: np.ndarray, y: np.ndarray, classes: Classes, k: int, rng: np.random.Generator) -> np.ndarray:  # noqa: ARG001
    """The largest dual weights of the infinitely wide network trained on all images."""
    with enable_x64():
        own = own_kernel(InfiniteMLP(), x.astype(np.float64))
        size = np.linalg.norm(np.asarray(duals(own, y.astype(np.float64), RIDGE)), axis=1)
    return np.concatenate([mine[np.argsort(-size[mine], kind="stable")[:k]] for mine in classes])


CHOICES: dict[str, Choice] = {"all": _all, "random": _random, "k-means": _k_means, "largest-alpha": _largest_alpha}
