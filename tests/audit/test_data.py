"""Images to compare with, as folders and files hold them."""

import numpy as np
import pytest
from PIL import Image, features

from recon import ReconError
from recon.auditing.data import load_images
from recon.auditing.view import View
from tests.audit.made import audit_of

GREY, COLOUR = View((6, 5, 1), mean=(0.0,)), View((6, 5, 3), mean=(0.0,))


@pytest.fixture
def levels(rng):
    return rng.integers(0, 256, (6, 5), dtype=np.uint8)


def stored(levels, mode):
    grey = Image.fromarray(levels)
    return grey.convert("RGB").convert(mode) if mode in ("P", "CMYK") else grey.convert(mode)


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        *((mode, "png") for mode in ("L", "LA", "RGB", "RGBA", "P")),
        *((mode, "tif") for mode in ("CMYK", "RGB")),
        ("P", "gif"),
        pytest.param("RGB", "webp", marks=pytest.mark.skipif(not features.check("webp"), reason="Pillow without WebP")),
    ],
)
def test_grey_pictures_stored_in_any_mode_are_grey(tmp_path, levels, mode, kind):
    if mode == "P":
        levels = levels // 51 * 51  # which Pillow's palette holds
    options = {"lossless": True} if kind == "webp" else {}
    stored(levels, mode).save(tmp_path / f"a.{kind}", **options)
    Image.fromarray(levels).save(tmp_path / "b.png")  # the two may lie side by side
    found = load_images(tmp_path, GREY)
    np.testing.assert_allclose(found.x, np.stack([levels, levels])[..., None] / 255, atol=1e-6)
    assert found.converted == (mode != "L")
    # A network of colour takes them three times.
    both = load_images(tmp_path, COLOUR)
    assert both.x.shape == (2, 6, 5, 3)
    assert both.converted == 1 + (mode == "L")


def test_audit_says_that_pictures_were_taken_otherwise(tmp_path, levels):
    for i, mode in enumerate(("RGB", "RGB", "L")):
        stored(levels, mode).save(tmp_path / f"{i}.png")
    for view, words in ((GREY, "2 of the training images given are grey pictures stored in colour, and were taken as"),
                        (COLOUR, "1 of the training images given are stored in grey, and were taken as")):  # fmt: skip
        train = load_images(tmp_path, view)
        made = audit_of(train.x[:1], view, train)
        assert made.verdict.count(words) == 1
    assert "taken as" not in audit_of(train.x[:1], COLOUR, load_images(np.zeros((3, 6, 5, 3)), COLOUR)).verdict


def test_pictures_that_cannot_be_taken_are_refused(tmp_path, levels, rng):
    colour = Image.fromarray(rng.integers(0, 256, (6, 5, 3), dtype=np.uint8))
    colour.save(tmp_path / "a.png")
    with pytest.raises(ReconError, match=r"a\.png is in colour and grey pictures are asked for: make all grey"):
        load_images(tmp_path, GREY)
    for kind in ("gif", "png", "tif", "webp" if features.check("webp") else "gif"):
        file = tmp_path / f"a.{kind}"
        Image.fromarray(levels).save(file, save_all=True, append_images=[Image.fromarray(255 - levels)])
        with pytest.raises(
            ReconError, match=rf"a\.{kind} cannot be read as a picture \(it holds 2 pictures\): replace"
        ):
            load_images(tmp_path, GREY)
        file.unlink()


def test_file_of_several_arrays_says_which_there_are(tmp_path, rng):
    x = rng.uniform(size=(3, 6, 5)).astype(np.float32)
    np.savez(tmp_path / "x.npz", X_train=x, X_test=x, y=np.arange(3))
    with pytest.raises(ReconError, match=r"holds 2 arrays of images \(X_train, X_test\): name the one to take x\."):
        load_images(tmp_path / "x.npz", GREY)
    with pytest.raises(ReconError, match=r"holds 0 arrays of images: name the one to take x\."):
        load_images({"y": np.arange(3)}, GREY)
