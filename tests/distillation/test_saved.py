import io

import numpy as np
import pytest
from PIL import Image

from recon import DistilledSet, ReconError
from recon.tasks import load_task


def a_set(shape=(4, 4, 1), **changes):
    rng = np.random.default_rng(0)
    parts = {
        "method": "kip",
        "images": rng.normal(size=(4, *shape)).astype(np.float32),
        "labels": np.float32([[-1], [-1], [1], [1]]),
        "start": np.zeros((4, *shape), np.float32),
        "loss": 0.25,
        "step": 3,
        "trace": np.array([[0, 1.0], [3, 0.25]]),
        "steps": 4,
        "why": "schedule done",
        "settings": {"kernel": {"depth": 2}, "seconds": None},
        "work": {"flops": 2.0},
        "seconds": {"run": 1.5},
        "mean": np.float32([0.3]),
        "classes": ("even", "odd"),
    }
    return DistilledSet(**{**parts, **changes})


def test_saved_sets_come_back(tmp_path):
    made = a_set()
    made.save(tmp_path / "a" / "set.npz")
    found = DistilledSet.load(tmp_path / "a" / "set.npz")
    for name, value in vars(made).items():
        np.testing.assert_array_equal(getattr(found, name), value)
        assert type(getattr(found, name)) is type(value)


def damaged(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    return path


def test_bad_files_are_refused(tmp_path):
    made = a_set()
    made.save(tmp_path / "good.npz")
    content = (tmp_path / "good.npz").read_bytes()
    with np.load(tmp_path / "good.npz") as file:
        parts = dict(file)

    def without(**changes):
        out = io.BytesIO()
        np.savez(out, **{k: v for k, v in {**parts, **changes}.items() if v is not None})
        return out.getvalue()

    nan = parts["images"].copy()
    nan[0] = np.nan
    cases = {
        "empty": b"",
        "text": b"hello",
        "cut": content[: len(content) // 2],
        "array": np.lib.format.magic(1, 0) + b"junk",
        "no images": without(images=None),
        "no facts": without(facts=None),
        "facts": without(facts=np.frombuffer(b"{", np.uint8)),
        "other facts": without(facts=np.frombuffer(b'{"format": 2, "classes": []}', np.uint8)),
        "list": without(facts=np.frombuffer(b"[1]", np.uint8)),
        "labels": without(labels=parts["labels"][:2]),
        "nan": without(images=nan),
        "pickle": without(images=np.array([{"a": 1}], dtype=object)),
        "words": without(labels=np.array([["a"]] * 4)),
        "mean": without(mean=np.zeros(2, np.float32)),
    }
    for name, bad in cases.items():
        with pytest.raises(ReconError, match="is no distilled set") as error:
            DistilledSet.load(damaged(tmp_path, f"{name}.npz", bad))
        assert "\n" not in str(error.value)
    with pytest.raises(ReconError, match="cannot be read"):
        DistilledSet.load(tmp_path / "absent.npz")
    with pytest.raises(ReconError, match="cannot be read"):
        DistilledSet.load(tmp_path)


@pytest.mark.parametrize("channels", [1, 3])
def test_pngs_are_a_folder_of_class_folders(tmp_path, channels):
    made = a_set((4, 5, channels), mean=np.full(channels, 0.3, np.float32))
    made.save_pngs(tmp_path / "out")
    files = sorted(p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.png"))
    assert files == ["even/0.png", "even/1.png", "odd/2.png", "odd/3.png"]
    with Image.open(tmp_path / "out" / "odd" / "2.png") as picture:
        pixels = np.asarray(picture).reshape(4, 5, channels)
    np.testing.assert_allclose(pixels / 255, np.clip(made.images[2] + 0.3, 0, 1), atol=0.5 / 255 + 1e-6)
    assert load_task("pictures", 2, images=tmp_path / "out").train.x.shape == (2, 4, 5, channels)
    with pytest.raises(ReconError, match="holds something already"):
        made.save_pngs(tmp_path / "out")


def test_what_is_no_picture_is_refused(tmp_path):
    with pytest.raises(ReconError, match="no pictures"):
        a_set((16,)).save_pngs(tmp_path / "out")
