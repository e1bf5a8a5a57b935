"""Cells on a real Ray cluster of node processes on this machine: equal to local ones, whatever happens to a node."""

import importlib.util
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from recon import ReconError, ray_workers
from recon.benchmark import run_cells
from recon.ray_workers import Resources
from recon.records import Store
from tests.conftest import ROOT

HAS_RAY = importlib.util.find_spec("ray") is not None
needs_ray = pytest.mark.skipif(not HAS_RAY, reason="Ray is not installed: make setup-ray")


@pytest.fixture(scope="module")
def script():
    from tests.resilience import lost_node

    return lost_node


@pytest.fixture(scope="module")
def one_node(script):
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        # The cluster's workers find the probes.
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])))
        with script.cluster(nodes=1, cores=2):
            yield os.environ["RAY_ADDRESS"]


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "cells")


@needs_ray
@pytest.mark.timeout(1800)  # a minute where there are cores to spare
def test_a_killed_node_changes_nothing(tmp_path):
    out = tmp_path / "ray-test.json"
    command = [sys.executable, "-m", "tests.resilience.lost_node", "--out", out]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    made = json.loads(out.read_text())
    assert (made["verdict"], made["cells"], made["nodes"]) == ("identical", 12, 3)
    assert made["ray"]["kill"]["computing"] == 1
    assert made["ray"]["kill"]["cells_finished"] < 12
    assert made["ray"]["nodes_left"] == 2


@needs_ray
def test_a_lost_worker_costs_a_try_and_failures_are_said_at_the_end(one_node, probe, store, monkeypatch):
    monkeypatch.setattr(ray_workers.Tasks, "tries", 2)
    acts = {"a": "dies", "b": "fails", "c": "breaks", "d": "dies once", "e": "works"}
    told = []
    with pytest.raises(ReconError, match="3 of 5 cells failed") as error:
        run_cells([probe.make(*a) for a in acts.items()], store, False, lambda *a: told.append(a), ray=Resources())
    for text in ("probe a: its worker was lost, ", "(2 tries)", "probe b: no such luck", "KeyError"):
        assert text in str(error.value)
    assert {name: len(pids) for name, pids in probe.begun().items()} == {"a": 2, "b": 1, "c": 1, "d": 2, "e": 1}
    assert sorted(p.name for p in store.root.iterdir()) == ["key-d", "key-e"]
    assert {i for i, fraction, _ in told if fraction == 1.0} == {3, 4}
    assert sum("again" in text for _, _, text in told) == 2
    # What is stored is not computed again, nor is Ray asked for it; what is forced is, once however often it is listed.
    monkeypatch.setenv("RAY_ADDRESS", "nowhere:1")
    run_cells([probe.make("e")], store, False, lambda *_: None, ray=Resources())
    monkeypatch.setenv("RAY_ADDRESS", one_node)
    (made, same) = run_cells([probe.make("e")] * 2, store, True, lambda *_: None, ray=Resources(cpus=2))
    assert len(probe.begun()["e"]) == 2
    np.testing.assert_array_equal(made.arrays["x"], np.full(3, ord("e") + 1, np.float32))
    assert made.record == same.record
    assert made.record["threads"] == "2"
    if hasattr(os, "sched_getaffinity"):
        assert len(made.record["cores"]) == min(2, len(os.sched_getaffinity(0)))


@needs_ray
def test_ctrl_c_loses_the_running_cells_only(one_node, probe, store):
    from tests.test_workers import alive, wait_for

    def report(i, fraction, text):
        if text == "asleep" and (store.root / "key-a").exists():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_cells([probe.make("a"), probe.make("b", "dreams")], store, False, report, ray=Resources())
    assert [p.name for p in store.root.iterdir()] == ["key-a"]
    wait_for(lambda: not any(alive(int(pid)) for pid in probe.begun()["b"]))


@needs_ray
def test_what_no_node_can_do_is_said_and_not_waited_for(one_node, probe, store, monkeypatch):
    with pytest.raises(ReconError, match=r"GPU 1 \(at most 0\).*--gpus-per-cell"):
        run_cells([probe.make("a")], store, False, lambda *_: None, ray=Resources(gpus=1.0))
    there = ray_workers.software(("recon.metrics",))
    monkeypatch.setattr(ray_workers, "software", lambda modules: there | {"numpy": "1.0"})
    with pytest.raises(ReconError, match=rf"numpy {np.__version__} instead of 1.0"):
        run_cells([probe.make("a")], store, False, lambda *_: None, ray=Resources())
    assert not probe.begun()


@needs_ray
@pytest.mark.timeout(900)
def test_a_figure_and_its_baseline_from_the_command_line(one_node, tiny):
    def stored(*command):
        """Cells in the store after a command."""
        options = ["--source", "samples", "--executor", "ray", "--cpus-per-cell", "1"]
        done = subprocess.run(
            [sys.executable, "-m", "recon", *command, *options], cwd=tiny, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return len(list((tiny / ".recon" / "cells").glob("*/record.json")))

    assert stored("reproduce", "tiny") == 3
    assert len(json.loads((tiny / ".recon" / "results" / "tiny" / "quick-samples.json").read_text())["cells"]) == 3
    assert stored("baseline", "update", "tiny", "--repeats", "2", "--why", "first") == 4  # `exact` had one seed
    assert (tiny / "results" / "baselines" / "tiny-quick-samples.json").is_file()


@needs_ray
def test_without_a_cluster_it_says_how_to_get_one(probe, store, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(ReconError, match="ray start --head"):
        run_cells([probe.make("a")], store, False, lambda *_: None, ray=Resources())


def test_without_ray_it_says_how_to_install_it(probe, store, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ReconError, match="make setup-ray"):
        run_cells([probe.make("a")], store, False, lambda *_: None, ray=Resources())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"gpus": 1.0}, "--executor ray"),
        ({"executor": "ray", "jobs": 2}, "--executor local"),
        ({"executor": "ray", "gpus": 1.5}, "whole ones"),
    ],
)
def test_options_of_the_other_executor_are_refused(options, says):
    from recon.cli.options import Run

    with pytest.raises(ReconError, match=says):
        _ = Run(**options).ray
    assert Run(jobs=2).ray is None
    assert Run(executor="ray", gpus=0.5, memory=8.0).ray == Resources(cpus=1, gpus=0.5, memory=8.0)


@pytest.mark.parametrize("words", ["reproduce fig1", "check fig1", "baseline update fig1 --why first"])
def test_commands_take_the_executor(command, words):
    done = command(*words.split(), "--executor", "ray", "--jobs", "2", cwd=ROOT)
    assert done.returncode == 1
    assert "--jobs is for --executor local" in done.stderr


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system cannot bind a process to cores")
def test_workers_of_a_machine_are_bound_to_cores_of_their_own():
    """Three processes that each claim a core: the first two get different ones where there are two."""
    hold = (
        "import os, sys; from recon.ray_workers import bind; bind(1);"
        "print(*os.sched_getaffinity(0), flush=True); sys.stdin.read()"
    )
    quiet = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen([sys.executable, "-c", hold], **quiet) for _ in range(3)]
    try:
        bound = [set(map(int, p.stdout.readline().split())) for p in processes]
    finally:
        for p in processes:
            p.communicate()
    mine = os.sched_getaffinity(0)
    assert all(len(cores) == 1 and cores <= mine for cores in bound)
    if len(mine) >= 3:
        assert len(set.union(*bound)) == 3
    elif len(mine) == 2:
        assert len(set.union(*bound)) >= 2
