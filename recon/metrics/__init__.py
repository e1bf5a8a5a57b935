"""How well reconstructions match images. The kernel distance is in `recon.kernels`."""

from recon.metrics.accuracy import share_right
from recon.metrics.images import psnr, ssim
from recon.metrics.matching import Matching, distances, greedy, nearest, optimal
from recon.metrics.roc import Roc
from recon.metrics.score import Score, score

__all__ = [
    "Matching", "Roc", "Score", "distances", "greedy", "nearest", "optimal", "psnr", "score", "share_right", "ssim",
]  # fmt: skip
