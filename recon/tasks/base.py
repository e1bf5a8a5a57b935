"""What a task is, and the arrays it gives: balanced, seeded, mean-subtracted, with controls and a test split."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int64

from recon.data import ImageSet, fingerprint, load_images
from recon.errors import ReconError


@dataclass(frozen=True)
class Task:
    """A classification task over the classes of a data set.

    Attributes:
      name: as on the command line.
      title: as in figures.
      dataset: data set name, or None for a folder's own classes.
      groups: for each output class, in order, the data set's classes that it is made of. Two groups give one output
        with targets −1 and +1; C > 2 groups give C outputs with targets one-hot − 1/C. Empty: every class by itself.
      recognisable: L2 distance under which a reconstruction counts as recognisable, None where nobody has set one.
    """

    name: str
    title: str
    dataset: str | None
    groups: Mapping[str, tuple[str, ...]]
    recognisable: float | None = None


@dataclass(frozen=True)
class Split:
    """Images in the network's input space.

    Attributes:
      x: pixels/255 minus the training set's mean.
      y: targets.
      labels: index of each image's class in the data set's own classes.
      fingerprint: of the 8-bit pixels and labels, in order.
    """

    x: Float32[np.ndarray, "n h w c"]
    y: Float32[np.ndarray, "n outputs"]
    labels: Int64[np.ndarray, " n"]
    fingerprint: str

    def __len__(self) -> int:
        """Number of images."""
        return len(self.x)


@dataclass(frozen=True)
class TaskData:
    """The arrays of one draw of a task.

    Attributes:
      task, source: what it is and where the pictures came from.
      train, held_out, test: training images; as many disjoint images of the same kind, for controls; the test split
        (empty where the source has none).
      pool: number of images that training and held-out ones were drawn from.
      mean: what was subtracted, by channel (the scalar mean of a grey set).
      box: the least and the greatest value an input can take, by channel: (0 − mean, 1 − mean).
    """

    task: Task
    source: str
    train: Split
    held_out: Split
    test: Split
    pool: int
    mean: Float32[np.ndarray, " c"]
    box: tuple[Float32[np.ndarray, " c"], Float32[np.ndarray, " c"]]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels)."""
        h, w, c = self.train.x.shape[1:]
        return h, w, c

    @property
    def outputs(self) -> int:
        """Number of network outputs."""
        return int(self.train.y.shape[1])

    def pixels(self, x: np.ndarray) -> np.ndarray:
        """Inputs (..., h, w, c) as displayable pixels, clipped to [0, 1]."""
        shown: np.ndarray = np.clip(x + self.mean, 0.0, 1.0)
        return shown


def targets(group: np.ndarray, n_groups: int) -> Float32[np.ndarray, "n outputs"]:
    """−1/+1 for two groups, one-hot − 1/C for C > 2. `group` holds (n,) integers in [0, n_groups)."""
    if n_groups == 2:
        return (2.0 * group[:, None] - 1.0).astype(np.float32)
    return np.asarray(np.eye(n_groups)[group] - 1.0 / n_groups, np.float32)


def _groups(task: Task, pool: ImageSet) -> tuple[tuple[str, ...], np.ndarray]:
    """Group names, and the group of each image (−1: in none)."""
    if not task.groups:
        return pool.classes, pool.labels
    missing = sorted({c for cs in task.groups.values() for c in cs} - set(pool.classes))
    if missing:
        raise ReconError(
            f"{task.name} needs classes {', '.join(missing)}, which {pool.source} does not have: name the class "
            "folders so, or use the task `pictures`, which takes any classes."
        )
    of_class = np.full(len(pool.classes), -1)
    for i, members in enumerate(task.groups.values()):
        for member in members:
            of_class[pool.classes.index(member)] = i
    return tuple(task.groups), of_class[pool.labels]


def _group_order(pool: ImageSet, group: np.ndarray, n_groups: int, seed: int) -> list[np.ndarray]:
    """For each group, its distinct images in seeded order, whatever order the source stores them in."""
    rng = np.random.default_rng(seed)
    distinct = np.array(pool.distinct, np.int64)
    return [rng.permutation(distinct[group[distinct] == g]) for g in range(n_groups)]


def load(
    task: Task,
    n_train: int,
    *,
    seed: int,
    n_test: int | None = None,
    source: str = "auto",
    data_dir: str | os.PathLike[str] | None = None,
    images: str | os.PathLike[str] | None = None,
) -> TaskData:
    """Draw a task: `n_train` balanced training images and as many held-out ones, chosen by `seed` and content alone.

    Args:
      task: what to draw.
      n_train: number of training images, a multiple of the number of classes.
      seed: chooses the images.
      n_test: at most this many test images (None: all).
      source: see `recon.data.load_images`; so for the next two.
      data_dir: a prepared TFDS directory.
      images: a folder of class folders.

    Raises:
      ReconError: the data are not there, are too few, or `n_train` does not split evenly over the classes.
    """
    where = {"source": source, "data_dir": data_dir, "images": images}
    pool = load_images(task.dataset, "train", **where)  # type: ignore[arg-type]
    names, group = _groups(task, pool)
    n_groups = len(names)
    if n_train < n_groups or n_train % n_groups:
        raise ReconError(f"N = {n_train} does not give the {n_groups} classes of {task.name} equal shares: "
                         f"choose a positive multiple of {n_groups}.")  # fmt: skip
    order = _group_order(pool, group, n_groups, seed)
    share, have = n_train // n_groups, min(map(len, order))
    if 2 * share > have:
        fixes = [f"choose N up to {have // 2 * n_groups}"] if have >= 2 else []
        fixes += ["add pictures"] if images else ["run `make data` for the full set"] if source != "tfds" else []
        raise ReconError(
            f"{task.name} with N = {n_train} takes {2 * share} images of each class (as many held out as trained on), "
            f"and of one class {pool.source} has {have}: {', or '.join(fixes) or 'choose another task'}."
        )
    chosen = np.concatenate([o[:share] for o in order])
    control = np.concatenate([o[share : 2 * share] for o in order])
    # The scalar mean of a grey set and the mean by channel of a colour set are the same formula.
    mean = (pool.images[chosen].astype(np.float64) / 255).mean(axis=(0, 1, 2)).astype(np.float32)

    def split(images: ImageSet, group: np.ndarray, index: np.ndarray) -> Split:
        part = images.take(index)
        x = (part.images.astype(np.float32) / np.float32(255) - mean).astype(np.float32)
        return Split(x, targets(group[index], n_groups), part.labels, fingerprint(part.images, part.labels))

    test_pool = load_images(task.dataset, "test", **where)  # type: ignore[arg-type]
    _, test_group = _groups(task, test_pool)
    test = np.flatnonzero(test_group >= 0)
    if n_test is not None and len(test):
        test = np.array([i for i in test_pool.by_content if test_group[i] >= 0][:n_test], np.int64)
    return TaskData(
        task=task,
        source=pool.source,
        train=split(pool, group, chosen),
        held_out=split(pool, group, control),
        test=split(test_pool, test_group, test),
        pool=sum(map(len, order)),
        mean=mean,
        box=(-mean, (1 - mean).astype(np.float32)),
    )
