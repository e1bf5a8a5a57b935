import io
import re

import numpy as np
import pytest
from PIL import Image

from recon.plots import new_figure, save
from recon.plots.style import smaller


def page(shade):
    made = new_figure(1.0, 1.0)
    made.set_facecolor(str(shade))
    return made


def test_a_figure_of_several_pages_is_one_pdf_and_pictures_by_number(tmp_path):
    shades = (0.2, 0.5, 0.8)
    files = save([page(s) for s in shades], tmp_path / "sheet")
    names = {f"sheet{suffix}.{kind}" for suffix in ("", "-2", "-3") for kind in ("png", "svg")} | {"sheet.pdf"}
    assert {f.name for f in files} == {f.name for f in tmp_path.iterdir()} == names
    assert len(re.findall(rb"/Type /Page\b", (tmp_path / "sheet.pdf").read_bytes())) == 3
    for suffix, shade in zip(("", "-2", "-3"), shades):
        pixels = np.asarray(Image.open(tmp_path / f"sheet{suffix}.png").convert("L"))
        assert abs(pixels.mean() / 255 - shade) < 0.01


def test_one_figure_has_one_page_and_is_the_same_again(tmp_path):
    first = {f.name: f.read_bytes() for f in save(page(0.5), tmp_path / "one")}
    assert set(first) == {"one.png", "one.pdf", "one.svg"}
    assert first == {f.name: f.read_bytes() for f in save(page(0.5), tmp_path / "one")}


def test_a_picture_is_made_smaller_and_no_pixel_is_more_than_two_levels_off():
    rng = np.random.default_rng(0)
    flat = np.repeat(np.repeat(rng.integers(0, 3, (6, 8, 3), np.uint8) * 100, 5, axis=0), 5, axis=1)
    grey = np.repeat(rng.integers(0, 256, (60, 80, 1), np.uint8), 3, axis=2)
    for pixels, mode in ((flat, "P"), (grey, "P"), (rng.integers(0, 256, (60, 80, 3), np.uint8), "RGB")):
        opaque = np.concatenate([pixels, np.full((*pixels.shape[:2], 1), 255, np.uint8)], axis=2)
        content = io.BytesIO()
        Image.fromarray(opaque).save(content, format="png", dpi=(160, 160))
        made = smaller(content.getvalue())
        assert len(made) < len(content.getvalue())
        with Image.open(io.BytesIO(made)) as picture:
            assert picture.mode == mode
            assert picture.info["dpi"] == pytest.approx((160, 160), abs=0.1)
            np.testing.assert_allclose(np.asarray(picture.convert("RGB")), pixels.astype(int), rtol=0, atol=2)
        assert smaller(made) == made
    opaque[0, 0, 3] = 0
    content = io.BytesIO()
    Image.fromarray(opaque).save(content, format="png", dpi=(160, 160))
    with pytest.raises(ValueError, match="opaque"):
        smaller(content.getvalue())
