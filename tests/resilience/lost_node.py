"""Kill one of three nodes of a Ray cluster in the middle of a run, and compare every cell with a local run's.

    python -m tests.resilience.lost_node [--figure fig2 --preset quick]

The cells, twelve small ones or a figure's, are computed by local processes first, one for each core, and then on a
cluster of this machine: three Ray nodes, each with processes and an object store of its own and room for one cell. When
a quarter of the cells is stored and the last node is computing, all its processes get SIGKILL. All cells are to finish,
with records and arrays equal bit for bit; times, memory use and the moments at which a descent was looked at are not
compared. Needs `make setup-ray`.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from recon.benchmark import Planned, cores, find, plan, project_root, run_cells
from recon.cells import AttackCell
from recon.dynamics import Linearised
from recon.errors import ReconError
from recon.networks import MLP
from recon.ray_workers import Resources
from recon.records import Store, cells_differ
from tests.resilience.kill import conclude

NODES = 3
STARTS = 3  # tries to start a cluster
NOTICED = 60.0  # seconds in which a cluster knows that a node is gone
STORE_BYTES = 100 << 20  # of each node's object store


def small() -> list[AttackCell]:
    """Twelve cells of a second or two."""
    return [
        AttackCell("mnist_odd_even", 6, MLP((width,)), Linearised(), "ntk-fast", (("steps", 500),), seed=seed)
        for width in (32, 64)
        for seed in range(6)
    ]


@contextmanager
def cluster(nodes: int = NODES, cores: int = 1) -> Iterator[Any]:
    """Nodes on this machine; RAY_ADDRESS is set to them, and this process belongs to the first."""
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0"}
    from ray.cluster_utils import Cluster

    for left in reversed(range(STARTS)):
        made = Cluster()
        try:
            for _ in range(nodes):
                made.add_node(num_cpus=cores, object_store_memory=STORE_BYTES, include_dashboard=False)
            made.wait_for_nodes()
            break
        except Exception:  # on a busy machine, a node that took more than Ray's half a minute to start
            with suppress(Exception):  # what there is to shut down may not answer either
                made.shutdown()
            if not left:
                raise
    try:
        os.environ["RAY_ADDRESS"] = made.address
        yield made
    finally:
        made.shutdown()


def workers(raylet: int) -> dict[int, str]:
    """The processes of a node, and what they are at: Ray writes it in their names."""
    table = subprocess.run(["ps", "-A", "-o", "ppid=,pid=,args="], capture_output=True, text=True, check=True).stdout
    rows = (line.split(None, 2) for line in table.splitlines())
    return {int(pid): args for parent, pid, args in rows if int(parent) == raylet}


def killed_run(planned: list[Planned], store: Store) -> dict[str, Any]:
    """Compute on the cluster and kill its last node on the way; returns what happened when."""
    began, done, again = time.monotonic(), set[int](), []
    kill: dict[str, Any] = {}
    with cluster() as nodes:
        raylet = nodes.list_all_nodes()[-1].all_processes["raylet"][0].process.pid

        def report(i: int, fraction: float, text: str) -> None:
            if fraction == 1.0:
                done.add(i)
            if "again" in text:
                again.append(planned[i].cell.title)
                print(f"{planned[i].cell.title}: {text}", flush=True)
            if kill or len(done) < len(planned) // 4:
                return
            processes = workers(raylet)
            if computing := sum(name.startswith("ray::work") for name in processes.values()):
                for pid in (raylet, *processes):
                    with suppress(ProcessLookupError):  # some go with the first
                        os.kill(pid, signal.SIGKILL)
                kill.update(after_seconds=time.monotonic() - began, cells_finished=len(done), computing=computing)
                print(f"killed a node, {len(done)} of {len(planned)} cells stored", flush=True)

        run_cells(planned, store, False, report, ray=Resources(cpus=1))
        took = time.monotonic() - began
        import ray

        ray.init(os.environ["RAY_ADDRESS"], logging_level="error")
        deadline = time.monotonic() + NOTICED
        while (left := sum(node["Alive"] for node in ray.nodes())) == NODES and time.monotonic() < deadline:
            time.sleep(1)
        ray.shutdown()
    return {"seconds": took, "kill": kill, "computed_again": again, "nodes_left": left}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--figure")
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--source", default="samples")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--out", type=Path, default=project_root() / ".recon" / "ray-test.json")
    args = parser.parse_args()
    cells = small() if args.figure is None else find(project_root(), args.figure).cells(args.preset)
    planned = plan(cells, {"source": args.source, "data_dir": args.data_dir})
    keys = sorted({p.key for p in planned})
    with tempfile.TemporaryDirectory(prefix="ray-test-") as folder:
        local, far = Store(Path(folder) / "local"), Store(Path(folder) / "ray")
        began = time.monotonic()
        run_cells(planned, local, False, lambda *_: None, jobs=cores())
        took = time.monotonic() - began
        print(f"local: {took:.0f} s, {len(keys)} cells", flush=True)
        happened = killed_run(planned, far)
        stored = sorted(p.name for p in far.root.iterdir())
        found = [] if stored == keys else [f"stored: {stored}, asked: {keys}"]
        found += [f"cell {key}: {text}" for key in keys for text in cells_differ(local.read(key), far.read(key))]
    if not happened["kill"]:
        found.append("No node was killed: every cell was done before.")
    from ray import __version__ as version

    of = f" --figure {args.figure} --preset {args.preset}" if args.figure else ""
    command = f"python -m tests.resilience.lost_node{of} --source {args.source}"
    run = {"cells_of": f"{args.figure} {args.preset}" if args.figure else "twelve small cells", "command": command}
    run |= {"cells": len(keys), "nodes": NODES, "local_seconds": took, "ray": happened, "ray_version": version}
    conclude(run, found, args.out, f"one of {NODES} nodes killed, {len(keys)} cells")


if __name__ == "__main__":
    try:
        main()
    except ReconError as error:
        sys.exit(f"error: {error}")
