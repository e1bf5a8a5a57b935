import numpy as np
import pytest

from recon.cells import AttackCell
from recon.cells.frames import FramesCell
from recon.dynamics import Linearised
from recon.networks import MLP


@pytest.fixture(scope="module")
def cell():
    options = (("steps", 40), ("snapshots", 4))
    return FramesCell(AttackCell("mnist_odd_even", 10, MLP((32, 32)), Linearised(), "ntk-fast", options))


@pytest.fixture(scope="module")
def stored(cell):
    return cell.compute(cell.load(source="samples"))


def apart(a, b):
    return np.linalg.norm((a - b).reshape(len(a), -1), axis=1)


def test_it_finds_what_the_attack_cell_finds(cell, stored):
    plain = cell.base.compute(cell.load(source="samples"))
    np.testing.assert_array_equal(stored.arrays["found"], plain.arrays["found"])
    assert stored.record["scores"] == plain.record["scores"]
    assert [f["mean"] for f in stored.record["frames"][1:]] == [a["mean"] for a in plain.record["attack"]["anytime"]]


def test_frames_go_from_the_start_to_the_end(stored):
    frames, pictures = stored.record["frames"], stored.arrays["frames"]
    assert [f["step"] for f in frames] == [0, 10, 16, 25, 40]
    for f, images in zip(frames, pictures):
        np.testing.assert_allclose(f["distance"], apart(stored.arrays["train"], images), rtol=1e-5)
        assert f["mean"] == pytest.approx(np.mean(f["distance"]))
    np.testing.assert_array_equal(frames[0]["distance"], stored.record["images"]["start"])
    np.testing.assert_array_equal(pictures[-1], stored.arrays["found"])


def test_no_held_out_image_is_nearer_than_the_one_shown(cell, stored):
    held_out = cell.load(source="samples").held_out.x
    found, nearest = stored.arrays["found"], stored.arrays["nearest"]
    away = stored.record["images"]["nearest_held_out"]
    np.testing.assert_allclose(apart(found, nearest), away, rtol=1e-5)
    assert {x.tobytes() for x in nearest} <= {x.tobytes() for x in held_out}
    for other in held_out:
        assert np.all(apart(found, np.broadcast_to(other, found.shape)) >= away - 1e-4)
