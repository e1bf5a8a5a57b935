"""What every distillation method takes and returns."""

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from jaxtyping import Float, Int, PRNGKeyArray
from PIL import Image

from recon.errors import ReconError
from recon.progress import Report
from recon.reading import arrays, refused
from recon.records import json_bytes, write_bytes
from recon.records.files import npz_bytes

FORMAT = 1  # of a saved set
ARRAYS = ("images", "labels", "start", "trace", "held_out", "mean")


@dataclass(frozen=True)
class Problem:
    """What is to be distilled.

    Attributes:
      x, y: training images in the network's input space, and their targets.
      labels: targets of the distilled images at the start.
      held_out: other images and their targets, to choose the stopping point with, or None.
      box: least and greatest value of an input by channel, or None.
    """

    x: Float[np.ndarray, "n *shape"]
    y: Float[np.ndarray, "n c"]
    labels: Float[np.ndarray, "m c"]
    held_out: tuple[Float[np.ndarray, "h *shape"], Float[np.ndarray, "h c"]] | None = None
    box: tuple[np.ndarray, np.ndarray] | None = None


def groups_of(labels: Float[np.ndarray, "m c"]) -> Int[np.ndarray, " m"]:
    """Class of each label: its sign (0 or 1), or the largest entry's place."""
    return (labels[:, 0] > 0).astype(np.int64) if labels.shape[1] == 1 else labels.argmax(axis=1)


@dataclass(frozen=True)
class DistilledSet:
    """A small training set made from a large one.

    Attributes:
      method: what made it.
      images: in the network's input space; nothing keeps them inside the pixel box.
      labels: targets.
      start: the images that the method started from.
      loss: the method's loss at these images.
      step: optimiser step that they are from.
      trace: (step, loss) along the run.
      held_out: (step, regression loss on held-out images) along the run, where they choose the stopping point.
      steps: optimiser steps taken.
      why: why it stopped.
      settings: the method's, as plain values.
      work: counts and sizes of what was done, as in `recon.attacks.Reconstruction`.
      seconds: wall time by part.
      mean: what was subtracted from the pixels, by channel.
      classes: names of the classes, in the order of the outputs.
    """

    method: str
    images: Float[np.ndarray, "m *shape"]
    labels: Float[np.ndarray, "m c"]
    start: Float[np.ndarray, "m *shape"]
    loss: float
    step: int
    trace: Float[np.ndarray, "k 2"]
    steps: int
    why: str
    held_out: Float[np.ndarray, "l 2"] = field(default_factory=lambda: np.zeros((0, 2)))
    settings: dict[str, Any] = field(default_factory=dict)
    work: dict[str, float | int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    mean: Float[np.ndarray, " channels"] = field(default_factory=lambda: np.zeros(1, np.float32))
    classes: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Number of images."""
        return len(self.images)

    @property
    def interrupted(self) -> bool:
        """Stopped from the keyboard: this is the best set so far."""
        return self.why == "interrupted"

    @property
    def groups(self) -> Int[np.ndarray, " m"]:
        """Class of each image, see `groups_of`."""
        return groups_of(self.labels)

    def pixels(self) -> Float[np.ndarray, "m *shape"]:
        """The images as displayable pixels, clipped to [0, 1]."""
        shown: np.ndarray = np.clip(self.images + self.mean, 0.0, 1.0)
        return shown

    def save(self, path: str | Path) -> None:
        """Write the set as one .npz file, which `load` reads.

        Raises:
          ReconError: the place cannot be written.
        """
        facts = {
            "format": FORMAT,
            **{name: getattr(self, name) for name in ("method", "loss", "step", "steps", "why", "classes")},
            **{name: getattr(self, name) for name in ("settings", "work", "seconds")},
        }
        arrays = {name: getattr(self, name) for name in ARRAYS}
        write_bytes(Path(path), npz_bytes({**arrays, "facts": np.frombuffer(json_bytes(facts), np.uint8)}))

    @classmethod
    def load(cls, path: str | Path) -> "DistilledSet":
        """Read a set that `save` wrote.

        Raises:
          ReconError: the file is absent, damaged or holds no distilled set.
        """
        path = Path(path)
        if not path.is_file():
            raise ReconError(f"{path} cannot be read (there is no such file): give one that `save` wrote.")
        with refused(f"{path} is no distilled set", "distil again"):
            held = arrays(path)
            fields: dict[str, Any] = {name: held[name] for name in ARRAYS}
            fields |= msgspec.json.decode(held["facts"].tobytes())
            if fields.pop("format") != FORMAT:
                raise ValueError("another format")
            found = cls(**{**fields, "classes": tuple(fields["classes"])})
            _check(found)
            return found

    def save_pngs(self, folder: str | Path) -> None:
        """Write each image to FOLDER/CLASS/NUMBER.png, 8 bits, clipped: the layout that the task `pictures` reads.

        Raises:
          ReconError: they are not pictures, the folder holds something already, or it cannot be written.
        """
        folder = Path(folder)
        if self.images.ndim != 4 or self.images.shape[-1] not in (1, 3):
            raise ReconError(
                f"Images of shape {self.images.shape[1:]} are no pictures: they need (h, w, 1) or (h, w, 3)."
            )
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ReconError(f"{folder} holds something already: give an empty or a new folder.")
        eight_bit = np.rint(255 * self.pixels()).astype(np.uint8)
        for i, (image, group) in enumerate(zip(eight_bit, self.groups, strict=True)):
            out = io.BytesIO()
            Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(out, format="png")
            name = self.classes[group] if self.classes else str(group)
            write_bytes(folder / name / f"{i:0{len(str(len(self)))}d}.png", out.getvalue())


def _check(found: DistilledSet) -> None:
    """Refuse a set that nothing could be trained on.

    Raises:
      ValueError: shapes that do not fit, or values that are no finite numbers.
    """
    images, labels = found.images, found.labels
    if images.ndim < 2 or labels.ndim != 2 or len(images) != len(labels) or not images.size or not labels.size:
        raise ValueError(f"images {images.shape} and labels {labels.shape} do not fit")
    if found.start.shape != images.shape or found.mean.shape not in ((1,), (images.shape[-1],)):
        raise ValueError("start or mean do not fit the images")
    for name in ARRAYS:
        array = getattr(found, name)
        if array.dtype.kind != "f" or not np.isfinite(array).all():
            raise ValueError(f"{name} are not finite numbers")


@dataclass(frozen=True)
class Method:
    """A named method: what it is in a line, its settings, and the function that runs it."""

    name: str
    title: str
    settings: Any
    run: Callable[[Problem, Any, PRNGKeyArray, Report], DistilledSet]
