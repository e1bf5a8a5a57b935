import ast
import getpass
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
from recon.cells import AttackCell
from recon.dynamics import Linearised
from recon.networks import MLP
from recon.records import Store, Stored, cell_key, figure_bytes, json_bytes, provenance, read_json, write_bytes
from recon.records.code_version import PACKAGE, PARTS, closure, code_version, everything, syntax_digest

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
    assert all((PACKAGE / part).exists() for part in PARTS)
    assert len(code_version()) == 12
    ast.parse(SOURCE)


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
    base = ({"n": 1, "w": 2}, {"train": "a"}, "v")
    key = cell_key(*base)
    assert cell_key({"w": 2, "n": 1}, {"train": "a"}, "v") == key
    assert (
        len({key, cell_key({"n": 2}, *base[1:]), cell_key(base[0], {"train": "b"}, "v"), cell_key(*base[:2], "u")}) == 4
    )


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


def test_a_figures_record_has_its_numbers_on_one_line():
    made = {"curve": [1 / 3, 2, 3.5], "text": "[\n 1 ]", "rows": [{"a": [[1, 2], []]}]}
    text = figure_bytes(made).decode()
    assert '"curve": [ 0.3333333, 2, 3.5 ]' in text
    assert json.loads(text) == {**made, "curve": [0.3333333, 2, 3.5]}


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
