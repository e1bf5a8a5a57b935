import numpy as np
import pytest

from recon.cells import AttackCell
from recon.cells.finetuning import FinetuneCell, first_or_second_half, public_record, split
from recon.dynamics import Linearised
from recon.errors import ReconError
from recon.networks import MLP
from recon.tasks import Split, load_task

ATTACKED = AttackCell("mnist_odd_even", 6, MLP((48, 48)), Linearised(), "exact")
CELL = FinetuneCell(ATTACKED, 20, Linearised())


@pytest.fixture(scope="module")
def data():
    return CELL.load(source="samples")


def test_public_and_unseen_images_share_none_with_each_other_or_with_the_private_ones(data):
    public, fresh = split(data.test, 20, data)
    sets = [{x.tobytes() for x in s.x} for s in (public, fresh, data.train, data.held_out)]
    assert len(set.union(*sets)) == sum(map(len, sets))
    assert (len(public), len(fresh)) == (20, len(data.test) - 20)
    with pytest.raises(ReconError, match="600 public images"):
        split(data.test, 600, data)


def test_the_public_task_is_low_against_high_digits(data):
    y = first_or_second_half(data.test, data)
    np.testing.assert_array_equal(y[:, 0], [-1 if digit <= 4 else 1 for digit in data.test.labels])
    with pytest.raises(ReconError, match="choose a binary task"):
        first_or_second_half(data.test, load_task("mnist_10way", 10, source="samples"))


def test_distances_to_public_images_by_hand():
    def images(*values):
        x = np.zeros((len(values), 1, 2, 1), np.float32)
        x[:, 0, 0, 0] = values
        return Split(x, np.ones((len(x), 1), np.float32), np.zeros(len(x), np.int64), "")

    # On a line: 0 and 10 reconstructed; public 1, 2 and 9, of which two are matched one to one; unseen 4, 5, 6, and 0.
    made = public_record(images(0.0, 10.0).x, images(1.0, 2.0, 9.0), images(4.0, 5.0, 6.0, 0.0), n=2)
    np.testing.assert_allclose(made["nearest"], [1, 1])
    np.testing.assert_allclose(made["nearest_fresh"], [4, 4])
    assert made["mean"] == pytest.approx((1 + 8) / 2)
    assert made["mean_fresh"] == pytest.approx((4 + 5) / 2)
    assert public_record(images(0.0).x, images(), images(1.0), n=1)["nearest"] is None


def test_the_change_from_public_weights_holds_the_private_images_alone(data):
    stored = CELL.compute(data)
    record = stored.record
    # The rank of the change tells six images, not twenty-six; all six come back, and no public one does.
    assert record["attack"]["n_estimated"] == 6
    assert max(record["images"]["distance"]) < 0.01
    assert record["public"]["loss"] < 1e-6
    assert min(record["public"]["nearest"]) > 1
