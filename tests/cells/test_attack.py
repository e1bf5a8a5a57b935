import importlib
import pkgutil

import numpy as np
import pytest

import recon.cells
from recon.cells import AttackCell
from recon.cells.attack import AttackVariant, steps_to, to_class_mean, to_nearest
from recon.cells.distillation import DistillationCell
from recon.cells.instances import Plain, plain
from recon.cells.noised_state import NoisedStateCell
from recon.cells.recovery import RecoveryCell
from recon.dynamics import GradientFlow, Linearised
from recon.kernels.infinite import InfiniteMLP
from recon.networks import MLP
from recon.networks.conv import CNN
from recon.records import cell_key


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


def test_keys_of_relu_cells_are_those_from_before_there_were_other_activations():
    dense = AttackCell("mnist_odd_even", 6, MLP((32,)), Linearised(), "ntk-fast")
    patches = AttackCell("mnist_odd_even", 6, CNN((8,), patch=14), GradientFlow(), "ntk-autodiff", (("steps", 9),))
    kernel, networks = InfiniteMLP(b_std=0.1), (("wide", MLP((32, 32)), Linearised()),)
    keys = {
        "abebc7ab2b259b1c4914": dense,
        "33c131f79c230a96e2e0": patches,
        "60e627655bd9a90f4a05": NoisedStateCell("mnist_odd_even", 6, InfiniteMLP(), 1.0, 5),
        "0591c50994e00d242d87": DistillationCell("mnist_odd_even", 20, 2, "kip", (("kernel", kernel),), networks),
        "e826e292f65d0e06da7d": RecoveryCell("mnist_odd_even", 20, Plain(128, bias=False), "exact"),
    }
    for key, cell in keys.items():
        assert cell_key(cell.settings(), {}, "", {}) == key


def test_other_activations_are_said():
    cell = AttackCell("mnist_odd_even", 6, MLP((32,), activation="leaky_relu:0.2"), Linearised(), "ntk-fast")
    assert cell.settings()["network"]["activation"] == "leaky_relu:0.2"
    assert cell.slug == "mnist_odd_even-n6-w32-leaky_relu0.2-linearised-ntk-fast-seed-0"
    assert plain(Plain(128, activation="tanh"))["activation"] == "tanh"
