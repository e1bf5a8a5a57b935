import importlib
import pkgutil

import numpy as np
import pytest

import recon.cells
from recon.cells import AttackCell
from recon.cells.attack import AttackVariant, steps_to, to_class_mean, to_nearest
from recon.dynamics import Linearised
from recon.networks import MLP


def test_distances_of_outliers_by_hand(rng):
    x = rng.normal(size=(7, 3, 2, 1)).astype(np.float32)
    y = np.array([[-1], [1], [1], [-1], [1], [1], [-1]], np.float32)
    flat = x.reshape(7, 6).astype(np.float64)
    for i in range(7):
        alike = [j for j in range(7) if y[j] == y[i]]
        assert to_class_mean(x, y)[i] == pytest.approx(
            np.linalg.norm(flat[i] - sum(flat[j] for j in alike) / len(alike))
        )
        assert to_nearest(x)[i] == pytest.approx(min(np.linalg.norm(flat[i] - flat[j]) for j in range(7) if j != i))


def test_steps_to_an_error_are_linear_between_snapshots():
    way = [{"step": s, "mean": m} for s, m in ((10, 8.0), (20, 6.0), (40, 2.0), (80, 3.0))]
    assert steps_to(way, 4.0) == 30
    assert steps_to(way, 8.0) == 10
    assert steps_to(way, 2.0) == 40
    assert steps_to(way, 1.9) is None
    assert steps_to([], 5.0) is None


def test_columns_have_an_entry_for_each_image():
    cell = AttackCell("mnist_10way", 10, MLP((24, 24)), Linearised(), "exact", options=(("seconds", 1.0),))
    stored = cell.compute(cell.load(source="samples"))
    images, training = stored.record["images"], stored.record["training"]
    assert np.mean(images["loss_initial"]) == pytest.approx(training["initial_loss"], rel=1e-6)
    for name in ("distance", "dual_norm", "loss_initial", "loss_path", "to_class_mean", "to_nearest"):
        assert np.shape(images[name]) == (10,)
        assert np.isfinite(images[name]).all()
    # One image of each class is its own mean.
    assert max(images["to_class_mean"]) == 0


def test_every_kind_of_cell_is_stored_under_a_name_and_a_version_of_its_own():
    for module in pkgutil.iter_modules(recon.cells.__path__):
        importlib.import_module(f"recon.cells.{module.name}")
    kinds = [AttackCell, *AttackCell.__subclasses__(), *AttackVariant.__subclasses__()]
    assert len(kinds) > 8
    assert len({kind.kind for kind in kinds}) == len(kinds)
    for kind in AttackCell.__subclasses__():
        cell = kind("mnist_odd_even", 6, MLP((32,)), Linearised(), "exact")
        assert cell.settings()["kind"] == kind.kind
        assert {kind.__module__, "recon.cells.attack"} <= set(cell.modules)
