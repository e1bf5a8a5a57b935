import re

import numpy as np
from PIL import Image

from recon.plots import new_figure, save


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
