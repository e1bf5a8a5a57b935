import pytest

from recon.cells import AttackCell
from recon.cells.base import data_record
from recon.dynamics import Linearised
from recon.networks import MLP
from recon.records import attack_row


@pytest.mark.parametrize(("task", "n", "draws"), [("mnist_odd_even", 20, 2), ("cifar10_animal_vehicle", 10, 1)])
def test_draws_that_overlap_count_as_one(task, n, draws):
    rows = []
    for seed in (0, 1):
        cell = AttackCell(task, n, MLP((8,)), Linearised(), "exact", seed=seed)
        data = cell.load(source="samples")
        record = {
            "cell": cell.settings(),
            "data": data_record(data),
            "attack": {"steps": 1, "seconds": {"run": 1.0}},
            "scores": {name: {"mean": 1.0} for name in ("train", "held_out", "start")},
            "training": {"kernel_distance": 0.0},
        }
        rows.append(attack_row(record))
        assert data.pool == (20 if draws == 1 else 4000)
    assert len({r["draw"] for r in rows}) == draws
