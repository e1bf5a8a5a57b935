"""Cells in worker processes: results as in one process, each once, whatever happens to a worker."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter

import numpy as np
import pytest

from recon import ReconError
from recon.benchmark import plan, run_cells
from recon.cells import AttackCell
from recon.dynamics import Linearised
from recon.networks import MLP
from recon.records import Store, Stored
from recon.workers import keep, shares_of_cores
from tests.conftest import ROOT


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "cells")


@pytest.mark.parametrize("jobs", [1, 2])
def test_equal_cells_are_computed_once_and_all_are_reported(probe, store, jobs):
    planned = [probe.make(name) for name in "abab"]
    done = Counter()
    results = run_cells(planned, store, False, lambda i, f, text: done.update([i] if f == 1.0 else []), jobs)
    assert [r.record["name"] for r in results] == list("abab")
    assert [r.arrays["x"][0] for r in results] == [ord(c) + 1 for c in "abab"]
    assert {name: len(pids) for name, pids in probe.begun().items()} == {"a": 1, "b": 1}
    assert set(done) == {0, 1, 2, 3}
    mine = {str(os.getpid())} & {pid for pids in probe.begun().values() for pid in pids}
    assert bool(mine) == (jobs == 1)
    # A second run computes nothing; a forced one everything.
    run_cells(planned, store, False, lambda *_: None, jobs)
    assert sum(map(len, probe.begun().values())) == 2
    run_cells(planned, store, True, lambda *_: None, jobs)
    assert {name: len(pids) for name, pids in probe.begun().items()} == {"a": 2, "b": 2}


def test_a_killed_worker_costs_one_try_of_its_cell(probe, store):
    planned = [probe.make("a", "dies once"), probe.make("b"), probe.make("c")]
    results = run_cells(planned, store, False, lambda *_: None, 2)
    assert [r.record["name"] for r in results] == list("abc")
    assert {name: len(pids) for name, pids in probe.begun().items()} == {"a": 2, "b": 1, "c": 1}


def test_failures_are_said_after_the_others_are_stored(probe, store):
    planned = [probe.make("a", "dies"), probe.make("b", "fails"), probe.make("c", "breaks"), probe.make("d")]
    with pytest.raises(ReconError, match="3 of 4 cells failed") as error:
        run_cells(planned, store, False, lambda *_: None, 2)
    for text in ("probe a: its worker was killed by signal 9 (2 tries)", "probe b: no such luck", "KeyError"):
        assert text in str(error.value)
    assert "all others are stored" in str(error.value)
    assert [p.name for p in store.root.iterdir()] == ["key-d"]
    assert len(probe.begun()["a"]) == 2


@pytest.mark.parametrize("names", ["a", "ab"])
def test_nothing_is_said_of_others_where_there_are_none(probe, store, names):
    with pytest.raises(ReconError, match="no such luck") as error:
        run_cells([probe.make(name, "fails") for name in names], store, False, lambda *_: None, 2)
    assert "others" not in str(error.value)
    assert ("2 of 2 cells failed" in str(error.value)) == (names == "ab")


def test_attack_cells_are_the_same_in_workers(tmp_path):
    cells = [
        AttackCell("mnist_odd_even", 6, MLP((32,)), Linearised(), "ntk-fast", (("steps", 9),), seed=s) for s in (0, 1)
    ]
    planned = plan(cells, {"source": "samples"})
    alone, side_by_side = (run_cells(planned, Store(tmp_path / str(j)), False, lambda *_: None, j) for j in (1, 2))
    for a, b in zip(alone, side_by_side, strict=True):
        assert b.record["cell"]["seed"] == a.record["cell"]["seed"]
        assert b.record["reference_seconds"] > 0
        np.testing.assert_allclose(b.arrays["found"], a.arrays["found"], rtol=0, atol=1e-4)
        np.testing.assert_array_equal(b.arrays["train"], a.arrays["train"])


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_parent_leaves_no_workers_and_keeps_what_is_stored(probe, store, tmp_path, sign):
    script = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
import numpy as np
from pathlib import Path
from tests.probes import Probe
from recon.benchmark import Planned, run_cells
from recon.records import Store

if __name__ == "__main__":
    cells = [Probe(n, a, {str(tmp_path / "log")!r}) for n, a in (("a", "works"), ("b", "sleeps"), ("c", "sleeps"))]
    run_cells([Planned(c, np.zeros(1), c.name) for c in cells], Store(Path({str(store.root)!r})), False, print, 2)
"""
    (tmp_path / "parent.py").write_text(script)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    parent = subprocess.Popen([sys.executable, tmp_path / "parent.py"], **quiet)
    wait_for(lambda: set(probe.begun()) == set("abc"))
    # As a terminal does: Ctrl-C reaches the parent and its workers; kill -9 the parent alone.
    os.killpg(parent.pid, sign) if sign == signal.SIGINT else parent.kill()
    _, errors = parent.communicate(timeout=600)
    assert errors.count("KeyboardInterrupt") == (1 if sign == signal.SIGINT else 0), errors
    workers = [int(pid) for pids in probe.begun().values() for pid in pids]
    wait_for(lambda: not any(map(alive, workers)))
    assert [p.name for p in store.root.iterdir()] == ["a"]


def test_a_cell_that_was_stored_meanwhile_stays_and_a_difference_is_said(probe, store):
    cell = probe.make("a").cell
    first, other = (Stored({"name": "a", "list": (1, value)}, {"x": np.zeros(2)}) for value in (2, 3))
    assert keep("key", cell, first, store, force=False) is first
    assert keep("key", cell, first, store, force=False).record == {"name": "a", "list": [1, 2]}
    with pytest.warns(UserWarning, match="probe a was stored meanwhile, and differently .*/list/1"):
        kept = keep("key", cell, other, store, force=False)
    assert kept.record == store.read("key").record == {"name": "a", "list": [1, 2]}
    keep("key", cell, other, store, force=True)
    assert store.read("key").record["list"] == [1, 3]


def wait_for(true):
    """Ends a wait for what will not come; a busy machine may take a while."""
    deadline = time.monotonic() + 300
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system cannot bind a process to cores")
def test_workers_share_the_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 5, 7})
    assert shares_of_cores(1) == [{0, 1, 2, 5, 7}]
    assert shares_of_cores(2) == [{0, 2, 7}, {1, 5}]
    assert shares_of_cores(7)[4:] == [{7}, {0}, {1}]


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system cannot bind a process to cores")
def test_a_worker_is_bound_to_its_cores_and_the_parent_is_not(probe, store):
    before = os.sched_getaffinity(0)
    results = run_cells([probe.make("a"), probe.make("b")], store, False, lambda *_: None, 2)
    assert {tuple(r.record["cores"]) for r in results} <= {tuple(sorted(c)) for c in shares_of_cores(2)}
    assert os.sched_getaffinity(0) == before
