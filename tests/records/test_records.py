import ast
import getpass
import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
import warnings
from importlib.metadata import version

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recon import ReconError
from recon.benchmark import benchmarks
from recon.cells import AttackCell
from recon.cells.agreement import AgreementCell
from recon.cells.audit import AuditCell
from recon.cells.certificate import CertificateCell
from recon.cells.distillation import DistillationCell
from recon.cells.foreign import ScikitLearn
from recon.cells.instances import Plain
from recon.cells.noised_state import NoisedStateCell
from recon.cells.recovery import RecoveryCell
from recon.dynamics import Linearised
from recon.kernels.infinite import InfiniteMLP
from recon.networks import MLP
from recon.records import Store, Stored, cell_key, figure_bytes, json_bytes, outline, provenance, read_json, write_bytes
from recon.records.code_version import (
    COMPUTING,
    PACKAGE,
    PARTS,
    closure,
    code_version,
    everything,
    imported,
    library_versions,
    module_file,
    syntax_digest,
)
from tests.conftest import ROOT

SOURCE = '''
"""Module."""


def f(x):
    """Double."""
    return 2 * x
'''


def test_code_version_follows_the_mathematics_only():
    same = SOURCE.replace('"""Double."""', '"""Twice x, said otherwise."""').replace("return", "# why\n    return")
    assert syntax_digest(same) == syntax_digest(SOURCE)
    assert syntax_digest(SOURCE.replace('    """Double."""\n', '    """D."""\n\n')) == syntax_digest(SOURCE)
    assert syntax_digest(SOURCE.replace("2 * x", "2 + x")) != syntax_digest(SOURCE)
    assert all(module_file(f"recon.{part}") for part in PARTS)
    assert len(code_version()) == 12
    ast.parse(SOURCE)


def test_code_version_is_the_same_under_every_python():
    # As 3.11 gives it; the trees of 3.12 have more fields, and 3.13 writes fewer of them.
    assert syntax_digest(SOURCE).startswith("a93abb77c7a1")


def test_code_version_is_that_of_what_a_cell_uses():
    cell = AttackCell("mnist_odd_even", 6, MLP((32,)), Linearised(), "ntk-fast")
    used = closure(cell.modules)
    assert {"recon.attacks.gradient_matching", "recon.dynamics.flow", "recon.networks.mlp", "recon.metrics"} <= set(
        used
    )
    assert not any(module.startswith("recon.data") for module in used)  # what was read enters by its content
    assert not {"recon.attacks.exact", "recon.tasks.pictures", "recon.kernels.neural_tangents"} & set(used)
    assert set(used) < set(everything())
    # What Python itself imports for the same modules, less what it only looks up by name, is what was found.
    script = "import sys, " + ", ".join(cell.modules) + "; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert set(used) >= {m for m in loaded if m.split(".")[1:2] and m.startswith("recon.") and m.split(".")[1] in PARTS}


def test_code_version_reaches_all_that_a_cell_names():
    kinds = {}
    for benchmark in benchmarks(ROOT).values():
        for cell in benchmark.cells("quick"):
            kinds.setdefault((type(cell), getattr(cell, "attack", getattr(cell, "method", None))), cell)
    assert len({kind for kind, _ in kinds}) > 10
    for cell in kinds.values():
        assert set(cell.modules) <= set(closure(cell.modules)), cell.title


def test_code_version_of_an_edited_module(tmp_path):
    package = tmp_path / "recon"
    for name, text in {
        "cells/__init__.py": "",
        "cells/one.py": "from recon.metrics import near\n",
        "metrics/__init__.py": "from recon.metrics.near import near\n",
        "metrics/near.py": "def near(): return 1\n",
        "metrics/far.py": "",
    }.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text)
    assert sorted(closure(("recon.cells.one",), package)) == [
        "recon.cells",
        "recon.cells.one",
        "recon.metrics",
        "recon.metrics.near",
    ]


def test_key_depends_on_settings_data_and_code():
    base = {"settings": {"n": 1, "w": 2}, "fingerprints": {"train": "a"}, "version": "v", "libraries": {"jax": "1"}}
    other = {"settings": {"n": 2}, "fingerprints": {"train": "b"}, "version": "u", "libraries": {"jax": "2"}}
    key = cell_key(**base)
    assert cell_key(**base | {"settings": {"w": 2, "n": 1}}) == key
    assert len({key, *(cell_key(**base | {name: value}) for name, value in other.items())}) == 5


MNIST = "mnist_odd_even"
BY_KIND = {
    AttackCell(MNIST, 6, MLP((32,)), Linearised(), "ntk-fast"): ("attacks.ntk_fast", "metrics", "arrays"),
    AuditCell(MNIST, 6, ScikitLearn(32)): ("auditing.run", "weights.layout", "cells.foreign", "attacks.exact"),
    CertificateCell(MNIST, 6, "plain", True): ("cells.kinds", "auditing.run", "attacks.exact"),
    RecoveryCell(MNIST, 6, Plain(32)): ("cells.instances", "attacks.exact", "dynamics.flow"),
    AgreementCell(MNIST, 6, 32, "flow"): ("dynamics.flow", "dynamics.descent", "kernels"),
    DistillationCell(MNIST, 6, 1, "rkip"): ("distillation.rkip", "distillation.descent", "kernels.infinite"),
    NoisedStateCell(MNIST, 6, InfiniteMLP(), 1.0, 5): ("distillation.mmd_noised", "dynamics.noised_linearised"),
}


@pytest.mark.parametrize("cell", BY_KIND, ids=lambda cell: type(cell).__name__)
def test_the_version_of_a_kind_of_cell_covers_what_it_runs(cell):
    wanted = {type(cell).__module__, f"recon.tasks.{cell.task}", *(f"recon.{name}" for name in BY_KIND[cell])}
    assert wanted <= set(closure(cell.modules))


@pytest.mark.parametrize(
    ("edited", "stale"),
    [
        ("auditing/run.py", {"audit", "certificate"}),
        ("cells/foreign.py", {"audit"}),
        ("arrays.py", {"audit", "certificate", "attack"}),
        ("cli/audit.py", set()),
    ],
)
def test_an_edit_makes_cells_of_other_versions(edited, stale, tmp_path):
    shutil.copytree(PACKAGE, tmp_path / "recon", ignore=shutil.ignore_patterns("__pycache__"))
    modules = {type(cell).__name__.removesuffix("Cell").lower(): cell.modules for cell in BY_KIND}
    before = {name: code_version(modules[name]) for name in ("audit", "certificate", "attack")}
    with (tmp_path / "recon" / edited).open("a") as file:
        file.write("EDITED = 1\n")
    script = (
        "import json; from recon.records import code_version; "
        f"print(json.dumps({{name: code_version({modules!r}[name]) for name in {[*before]}}}))"
    )
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment, cwd=tmp_path)
    after = json.loads(done.stdout)
    assert {name for name in before if before[name] != after[name]} == stale


def test_two_seeds_are_two_cells_even_of_the_same_images():
    """As draws from a small pool are, say."""
    cells = [AttackCell("mnist_odd_even", 6, MLP((32,)), Linearised(), "ntk", seed=s) for s in (0, 1)]
    assert len({cell_key(c.settings(), {"train": "a"}, "v", {}) for c in cells}) == 2


def test_libraries_that_compute_are_known_and_those_of_a_cell_found():
    cell = AttackCell("mnist_odd_even", 6, MLP((32,)), Linearised(), "ntk-fast")
    found = library_versions(cell.modules)
    assert {"jax", "jaxlib", "numpy", "scipy", "optax"} <= set(found)
    assert "scikit-learn" not in found
    assert found["jax"] == version("jax")
    names = {name.split(".")[0] for file in closure(everything()).values() for name in imported(file.read_text())}
    # What these give to a cell is read, drawn, said or a type.
    harmless = {
        "recon",
        "jaxtyping",
        "msgspec",
        "PIL",
        "safetensors",
        "orbax",
        "h5py",
        "ml_dtypes",
        "jinja2",
        "markupsafe",
    }
    assert names - sys.stdlib_module_names - harmless <= COMPUTING.keys()


@pytest.mark.parametrize("name", ["recon.attacks.nothing", "recon.plots", "numpy", "recon.metrics.score.score"])
def test_modules_whose_edits_would_go_unseen_are_refused(name):
    with pytest.raises(ReconError, match=f"^{name} is no module of "):
        code_version(("recon.metrics", name))


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.dictionaries(st.text(), JSON))
def test_a_figures_record_keeps_seven_digits_and_all_else(made):
    def close(a, b):
        if isinstance(a, float) or isinstance(b, float):
            return a == pytest.approx(b, rel=1e-6, abs=0)
        if isinstance(a, dict):
            return list(a) == list(b) and all(close(a[k], b[k]) for k in a)
        return len(a) == len(b) and all(map(close, a, b)) if isinstance(a, list) else a == b

    assert close(json.loads(figure_bytes(made)), made)


def test_a_figures_record_has_a_line_for_each_cell():
    made = {"curve": [1 / 3, 2], "text": "[\n 1 ]", "cells": [{"a": [[1, 2], []]}, {"a": {}}], "claims": []}
    text = figure_bytes(made).decode()
    assert '"cells": [\n{"a":[[1,2],[]]},\n{"a":{}}\n],\n"claims": []\n}\n' in text
    assert json.loads(text) == {**made, "curve": [0.3333333, 2]}
    assert figure_bytes(json.loads(text)).decode() == text


def test_a_figures_record_outlines_its_cells():
    rows = [{"step": i, "mean": i / 7} for i in range(25)]
    cell = {
        "cell": {"kept": [1 / 3]},
        "attack": {"seconds": {"trace": 1 / 3}, "trace": [[0, 0.5], [1, 0.25]], "anytime": rows},
        "training": {"trace": []},
        "images": {"distance": [1 / 3, 2], "certified": [True, False], "label": None},
    }
    made = outline(cell)
    steps = [row["step"] for row in made["attack"].pop("anytime")]
    assert (steps[0], steps[-1], len(steps)) == (0, 24, 10)
    assert {b - a for a, b in itertools.pairwise(steps)} == {2, 3}
    assert made.pop("images") == {"distance": [0.333333, 2], "certified": [True, False], "label": None}
    assert made == {k: {n: v for n, v in cell[k].items() if n != "anytime"} for k in made}
    assert outline(outline(cell)) == outline(cell)


RECORDS = sorted(p for p in ROOT.glob("results/*/*-*.json") if p.parent.name not in ("baselines", "reference"))


@pytest.mark.parametrize("path", RECORDS, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_stored_records_are_as_they_are_written_today(path):
    made = read_json(path)
    assert path.read_bytes() == figure_bytes({**made, "cells": [outline(c) for c in made["cells"]]})


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "cells")


MADE = Stored({"loss": 0.1, "curve": [1.0, 2.0]}, {"x": np.arange(6.0).reshape(2, 3)})


def test_what_was_stored_comes_back(store):
    assert store.load("k") is None
    store.save("k", Stored({"loss": np.float64(0.1), "curve": np.array([1.0, 2.0])}, MADE.arrays))
    back = store.load("k")
    assert back.record == MADE.record
    np.testing.assert_array_equal(back.arrays["x"], MADE.arrays["x"])
    assert [p.name for p in store.root.iterdir()] == ["k"]


def test_first_writer_stays_unless_replaced(store):
    other = Stored({"loss": 9.0}, {})
    store.save("k", MADE)
    store.save("k", other)
    assert store.load("k").record == MADE.record
    store.save("k", other, replace=True)
    assert store.load("k").record == other.record
    assert [p.name for p in store.root.iterdir()] == ["k"]


@pytest.mark.parametrize("file", ["record.json", "arrays.npz"])
@pytest.mark.parametrize("damage", ["flip", "cut", "remove", "foreign"])
def test_damaged_cells_are_set_aside_with_a_warning(store, file, damage):
    store.save("k", MADE)
    path = store.root / "k" / file
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    elif damage == "cut":
        path.write_bytes(content[:-20])
    elif damage == "remove":
        path.unlink()
    else:
        store.save("other", Stored({"loss": 2.0}, {"x": np.zeros(1)}))
        shutil.copyfile(store.root / "other" / file, path)
    with pytest.warns(UserWarning, match="set aside"):
        assert store.load("k") is None
    assert not (store.root / "k").exists()
    assert any(p.name.startswith("damaged-k") for p in store.root.iterdir())
    store.save("k", MADE)
    with warnings.catch_warnings():
        assert store.load("k").record == MADE.record


def test_killed_writer_leaves_nothing_that_counts(store, tmp_path):
    script = f"""
import os, signal, numpy as np
from recon.records import store as module
from recon.records import Store, Stored
from pathlib import Path
write = os.fsync
module.os.fsync = lambda fd: os.kill(os.getpid(), signal.SIGKILL)
Store(Path({str(store.root)!r})).save("k", Stored({{"loss": 1.0}}, {{"x": np.zeros(3)}}))
"""
    done = subprocess.run([sys.executable, "-c", script])
    assert done.returncode == -9
    assert store.load("k") is None
    store.save("k", MADE)
    assert store.load("k").record == MADE.record


def test_files_are_whole_or_absent(tmp_path):
    target = tmp_path / "folder" / "file"
    write_bytes(target, b"one")
    assert target.read_bytes() == b"one"
    with pytest.raises(ReconError, match=r"Cannot write .* remove the file"):
        write_bytes(target / "below-a-file", b"two")
    assert [p.name for p in target.parent.iterdir()] == ["file"]
    with pytest.raises(ReconError, match="no record"):
        read_json(tmp_path / "absent.json")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(ReconError, match="damaged"):
        read_json(tmp_path / "bad.json")


def test_full_disk_is_said_and_leaves_the_old_file(tmp_path, monkeypatch):
    write_bytes(tmp_path / "file", b"old")

    def full(fd):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ReconError, match="No space left"):
        write_bytes(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1
    with pytest.raises(ReconError, match="No space left"):
        Store(tmp_path / "cells").save("k", MADE)
    assert list((tmp_path / "cells").iterdir()) == []


@given(
    st.dictionaries(
        st.text(), st.floats(allow_nan=False, allow_infinity=False) | st.lists(st.integers(-(2**31), 2**31)) | st.none()
    )
)
def test_json_round_trip(value):
    assert json.loads(json_bytes(value)) == value


def test_provenance_names_the_making_and_nobody():
    made = provenance()
    assert made["versions"]["jax"] == version("jax")
    assert made["code_version"] == code_version()
    text = json.dumps(made)
    assert socket.gethostname() not in text
    assert getpass.getuser() not in text.replace("root/", "")
    assert str(PACKAGE) not in text
