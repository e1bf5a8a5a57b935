"""Tiny-ImageNet: archives made here in the original layout, whole and spoilt; package photographs in its place."""

import io
import socket
import sys
import zipfile

import numpy as np
import pytest
from PIL import Image

from recon.data import load_images, prepare, prepared, samples
from recon.data import tiny_imagenet_classes as classes
from recon.data.tiny_imagenet import contents
from recon.errors import ReconError

ROOT = "tiny-imagenet-200"
ANNOTATIONS = f"{ROOT}/val/val_annotations.txt"
FIRST = f"{ROOT}/train/n01443537/images/n01443537_0.JPEG"


def encoded(seed, mode="RGB", side=64):
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).resize((side, side)).convert(mode).save(out, format="jpeg")
    return out.getvalue()


@pytest.fixture(scope="module")
def layout():
    """Names and contents as in the original archive: two training pictures a class, five for validation, some grey."""
    files = {
        f"{ROOT}/wnids.txt": "\n".join(classes.CLASSES[::-1]).encode(),
        f"{ROOT}/words.txt": b"n00001740\tentity\n",
    }
    for i, wnid in enumerate(classes.CLASSES):
        files[f"{ROOT}/train/{wnid}/{wnid}_boxes.txt"] = f"{wnid}_0.JPEG\t0\t0\t62\t62\n".encode()
        for j in range(2):
            files[f"{ROOT}/train/{wnid}/images/{wnid}_{j}.JPEG"] = encoded(2 * i + j, "L" if i % 10 == 3 else "RGB")
    rows = []
    for i in range(5):
        files[f"{ROOT}/val/images/val_{i}.JPEG"] = encoded(1000 + i, "L" if i == 2 else "RGB")
        rows.append(f"val_{i}.JPEG\t{classes.CLASSES[7 * i]}\t0\t0\t62\t62\n")
    files[ANNOTATIONS] = "".join(rows).encode()
    files[f"{ROOT}/test/images/test_0.JPEG"] = encoded(2000)
    return files


def packed(files, path):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("no network in this test")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


def pixels(encoded):
    return np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB"))


def test_prepared_pictures_are_the_archives(layout, tmp_path, no_network):
    packed(layout, tmp_path / f"{ROOT}.zip")
    there = prepare.from_archive(tmp_path, tmp_path / "data")  # the folder that holds it
    assert "tensorflow" not in sys.modules
    found = {split: load_images("tiny_imagenet", split, data_dir=tmp_path / "data") for split in ("train", "test")}
    expected = {"train": {}, "test": {}}
    for name, content in layout.items():
        if "/train/" in name and name.endswith("JPEG"):
            expected["train"][pixels(content).tobytes()] = name.split("/")[2]
    for row in layout[ANNOTATIONS].decode().splitlines():
        name, wnid, *_ = row.split("\t")
        expected["test"][pixels(layout[f"{ROOT}/val/images/{name}"]).tobytes()] = wnid
    for split, images in found.items():
        assert images.images.shape == (len(expected[split]), 64, 64, 3)
        assert images.classes == classes.CLASSES
        got = {i.tobytes(): images.classes[label] for i, label in zip(images.images, images.labels)}
        assert got == expected[split]
    (tmp_path / f"{ROOT}.zip").unlink()
    assert prepare.from_archive(tmp_path, tmp_path / "data") == there  # prepared: the archive is not asked for


def cut(path, files):
    packed(files, path).write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flipped(path, files):
    whole = packed(files, path).read_bytes()
    at = whole.index(files[FIRST]) + 300
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 255]) + whole[at + 1 :])


def without(name):
    return lambda path, files: packed({n: c for n, c in files.items() if name not in n}, path)


def with_(name, content):
    return lambda path, files: packed({**files, name: content}, path)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path, files: None, "no file .*download"),
        (lambda path, files: path.mkdir(), "no file .*download"),
        (lambda path, files: path.write_text("<html>not found</html>"), "no whole zip archive"),
        (cut, "no whole zip archive"),
        (flipped, "no whole zip archive .*n01443537_0.JPEG fails its checksum"),
        (lambda path, files: packed({"cifar-10/data_batch_1": b"x"}, path), "not the Tiny-ImageNet .*no .*wnids.txt"),
        (without("val_annotations"), "not the Tiny-ImageNet .*no .*val_annotations.txt"),
        (without("n01443537"), "no training picture of n01443537"),
        (without("val_3.JPEG"), "no .*val_3.JPEG"),
        (with_(f"{ROOT}/wnids.txt", b"n01443537\nn01629819\n"), "does not list its 200 classes"),
        (with_(ANNOTATIONS, b"val_0.JPEG\n"), "does not label pictures"),
        (with_(ANNOTATIONS, b""), "does not label pictures"),
        (with_(f"{ROOT}/../../evil.sh", b"x"), "leads out of it"),
        (with_("/etc/evil", b"x"), "leads out of it"),
        (with_(f"{ROOT}\\..\\evil", b"x"), "leads out of it"),
        (with_(FIRST, b"rubbish"), "n01443537_0.JPEG cannot be read as a picture"),
        (with_(FIRST, encoded(0)[:500]), "n01443537_0.JPEG cannot be read as a picture"),
        (with_(FIRST, encoded(0, side=32)), "32 × 32 pixels, not 64 × 64"),
    ],
)
def test_bad_archives_are_refused_in_one_sentence(layout, tmp_path, make, message):
    path, data = tmp_path / f"{ROOT}.zip", tmp_path / "data"
    make(path, layout)
    with pytest.raises(ReconError, match=message) as caught:
        prepare.from_archive(path, data)
    text = str(caught.value)
    assert "\n" not in text
    assert text.endswith(".")
    assert ". " not in text
    assert prepared.find("tiny_imagenet", data) is None
    assert not list(data.glob("tiny_imagenet/*"))  # nothing half-made stays
    # Pictures are decoded as they are stored; all else is found before a folder is made.
    assert not data.exists() or FIRST.split("/")[-1] in text
    assert {p.name for p in tmp_path.iterdir()} <= {path.name, "data"}  # nothing was written beside it


def test_unwritable_directory(layout, tmp_path):
    path = packed(layout, tmp_path / "some-name.zip")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ReconError, match=r"cannot be written.*--data-dir"):
        prepare.from_archive(path, tmp_path / "file")


def test_splits_of_the_archive(layout, tmp_path):
    found = contents(packed(layout, tmp_path / "tiny.zip"))
    assert len(found["train"]) == 400
    assert set(found["test"]) == {f"{ROOT}/val/images/val_{i}.JPEG" for i in range(5)}


def test_classes():
    assert len(classes.CLASSES) == len(set(classes.CLASSES)) == 200
    assert (len(classes.ANIMALS), len(classes.OBJECTS), len(classes.OTHERS)) == (59, 117, 24)
    assert classes.ANIMALS["n02099712"] == "Labrador retriever"
    assert classes.OBJECTS["n04275548"] == "spider web"


def test_package_photographs(monkeypatch, tmp_path, no_network):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    found = load_images("tiny_imagenet")
    assert found.images.shape == (20, 64, 64, 3)
    assert len(load_images("tiny_imagenet", "test").images) == 0
    wnids = [found.classes[label] for label in found.labels]
    assert [sum(w in group for w in wnids) for group in (classes.ANIMALS, classes.OBJECTS, classes.OTHERS)] == [
        7,
        11,
        2,
    ]
    assert set(samples.WNID.values()) <= set(classes.CLASSES)
    # Each pixel of a 512 × 512 photograph is the mean of 8 × 8 of its pixels.
    photographs = sorted(samples._files("foolbox", "data/imagenet_*_*.jpg"))
    by_content = {i.tobytes() for i in found.images}
    squares = [np.asarray(Image.open(f)) for f in photographs]
    means = [s.reshape(64, 8, 64, 8, 3).mean((1, 3)) for s in squares if s.shape == (512, 512, 3)]
    assert len(means) == 19
    nearest = [min(np.abs(np.frombuffer(i, np.uint8).reshape(64, 64, 3) - m).max() for i in by_content) for m in means]
    assert max(nearest) <= 1


def test_download_says_what_is_missing(monkeypatch, tmp_path, no_network):
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ReconError, match=r"Cannot reach http://cs231n\.stanford\.edu.*ZIP="):
        prepare.prepare("tiny_imagenet", tmp_path)
    with pytest.raises(ReconError, match="make data-tiny-imagenet"):
        load_images("tiny_imagenet", data_dir=tmp_path)
