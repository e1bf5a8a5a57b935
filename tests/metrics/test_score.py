import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from recon.metrics import psnr, score, ssim


def ssim_by_hand(a, b):
    """Wang et al. 2004 for one channel: Gaussian window, population moments, mean without the border."""
    a, b = np.float64(a), np.float64(b)

    def blur(v):
        return gaussian_filter(v, 1.5, truncate=3.5)

    ma, mb = blur(a), blur(b)
    va, vb, cov = blur(a * a) - ma**2, blur(b * b) - mb**2, blur(a * b) - ma * mb
    c1, c2 = 0.01**2, 0.03**2
    s = (2 * ma * mb + c1) * (2 * cov + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2))
    return s[5:-5, 5:-5].mean()


def test_ssim_and_psnr_against_plain_numpy(rng):
    a = rng.random((3, 20, 20, 2)).astype(np.float32)
    b = np.clip(a + 0.1 * rng.normal(size=a.shape), 0, 1).astype(np.float32)
    by_hand = [np.mean([ssim_by_hand(x[..., c], y[..., c]) for c in range(2)]) for x, y in zip(a, b)]
    np.testing.assert_allclose(ssim(a, b), by_hand, rtol=1e-6)
    mse = ((np.float64(a) - b) ** 2).mean((1, 2, 3))
    np.testing.assert_allclose(psnr(a, b), -10 * np.log10(mse), rtol=1e-6)
    np.testing.assert_allclose(ssim(a, a), 1)
    assert psnr(a, a).tolist() == [100.0] * 3


def test_score(rng):
    images = rng.normal(size=(4, 12, 12, 1)).astype(np.float32)
    order = rng.permutation(4)
    noise = 0.01 * rng.normal(size=images.shape).astype(np.float32)
    found = np.concatenate([(images + noise)[order], rng.normal(size=(3, 12, 12, 1)).astype(np.float32)])
    s = score(images, found, lambda x: np.clip(x, 0, 1))
    np.testing.assert_array_equal(order[s.matching.index], np.arange(4))
    np.testing.assert_allclose(s.matching.distance, np.linalg.norm(noise.reshape(4, -1), axis=1), rtol=1e-4)
    assert np.all(np.diff(s.curve) >= 0)
    summary = s.summary((0.1, 1.0))
    assert summary["below"] == {"0.1": int((s.curve < 0.1).sum()), "1": 4}
    assert summary["mean"] == pytest.approx(s.curve.mean())
    assert summary["mean_nearest"] <= summary["mean_optimal"] <= summary["mean"] + 1e-12
    with pytest.raises(ValueError, match="cannot be matched"):
        score(images, found[:3], lambda x: x)
