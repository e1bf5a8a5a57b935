"""The contract that every module in `benchmarks/` keeps, on a tiny preset."""

import gc

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from recon import ReconError
from recon import benchmark as bench
from recon.cells.agreement import AgreementCell
from recon.cells.certificate import CertificateCell
from recon.cells.distillation import DistillationCell
from recon.distillation import infinite_accuracy
from recon.records import Store, json_bytes, read_json
from tests.conftest import ROOT
from tests.shrunk import shrunk

ALL = bench.benchmarks(ROOT)


@pytest.fixture
def root(shared_dir):
    """Where cells are stored: figures share theirs, and so do the workers that test them."""
    return shared_dir / "checkout"


@pytest.fixture
def quick_collections():
    """A cell collects garbage before it measures its memory: now its own, not that of all that was loaded before."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.parametrize("name", ALL)
@pytest.mark.usefixtures("quick_collections")
def test_contract(name, tmp_path, root):
    benchmark = ALL[name]
    module = benchmark.module()
    # What is not in the paper has no size of the paper's.
    assert {"quick", "full"} <= set(module.PRESETS) <= {"quick", "full", "paper"}
    assert benchmark.title.startswith(module.__doc__.split("\n")[0][:20])
    assert f"make reproduce-{name}" in module.__doc__
    for preset in module.PRESETS:
        cells = benchmark.cells(preset)
        assert len({str(c.settings()) for c in cells}) == len(cells) > 0
    cells = list(dict.fromkeys(shrunk(c) for c in benchmark.cells("quick")))
    told = []
    options = {
        "root": root,
        "where": {"source": "samples"},
        "force": False,
        "jobs": 1,  # in this process, which has most of it compiled
        "report": lambda planned: lambda i, f, text: told.append((i, f)),
    }
    path = bench.reproduce(benchmark, cells, "tiny", out=tmp_path / "results", **options)
    made = read_json(path)
    assert path.name == "tiny-samples.json"
    assert path.with_suffix(".md").read_text(encoding="utf-8").count("\n- **") == len(module.CLAIMS)
    assert path.with_suffix(".csv").read_text(encoding="utf-8").count("\n") > 1
    assert "\\toprule" in path.with_suffix(".tex").read_text(encoding="utf-8")
    assert path.stat().st_size < 1_500_000
    assert {c["verdict"] for c in made["claims"]} <= {"reproduced", "not reproduced", "inconclusive"}
    for record in made["cells"]:
        controlled = record["scores"] if "scores" in record else record.get("matched") or record.get("nearest")
        assert controlled is None or {"train", "held_out"} <= set(controlled)
        assert controlled is not None or record["gaps"]  # of training rules, which find no images
        assert record["data"]["fingerprints"]["train"] != record["data"]["fingerprints"]["held_out"]
        assert record["provenance"]["code_version"]
    _, columns, rows = module.table(made["summary"])
    assert all(len(row) == len(columns) for row in rows)
    pictures = {kind: path.with_suffix(f".{kind}").read_bytes() for kind in ("png", "pdf", "svg")}
    assert told[-1] == (len(cells) - 1, 1.0)

    # A second run computes nothing and says the same; a redraw from the record alone gives the same picture.
    again = read_json(bench.save(bench.measure(benchmark, cells, "tiny", **options), tmp_path / "again"))
    assert json_bytes(again["cells"]) == json_bytes(made["cells"])
    assert json_bytes(again["summary"]) == json_bytes(made["summary"])
    path.with_suffix(".png").unlink()
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
        if isinstance(p.cell, AgreementCell):
            continue
        if isinstance(p.cell, CertificateCell):
            nearest = cdist(arrays["found"], arrays["train"]).min(1) if len(arrays["found"]) else []
            np.testing.assert_allclose(nearest, record["runs"][0]["distance"], atol=1e-4)
            continue
        flat = (arrays["train"] - arrays["found"]).reshape(len(arrays["train"]), -1)
        np.testing.assert_allclose(
            np.linalg.norm(flat, axis=1), np.array(record["images"]["distance"], float), rtol=1e-5
        )


@pytest.mark.parametrize(
    ("name", "figure"),
    [
        *((name, "fig1") for name in ("Fig1", "fig 1", "figure1", "1")),
        *(("J1", "figJ1"), ("Fig. J.1", "figJ1"), ("25-40", "figs25-40"), ("Table 1", "table1"), ("solver", "solvers")),
        *((name, None) for name in ("fig0", "xyz")),
    ],
)
def test_a_name_that_is_nearly_right_is_understood(name, figure):
    assert bench.meant(name, ALL) == figure
    with pytest.raises(ReconError, match=f"did you mean {figure}\\?" if figure else "choose one of attacks, "):
        bench.find(ROOT, name)
