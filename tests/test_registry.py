"""Things found by the module that defines them."""

import dataclasses
import importlib

import pytest

from recon import ReconError
from recon.attacks import attacks
from recon.cells.attack import AttackCell
from recon.dynamics import Linearised
from recon.networks import MLP
from recon.registry import module_of
from recon.tasks import tasks


@pytest.mark.parametrize(("package", "attribute", "known"), [("attacks", "ATTACK", attacks), ("tasks", "TASK", tasks)])
def test_the_module_is_the_one_that_defines_the_thing(package, attribute, known):
    for name, thing in known().items():
        module = importlib.import_module(module_of(f"recon.{package}", attribute, name))
        assert getattr(module, attribute) is thing
        assert module.__name__.rpartition(".")[2] == name.replace("-", "_")  # where a reader looks for it


def test_a_cell_that_names_nothing_known_is_refused_rather_than_left_out_of_the_version():
    cell = AttackCell("mnist_odd_even", 6, MLP((32,)), Linearised(), "ntk-fast")
    assert {"recon.attacks.ntk_fast", "recon.tasks.mnist_odd_even"} <= set(cell.modules)
    for wrong in ({"attack": "ntk_fast"}, {"task": "mnist-odd-even"}):
        with pytest.raises(ReconError, match="No module of recon"):
            _ = dataclasses.replace(cell, **wrong).modules
