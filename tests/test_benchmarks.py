"""The contract that every module in `benchmarks/` keeps, on a tiny preset."""

import dataclasses

import numpy as np
import pytest

from recon import benchmark as bench
from recon.attacks import attacks
from recon.cells import PruningCell
from recon.cells.compared import ComparedCell
from recon.cells.distillation import DistillationCell
from recon.distillation import infinite_accuracy
from recon.dynamics import GradientFlow, Linearised
from recon.networks import MLP
from recon.records import Store, json_bytes, read_json
from tests.conftest import ROOT

ALL = bench.benchmarks(ROOT)


def shrunk(cell):
    """The same cell, small enough to run in a blink: one width, one seed, and few enough sizes that figures share."""
    if isinstance(cell, PruningCell):
        less = {"retrain": Linearised(), "kept": cell.kept[:2], "draws": 1}
        return dataclasses.replace(cell, attacked=shrunk(cell.attacked), **less)
    if isinstance(cell, DistillationCell):
        return shrunk_set(cell)
    if isinstance(cell, ComparedCell):
        return shrunk_comparison(cell)
    dynamics = Linearised() if cell.linearised else GradientFlow(tol=1e-2)
    known = {f.name for f in dataclasses.fields(attacks()[cell.attack].settings)}
    options = tuple((k, v) for k, v in {"steps": 30, "seconds": 5.0}.items() if k in known)
    n = 12 if cell.task == "mnist_odd_even" and cell.n_train > 20 else 10
    return dataclasses.replace(cell, n_train=n, network=MLP((32, 32)), dynamics=dynamics, options=options, seed=0)


def shrunk_comparison(cell):
    """The same training in few steps, for the attacks that ask for one."""
    asks = cell.attack in ("kkt", "simudy")
    less = {"Margin": {"steps": 50}, "Descent": {"loss": 0.1}}.get(type(cell.dynamics).__name__, {})
    rule = dataclasses.replace(cell.dynamics, **less) if asks else Linearised()
    known = {"simudy": {"steps": 2}, "exact": {"seconds": 1.0}}.get(cell.attack, {"steps": 10})
    options = tuple((dict(cell.options) | known).items())
    return dataclasses.replace(cell, network=MLP((16,)), dynamics=rule, options=options, seed=0)


def shrunk_set(cell):
    """Ten images to as many of them in proportion, in few steps."""
    rules = {"linearised": Linearised(), "standard": GradientFlow(loss=1e-3, tol=1e-2)}
    options = dict(cell.options)
    if cell.method == "rkip-finite":
        options |= {"network": MLP((32, 32)), "dynamics": GradientFlow(tol=1e-2), "options": (("steps", 30),)}
    elif not cell.chosen:
        options["steps"] = min(options.get("steps", 10), 10)
    return dataclasses.replace(
        cell,
        n_train=10,
        n_per_class=max(1, round(10 * cell.n_per_class / cell.n_train)),
        options=tuple(options.items()),
        networks=tuple((name, MLP((32, 32)), rules[name]) for name, *_ in cell.networks),
        seed=0,
    )


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Where cells are stored: figures share theirs."""
    return tmp_path_factory.mktemp("checkout")


@pytest.mark.parametrize("name", ALL)
def test_contract(name, tmp_path, root):
    benchmark = ALL[name]
    module = benchmark.module()
    assert set(module.PRESETS) == {"quick", "full", "paper"}
    assert benchmark.title.startswith(module.__doc__.split("\n")[0][:20])
    assert f"make reproduce-{name}" in module.__doc__
    for preset in module.PRESETS:
        cells = benchmark.cells(preset)
        assert len({str(c.settings()) for c in cells}) == len(cells) > 0
    cells = list(dict.fromkeys(shrunk(c) for c in benchmark.cells("quick")))
    told = []
    options = {
        "root": root,
        "out": tmp_path / "results",
        "where": {"source": "samples"},
        "force": False,
        "report": lambda planned: lambda i, f, text: told.append((i, f)),
    }
    path = bench.reproduce(benchmark, cells, "tiny", **options)
    made = read_json(path)
    assert path.name == "tiny-samples.json"
    assert path.with_suffix(".md").read_text(encoding="utf-8").count("\n- **") == len(module.CLAIMS)
    assert path.with_suffix(".csv").read_text(encoding="utf-8").count("\n") > 1
    assert "\\toprule" in path.with_suffix(".tex").read_text(encoding="utf-8")
    assert path.stat().st_size < 1_500_000
    assert {c["verdict"] for c in made["claims"]} <= {"reproduced", "not reproduced", "inconclusive"}
    for record in made["cells"]:
        controlled = record["scores"] if "scores" in record else record["matched"] or record["nearest"]
        assert {"train", "held_out"} <= set(controlled)
        assert record["data"]["fingerprints"]["train"] != record["data"]["fingerprints"]["held_out"]
        assert record["provenance"]["code_version"]
    _, columns, rows = module.table(made["summary"])
    assert all(len(row) == len(columns) for row in rows)
    pictures = {kind: path.with_suffix(f".{kind}").read_bytes() for kind in ("png", "pdf", "svg")}
    assert told[-1] == (len(cells) - 1, 1.0)

    # A second run computes nothing and says the same; a redraw from the record alone gives the same picture.
    again = read_json(bench.reproduce(benchmark, cells, "tiny", **options))
    assert json_bytes(again["cells"]) == json_bytes(made["cells"])
    assert json_bytes(again["summary"]) == json_bytes(made["summary"])
    bench.draw(benchmark, path)
    assert path.with_suffix(".png").read_bytes() == pictures["png"]

    # The numbers are what they say: distances or accuracies recomputed from the stored arrays.
    stored = Store(root / ".recon" / "cells")
    planned = bench.plan(cells, {"source": "samples"})
    for p, record in zip(planned, made["cells"]):
        arrays = stored.load(p.key).arrays
        if isinstance(p.cell, DistillationCell):
            tested = p.data.test if len(p.data.test) else p.data.held_out
            found = infinite_accuracy(arrays["images"], arrays["labels"], tested.x, tested.y, p.cell.kernel)
            assert found == record["accuracy"]["infinite"]
            continue
        flat = (arrays["train"] - arrays["found"]).reshape(len(arrays["train"]), -1)
        np.testing.assert_allclose(np.linalg.norm(flat, axis=1), record["images"]["distance"], rtol=1e-5)
