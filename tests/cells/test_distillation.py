import dataclasses

import jax
import numpy as np
import pytest

from benchmarks._sets import DISTILLED, PRESETS, SETS, distilled, name_of
from recon import ReconError, distill
from recon.benchmark import benchmarks
from recon.cells.distillation import DistillationCell
from recon.distillation import finite_accuracy, infinite_accuracy
from recon.dynamics import GradientFlow, Linearised
from recon.metrics import distances
from recon.networks import MLP
from recon.records import json_bytes
from tests.conftest import ROOT

NETWORKS = (("linearised", MLP((32, 32)), Linearised()), ("standard", MLP((32, 32)), GradientFlow(1e-3, tol=1e-2)))
CELL = DistillationCell("mnist_odd_even", 12, 2, "rkip", (("steps", 30),), NETWORKS, seed=3)


@pytest.fixture(scope="module")
def data():
    return CELL.load(source="samples")


def test_record_says_what_was_measured(data):
    stored = CELL.compute(data)
    record, arrays = stored.record, stored.arrays
    k_set, k_networks = jax.random.split(jax.random.key(3))
    again = distill(data, 2, method="rkip", key=k_set, steps=30, progress=False)
    for name in ("images", "labels", "start"):
        np.testing.assert_array_equal(arrays[name], getattr(again, name))
    pairs = again.images, again.labels, data.test.x, data.test.y
    assert record["accuracy"]["infinite"] == infinite_accuracy(*pairs)
    for name, network, rule in NETWORKS:
        assert record["accuracy"][name] == finite_accuracy(*pairs, network, rule, k_networks)
    assert record["set"]["loss"] == again.loss
    assert (record["set"]["steps"], record["tested"]["split"], record["tested"]["images"]) == (30, "test", 1000)
    near = distances(again.images, data.train.x).min(axis=1).mean()
    assert record["nearest"]["train"] == pytest.approx(near)
    assert record["matched"] is None
    assert record["losses"]["fit"] + record["losses"]["surplus"] == pytest.approx(record["losses"]["rkip"], rel=1e-8)
    json_bytes(record)


@pytest.mark.parametrize("method", ["all", "random"])
def test_sets_of_real_images(data, method):
    stored = dataclasses.replace(CELL, method=method, options=()).compute(data)
    assert stored.record["set"]["n"] == (12 if method == "all" else 4)
    assert stored.record["set"]["loss"] is None
    assert stored.record["nearest"]["train"] == 0
    assert stored.record["nearest"]["held_out"] > 1
    if method == "all":
        assert max(stored.record["matched"]["train"]) == 0
        assert stored.record["losses"]["rkip"] < 1e-3 * stored.record["losses"]["norm"]


def test_without_a_test_split_the_held_out_images_are_tested_on(data):
    test = data.test
    empty = dataclasses.replace(test, x=test.x[:0], y=test.y[:0], labels=test.labels[:0])
    stored = dataclasses.replace(CELL, networks=()).compute(dataclasses.replace(data, test=empty))
    assert (stored.record["tested"]["split"], stored.record["tested"]["images"]) == ("held_out", 12)
    assert set(stored.record["accuracy"]) == {"infinite"}


def test_settings_tell_cells_apart():
    rules = [
        dataclasses.replace(CELL, method="rkip-finite", options=(("dynamics", rule),)).settings()
        for rule in (Linearised(), GradientFlow())
    ]
    assert rules[0]["options"]["dynamics"]["rule"] == "Linearised"
    assert json_bytes(rules[0]) != json_bytes(rules[1])
    assert CELL.with_seed(5).settings() == {**CELL.settings(), "seed": 5}
    nested = dataclasses.replace(CELL, method="rkip-finite", options=(("options", (("steps", 9),)),))
    assert nested.settings()["options"] == {"options": {"steps": 9}}
    assert "recon.attacks.ntk_fast" in nested.modules


def test_impossible_cells_are_refused():
    for changed, match in (
        ({"method": "best"}, "Unknown method"),
        ({"options": (("step", 1),)}, "no setting step"),
        ({"method": "random"}, "no settings"),
    ):
        with pytest.raises(ReconError, match=match):
            dataclasses.replace(CELL, **changed).check()
    CELL.check()


@pytest.mark.parametrize("preset", list(PRESETS))
def test_figure_8_takes_its_sets_from_table_1(preset):
    table, figure = ({str(c.settings()) for c in benchmarks(ROOT)[n].cells(preset)} for n in ("table1", "fig8"))
    assert figure < table
    made = distilled(PRESETS[preset])
    assert {name_of({"cell": c.settings()}) for c in made} == set(SETS) > set(DISTILLED)
    for c in made:
        c.check()
