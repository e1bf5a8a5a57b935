"""Picture quality of matched pairs, by scikit-image, which is imported on first use: it takes half a second."""

import numpy as np
from jaxtyping import Float

PSNR_CAP = 100.0  # dB; two equal images have no finite PSNR


def psnr(images: Float[np.ndarray, "n h w c"], found: Float[np.ndarray, "n h w c"]) -> Float[np.ndarray, " n"]:
    """Peak signal-to-noise ratio in dB of pixels in [0, 1], capped at 100."""
    from skimage.metrics import peak_signal_noise_ratio

    with np.errstate(divide="ignore"):
        values = [peak_signal_noise_ratio(a, b, data_range=1.0) for a, b in zip(images, found, strict=True)]
    return np.minimum(np.array(values, np.float64), PSNR_CAP)


def ssim(images: Float[np.ndarray, "n h w c"], found: Float[np.ndarray, "n h w c"]) -> Float[np.ndarray, " n"]:
    """Mean structural similarity of pixels in [0, 1], in [−1, 1].

    The variant of Wang et al. 2004: Gaussian window of σ = 1.5 (11 × 11), population covariance, K₁ = 0.01, K₂ = 0.03,
    channels averaged.
    """
    from skimage.metrics import structural_similarity

    options = {"data_range": 1.0, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    values = [
        structural_similarity(np.float64(a), np.float64(b), channel_axis=-1, **options)
        for a, b in zip(images, found, strict=True)
    ]
    return np.array(values, np.float64)
