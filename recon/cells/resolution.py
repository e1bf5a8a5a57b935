"""The same images at another resolution: an attack cell whose pictures are resampled by area before training."""

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from recon.cells.attack import AttackVariant
from recon.cells.base import as_own
from recon.data import fingerprint
from recon.errors import ReconError
from recon.progress import Report, silent
from recon.records import Stored
from recon.tasks import Split, TaskData

SEEN = 11  # pixels that a picture is shown with at least: the window of structural similarity


@dataclass(frozen=True)
class Resampled(TaskData):
    """A draw at another size. Pictures too small for structural similarity are shown with pixels repeated."""

    def pixels(self, x: np.ndarray) -> np.ndarray:
        """As `TaskData.pixels`, each pixel a block of equal ones where there are few: PSNR does not change."""
        each = -(-SEEN // x.shape[-2])
        return super().pixels(x).repeat(each, axis=-3).repeat(each, axis=-2)


@dataclass(frozen=True)
class ResolutionCell(AttackVariant):
    """A network trained on images of another size, and its attack.

    Attributes:
      side: height and width of the images in pixels, a divisor or a multiple of the data's own.
    """

    kind: ClassVar[str] = "resampled"

    side: int

    @property
    def title(self) -> str:
        """For progress bars."""
        return f"{self.base.title} at {self.side} × {self.side}"

    @property
    def draw(self) -> tuple[Any, ...]:
        """Cells of equal draws load the same images."""
        return self.kind, self.side, *self.base.draw

    def load(self, **where: Any) -> TaskData:
        """The attacked cell's images, resampled; their fingerprints are those of the resampled values."""
        return resample(self.base.load(**where), self.side)

    def compute(self, data: TaskData, report: Report = silent) -> Stored:
        """Train, attack, score, as the attacked cell."""
        return as_own(self, self.base.compute(data, report))


def resample(data: TaskData, side: int) -> Resampled:
    """The same draw at side × side pixels. Its mean and its box stay: both commute with means over pixels.

    Raises:
      ReconError: the side neither divides the images' own nor is a multiple of it.
    """

    def at_side(split: Split) -> Split:
        x = by_area(split.x, side)
        return dataclasses.replace(split, x=x, fingerprint=fingerprint(x, split.labels))

    fields = {f.name: getattr(data, f.name) for f in dataclasses.fields(data)}
    return Resampled(**fields | {name: at_side(fields[name]) for name in ("train", "held_out", "test")})


def by_area(x: Float[np.ndarray, "n h w c"], side: int) -> Float[np.ndarray, "n s s c"]:
    """Images resampled by area: each new pixel is the mean over the part of the picture that it covers.

    Towards fewer pixels that is the mean of a block; towards more, a pixel becomes a block of its own value.

    Raises:
      ReconError: the images are not square, or the side neither divides their own nor is a multiple of it.
    """
    n, h, w, c = x.shape
    if side < 1 or h != w or (h % side and side % h):
        raise ReconError(f"Images of {h} × {w} pixels cannot be resampled to {side} × {side}: choose a divisor or a "
                         f"multiple of {h}.")  # fmt: skip
    if side >= h:
        return x.repeat(side // h, axis=1).repeat(side // h, axis=2)
    blocks = x.reshape(n, side, h // side, side, w // side, c)
    return np.asarray(blocks.mean(axis=(2, 4), dtype=np.float64), x.dtype)
