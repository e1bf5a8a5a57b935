import dataclasses

import numpy as np
import pytest

from recon.cells import AttackCell
from recon.cells.starts import StartCell, draw_start, shuffle
from recon.dynamics import Linearised
from recon.errors import ReconError
from recon.networks import MLP

ATTACKED = AttackCell("mnist_odd_even", 10, MLP((32, 32)), Linearised(), "ntk-fast", (("steps", 5),))


@pytest.fixture(scope="module")
def data():
    return ATTACKED.load(source="samples")


def rows(x):
    return {image.tobytes() for image in np.asarray(x, np.float32)}


def test_starts_of_a_class_are_test_images_of_that_class(data):
    for group, odd in ((0, False), (1, True)):
        start = draw_start(StartCell(ATTACKED, "class", group=group), data)
        assert len(start) == 20
        mine = data.test.x[data.test.labels % 2 == odd]
        assert len(rows(start)) == 20
        assert rows(start) <= rows(mine)
        assert not rows(start) & (rows(data.train.x) | rows(data.held_out.x))


def test_true_starts_are_the_training_images_twice_and_noise_has_its_scale(data):
    np.testing.assert_array_equal(draw_start(StartCell(ATTACKED, "true"), data), np.tile(data.train.x, (2, 1, 1, 1)))
    noise = draw_start(StartCell(ATTACKED, "noise", 0.3), data)
    added = draw_start(StartCell(ATTACKED, "true", 0.3), data) - np.tile(data.train.x, (2, 1, 1, 1))
    for x in (noise, added):
        assert x.std() == pytest.approx(0.3, rel=0.03)  # of 15,680 numbers: five standard errors
    other = draw_start(StartCell(ATTACKED, "noise", 0.3, start_seed=1), data)
    assert np.abs(np.corrcoef(noise.ravel(), other.ravel())[0, 1]) < 0.05


def test_shuffling_keeps_each_image_s_pixels_and_orders_them_differently(rng):
    x = rng.normal(size=(3, 5, 4, 2))
    y = shuffle(x, rng)
    for a, b in zip(x.reshape(3, 20, 2), y.reshape(3, 20, 2)):
        assert sorted(map(tuple, a)) == sorted(map(tuple, b))
    same = np.broadcast_to(np.arange(20.0).reshape(1, 5, 4, 1), (3, 5, 4, 1))
    assert len({image.tobytes() for image in shuffle(same, rng)}) == 3


def test_what_cannot_start_is_refused(data):
    with pytest.raises(ReconError, match="start is one of"):
        StartCell(ATTACKED, "mean").check()
    none = dataclasses.replace(data.test, x=data.test.x[:3], y=data.test.y[:3], labels=data.test.labels[:3])
    with pytest.raises(ReconError, match="20 test images"):
        draw_start(StartCell(ATTACKED, "shuffled"), dataclasses.replace(data, test=none))


def test_the_attack_starts_there_and_the_record_says_so(data):
    cell = StartCell(ATTACKED, "class", group=1)
    stored = cell.compute(data)
    np.testing.assert_array_equal(stored.arrays["start"], draw_start(cell, data))
    assert stored.record["cell"]["start"] == "class"
    assert stored.record["images"]["own_class"].tolist() == (data.train.labels % 2 == 1).tolist()
