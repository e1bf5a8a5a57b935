import dataclasses

import numpy as np
import pytest

from recon.cells import AttackCell, PruningCell
from recon.cells.pruning import drop_order, subsets, trained_accuracy
from recon.dynamics import Linearised
from recon.networks import MLP

CELL = PruningCell(
    AttackCell("mnist_odd_even", 10, MLP((32, 32)), Linearised(), "ntk-fast", (("steps", 20),)),
    Linearised(),
    kept=(0.6,),
    draws=1,
)
COLUMNS = {
    "distance": np.array([3.0, 1.0, 2.0, 5.0, 4.0, 6.0]),
    "dual_norm": np.array([0.1, 0.6, 0.5, 0.2, 0.3, 0.4]),
    "loss_initial": np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
    "loss_path": np.array([6.0, 5.0, 4.0, 3.0, 2.0, 1.0]),
}
Y = np.array([[-1.0], [-1.0], [-1.0], [1.0], [1.0], [1.0]])


def test_orders_drop_what_they_say_first():
    orders = {name: drop_order(name, COLUMNS, Y).tolist() for name in ("ease", "dual_norm", "loss_initial")}
    assert orders == {
        "ease": [1, 2, 0, 4, 3, 5],
        "dual_norm": [1, 2, 5, 4, 3, 0],
        "loss_initial": [5, 4, 3, 2, 1, 0],
    }
    assert drop_order("ease", COLUMNS, Y, reverse=True).tolist() == [5, 3, 4, 0, 2, 1]
    balanced = drop_order("ease_balanced", COLUMNS, Y)
    for i in (2, 4, 6):
        assert Y[balanced[:i], 0].sum() == 0
    for group in (-1, 1):
        mine = balanced[Y[balanced, 0] == group]
        assert np.all(np.diff(COLUMNS["distance"][mine]) > 0)


def test_subsets_keep_the_end_of_the_order():
    cell = dataclasses.replace(CELL, kept=(0.5,), draws=2)
    found = {(name, reverse, draw): kept for name, reverse, draw, _, kept in subsets(cell, COLUMNS, Y)}
    assert found["all", False, 0].tolist() == list(range(6))
    assert found["ease", False, 0].tolist() == [3, 4, 5]
    assert found["ease", True, 0].tolist() == [0, 1, 2]
    draws = [kept for (name, _, _), kept in found.items() if name == "random"]
    assert [len(set(kept)) for kept in draws] == [3, 3]
    assert draws[0].tolist() != draws[1].tolist()


@pytest.fixture(scope="module")
def computed():
    data = CELL.load(source="samples")
    return data, CELL.compute(data)


def test_record_holds_a_row_for_every_subset(computed):
    _, stored = computed
    rows = stored.record["pruning"]["rows"]
    assert len(rows) == 1 + 5 + 1 + 1
    assert {(r["kept"], r["n"]) for r in rows} == {(1.0, 10), (0.6, 6)}
    assert (stored.record["pruning"]["tested_on"], stored.record["pruning"]["test_images"]) == ("test", 1000)
    assert stored.record["cell"]["kind"] == "pruning"
    assert len(stored.record["images"]["distance"]) == 10
    # Nothing dropped, same rule, same initial weights: the attacked network itself.
    assert rows[0]["accuracy"] == stored.record["training"]["test_accuracy"]


def test_accuracy_is_of_a_network_trained_on_the_subset_alone(computed):
    data, _ = computed
    index = np.array([1, 7, 8])
    x, y, labels = data.train.x, data.train.y, data.train.labels
    shift = (~np.isin(np.arange(10), index)).astype(np.float32)[:, None, None, None]
    spoiled = dataclasses.replace(data, train=dataclasses.replace(data.train, x=x + shift))
    assert trained_accuracy(CELL, data, index, data.test) == trained_accuracy(CELL, spoiled, index, data.test)
    own = dataclasses.replace(data.train, x=x[index], y=y[index], labels=labels[index])
    assert trained_accuracy(CELL, data, index, own) == 1.0


def test_without_a_test_split_the_held_out_images_are_tested_on(computed):
    data, _ = computed
    empty = dataclasses.replace(data.test, x=data.test.x[:0], y=data.test.y[:0], labels=data.test.labels[:0])
    made = dataclasses.replace(CELL, kept=()).compute(dataclasses.replace(data, test=empty))
    assert made.record["pruning"]["tested_on"] == "held_out"
    assert made.record["pruning"]["test_images"] == 10
