"""Cells computed on a Ray cluster (`make setup-ray`), whose address is in RAY_ADDRESS.

A task computes one cell and sends the result back; this process alone writes to the store, so that the nodes need no
disk in common and a cell that was begun twice is stored once. What a lost worker or node was at is computed again
elsewhere. Nodes have to run what this process runs: the same code and the same versions of the libraries.
"""

import os
import pickle
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recon.errors import ReconError, reason
from recon.records import LIBRARIES, Store, code_version, library_versions
from recon.workers import Job, Kind, News, computed, keep

if TYPE_CHECKING:
    from recon.cells import Cell
    from recon.progress import Report

POLL = 0.5  # seconds between looks at the cluster
TELL = 1.0  # seconds between a cell's words on its progress
GB = 2**30


@dataclass(frozen=True)
class Resources:
    """What the cluster sets aside for a cell.

    Attributes:
      cpus: cores, to which the cell's threads are bound.
      gpus: a fraction lets cells share one.
      memory: in GB (2³⁰ bytes); 0 asks for none in particular.
    """

    cpus: int = 1
    gpus: float = 0.0
    memory: float = 0.0

    def asked(self) -> dict[str, float]:
        """The amounts, by Ray's names."""
        every = {"CPU": float(self.cpus), "GPU": self.gpus, "memory": self.memory * GB}
        return {name: amount for name, amount in every.items() if amount}


class Tasks:
    """A pool of the cluster's workers, whose results this process stores as they come in."""

    tries = 4  # a node that goes takes cells along that have no part in it

    def __init__(self, ray: Any, store: Store, force: bool, resources: Resources) -> None:
        """Of a cluster with a node that is large enough."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        self.ray, self.store, self.force, self.resources = ray, store, force, resources
        # Progress is told to an actor beside this process, so that no other node's end is its own.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self.words = ray.remote(Words).options(num_cpus=0, scheduling_strategy=here).remote()
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(resources.cpus))
        variables = threads | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "XLA_FLAGS": os.environ.get("XLA_FLAGS", "")}
        self.task = ray.remote(work).options(
            num_cpus=resources.cpus,
            num_gpus=resources.gpus,
            memory=int(resources.memory * GB) or None,
            max_retries=0,  # this process begins anew what is lost, and so can count and say it
            runtime_env={"env_vars": variables},
        )
        self.sent: dict[int, Any] = {}  # cells share their images
        self.running: dict[Any, Job] = {}

    def begin(self, job: Job) -> None:
        """Send a cell to the cluster."""
        key, cell, data = job
        if id(data) not in self.sent:
            self.sent[id(data)] = self.ray.put(pickle.dumps(data))
        needs = software(cell.modules), self.resources.cpus, self.words
        self.running[self.task.remote(key, cell, self.sent[id(data)], *needs)] = job

    def heard(self) -> Iterator[News]:
        """What ended, and what is said of progress.

        Raises:
          ReconError: the last node that was large enough is gone.
        """
        ready, _ = self.ray.wait(list(self.running), num_returns=len(self.running), timeout=POLL)
        for ref in ready:
            key, cell, _ = job = self.running.pop(ref)
            kind, made = outcome(self.ray, ref)
            if kind == "done":
                keep(key, cell, made, self.store, self.force)
            yield job, kind, 1.0, "done" if kind == "done" else made
        at_work = {job[0]: job for job in self.running.values()}
        with suppress(self.ray.exceptions.RayError):  # no result depends on words
            for key, (fraction, text) in self.ray.get(self.words.taken.remote(), timeout=POLL).items():
                if key in at_work:
                    yield at_work[key], "progress", fraction, text
        if self.running:
            require_room(self.ray, self.resources)


@contextmanager
def tasks(store: Store, force: bool, resources: Resources) -> Iterator[Tasks]:
    """The pool of a cluster. Cells that are running at the end are cancelled, and only they are lost.

    Raises:
      ReconError: there is no Ray, no cluster or no node that is large enough.
    """
    with cluster() as ray:
        require_room(ray, resources)
        pool = Tasks(ray, store, force, resources)
        try:
            yield pool
        finally:
            for ref in pool.running:
                ray.cancel(ref, force=True)


@contextmanager
def cluster() -> Iterator[Any]:
    """The package `ray`, connected to the cluster, and disconnected at the end if it was not connected before.

    Raises:
      ReconError: there is no Ray, no address, or no cluster at the address.
    """
    try:
        import ray
    except ImportError as error:
        raise ReconError(f"Ray cannot be imported ({error}): install it with `make setup-ray`.") from error
    if ray.is_initialized():
        yield ray
        return
    address = os.environ.get("RAY_ADDRESS")
    if not address:
        raise ReconError(
            "There is no cluster to compute on: start one with `ray start --head`, and set RAY_ADDRESS to its address, "
            "HOST:PORT, or to `auto` on one of its nodes."
        )
    try:
        ray.init(address, logging_level="error", log_to_driver=False)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ReconError(f"There is no Ray cluster at RAY_ADDRESS={address} ({reason(error)}): start it.") from error
    try:
        yield ray
    finally:
        ray.shutdown()


def require_room(ray: Any, resources: Resources) -> None:
    """Look for a node that a cell fits on when it is empty; without one Ray would wait for ever.

    Raises:
      ReconError: there is none.
    """
    asked, nodes = resources.asked(), [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(all(node.get(name, 0.0) >= amount for name, amount in asked.items()) for node in nodes):
        largest = {name: max((node.get(name, 0.0) for node in nodes), default=0.0) for name in asked}
        words = (f"{name} {amount:g} (at most {largest[name]:g})" for name, amount in asked.items())
        raise ReconError(
            f"None of the cluster's {len(nodes)} nodes has what a cell asks for, {', '.join(words)}: add a larger node "
            "or lower --cpus-per-cell, --gpus-per-cell or --memory-per-cell; cells that are done are stored."
        )


def outcome(ray: Any, ref: Any) -> tuple[Kind, Any]:
    """What became of a task: ("done", its result), ("failed", why) or ("lost", why)."""
    gone = ray.exceptions
    try:
        kind, made = ray.get(ref)
    except (gone.WorkerCrashedError, gone.NodeDiedError, gone.OutOfMemoryError, gone.ObjectLostError) as error:
        return "lost", f"was lost, {reason(error)}"
    except gone.RayError as error:
        return "failed", f"no worker could begin it: {reason(getattr(error, 'cause', None) or error)}"
    return kind, made


class Words:
    """What the cells at work last said of their progress, between two askings."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.said: dict[str, tuple[float, str]] = {}

    def say(self, key: str, fraction: float, text: str) -> None:
        """Called by a cell's worker."""
        self.said[key] = fraction, text

    def taken(self) -> dict[str, tuple[float, str]]:
        """All that is new, by the cells' keys."""
        said, self.said = self.said, {}
        return said


def work(key: str, cell: "Cell", data: bytes, wanted: dict[str, str], cpus: int, words: Any) -> tuple[str, Any]:
    """A worker's part: ("done", the cell's result) or ("failed", why).

    Args:
      data: the cell's pickled images.
      wanted: the `software` of the process that asks.
      words: an actor of class `Words`.
    """
    bind(cpus)
    try:
        here = software(cell.modules)
        if other := [f"{name} {here[name]} instead of {wanted[name]}" for name in wanted if here[name] != wanted[name]]:
            return "failed", f"a node of the cluster has {', '.join(other)}: install on all nodes what is here."
        return "done", computed(cell, pickle.loads(data), now_and_then(lambda f, text: words.say.remote(key, f, text)))
    except ReconError as error:
        return "failed", str(error)
    except Exception:
        return "failed", traceback.format_exc()


@cache
def software(modules: tuple[str, ...]) -> dict[str, str]:
    """What decides a cell's numbers beside its settings and images: versions of its code and of the libraries."""
    libraries = {name: version(name) for name in LIBRARIES if name != "recon"} | library_versions(modules)
    return {"code version": code_version(modules)} | libraries


def now_and_then(report: "Report") -> "Report":
    """The same report, at most every `TELL` seconds."""
    last = 0.0

    def seldom(fraction: float, text: str) -> None:
        nonlocal last
        if time.monotonic() - last >= TELL:
            last = time.monotonic()
            report(fraction, text)

    return seldom


@cache  # a worker that computes several cells is bound once
def bind(cpus: int) -> list[Any]:
    """Bind this process to cores that no other worker of this machine is bound to; XLA sizes its thread pool on them.

    A core is claimed by a lock on a file of the temporary folder, which the system releases when the process ends.
    Where all are claimed, which is a cluster that was promised more cores than there are, workers share them.

    Returns:
      The locked files, to be kept open.
    """
    if not hasattr(os, "sched_getaffinity"):
        return []
    import fcntl

    folder = Path(tempfile.gettempdir()) / f"recon-cores-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    mine = sorted(os.sched_getaffinity(0))
    claims: dict[int, Any] = {}
    for core in mine:
        if len(claims) == cpus:
            break
        file = open(folder / str(core), "w")  # noqa: SIM115 (closing it gives the core back)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            claims[core] = file
        except OSError:
            file.close()
    start = os.getpid() % len(mine)
    others = [core for core in mine[start:] + mine[:start] if core not in claims]
    os.sched_setaffinity(0, {*claims, *others[: cpus - len(claims)]})
    return list(claims.values())
