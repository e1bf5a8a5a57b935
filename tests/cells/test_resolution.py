import numpy as np
import pytest
from PIL import Image

from recon.cells import AttackCell
from recon.cells.resolution import ResolutionCell, by_area
from recon.dynamics import Linearised
from recon.errors import ReconError
from recon.metrics import psnr, ssim
from recon.networks import MLP

ATTACKED = AttackCell("mnist_odd_even", 4, MLP((32,)), Linearised(), "exact")


@pytest.mark.parametrize("side", [2, 4, 6, 12, 24])
def test_resampling_by_area_is_pillows_box_filter(rng, side):
    x = rng.normal(size=(3, 12, 12, 2)).astype(np.float32)
    y = by_area(x, side)
    assert y.dtype == np.float32
    for i in range(3):
        for c in range(2):
            wanted = Image.fromarray(x[i, :, :, c]).resize((side, side), Image.Resampling.BOX)
            np.testing.assert_allclose(y[i, :, :, c], np.asarray(wanted), atol=1e-6)


@pytest.mark.parametrize("side", [0, 5, 18])
def test_sides_without_whole_blocks_are_refused(side):
    with pytest.raises(ReconError, match=r"divisor or a\s+multiple of 12"):
        by_area(np.zeros((1, 12, 12, 1), np.float32), side)


def test_a_draw_at_another_size_is_the_same_draw_with_fingerprints_of_its_own():
    whole = ATTACKED.load(source="samples")
    half = ResolutionCell(ATTACKED, 14).load(source="samples")
    assert half.image_shape == (14, 14, 1)
    np.testing.assert_array_equal(half.train.labels, whole.train.labels)
    # The mean over pixels is kept, so what was subtracted still is the mean, and the box still holds every value.
    np.testing.assert_allclose(half.train.x.mean(), 0, atol=1e-6)
    assert half.test.x.min() >= whole.box[0].min()
    assert half.test.x.max() <= whole.box[1].max()
    assert ResolutionCell(ATTACKED, 14).settings() != ResolutionCell(ATTACKED, 7).settings()
    prints = {name: getattr(half, name).fingerprint for name in ("train", "held_out", "test")}
    assert not set(prints.values()) & {whole.train.fingerprint, whole.held_out.fingerprint, whole.test.fingerprint}
    assert len(set(prints.values())) == 3


def test_small_pictures_are_shown_large_enough_for_structural_similarity(rng):
    data = ResolutionCell(ATTACKED, 4).load(source="samples")
    x, y = rng.uniform(*(side.item() for side in data.box), size=(2, 3, 4, 4, 1))
    a, b = data.pixels(x), data.pixels(y)
    assert a.shape == (3, 12, 12, 1)
    np.testing.assert_allclose(a[:, ::3, ::3], x + data.mean, atol=1e-6)
    np.testing.assert_allclose(psnr(a, b), -10 * np.log10(((x - y) ** 2).mean(axis=(1, 2, 3))), rtol=1e-4)
    assert np.isfinite(ssim(a, b)).all()
