"""The score of a reconstruction beside its controls."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from recon.metrics.images import psnr, ssim
from recon.metrics.matching import Matching, distances, greedy, nearest, optimal


@dataclass(frozen=True)
class Score:
    """How near reconstructions come to a set of images. Arrays go by image, in the set's order.

    Attributes:
      matching: the paper's greedy one-to-one matching.
      optimal, nearest: L2 distances under optimal one-to-one and under nearest-neighbour matching.
      psnr, ssim: of the greedily matched pairs, as pixels clipped to [0, 1].
    """

    matching: Matching
    optimal: Float[np.ndarray, " n"]
    nearest: Float[np.ndarray, " n"]
    psnr: Float[np.ndarray, " n"]
    ssim: Float[np.ndarray, " n"]

    @property
    def curve(self) -> Float[np.ndarray, " n"]:
        """The reconstruction curve: greedily matched distances, sorted."""
        return np.sort(self.matching.distance)

    def summary(self, thresholds: tuple[float, ...] = ()) -> dict[str, float | dict[str, int]]:
        """Means, medians and counts of matched distances strictly below each threshold."""
        distance = self.matching.distance
        return {
            "mean": float(distance.mean()),
            "median": float(np.median(distance)),
            "best": float(distance.min()),
            "worst": float(distance.max()),
            "mean_optimal": float(self.optimal.mean()),
            "mean_nearest": float(self.nearest.mean()),
            "psnr_db_mean": float(self.psnr.mean()),
            "ssim_mean": float(self.ssim.mean()),
            "below": {f"{t:g}": int((distance < t).sum()) for t in thresholds},
        }


def score(
    images: Float[np.ndarray, "n h w c"],
    found: Float[np.ndarray, "m h w c"],
    pixels: Callable[[np.ndarray], np.ndarray],
) -> Score:
    """Match `found` to `images` (both in the network's input space, m ≥ n) and measure.

    Args:
      pixels: input space → pixels in [0, 1].

    Raises:
      ValueError: fewer reconstructions than images.
    """
    if len(found) < len(images):
        raise ValueError(f"{len(found)} reconstructions cannot be matched one-to-one to {len(images)} images.")
    d = distances(images, found)
    matching = greedy(d)
    a, b = pixels(images), pixels(found[matching.index])
    return Score(matching, optimal(d).distance, nearest(d).distance, psnr(a, b), ssim(a, b))
