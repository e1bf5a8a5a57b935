"""Cells computed side by side by a pool of workers; the pool of this machine's processes.

Every process has a pipe of its own and shares no lock with the others: one that is killed takes its running cell with
it and nothing else.
"""

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
import time
import traceback
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from recon.errors import ReconError
from recon.progress import Report
from recon.records import Store, Stored, as_read, cells_differ
from recon.reference import reference_seconds

if TYPE_CHECKING:
    from recon.cells import Cell

Job = tuple[str, "Cell", Any]
"""A cell's key in the store, the cell, its data."""


Kind = Literal["progress", "done", "failed", "lost"]
News = tuple[Job, Kind, float, str]
"""What a worker says: of which cell, how it is with it, the fraction that is done, a text."""


@runtime_checkable
class Pool(Protocol):
    """Workers; `tries` for a cell whose worker is lost."""

    tries: int

    def begin(self, job: Job) -> None:
        """Compute and store a cell, as soon as a worker is free."""

    def heard(self) -> Iterator[News]:
        """What the workers say next, waited for if need be."""


def compute(job: Job, store: Store, force: bool, report: Report) -> Stored:
    """Compute a cell and store it; returns what the store then holds."""
    key, cell, data = job
    return keep(key, cell, computed(cell, data, report), store, force)


def computed(cell: "Cell", data: Any, report: Report) -> Stored:
    """A cell's result, with the time that it took and that of the reference computation around it."""
    before, began = reference_seconds(), time.perf_counter()
    made = cell.compute(data, report)
    took = time.perf_counter() - began
    times = {"seconds": took, "reference_seconds": (before + reference_seconds()) / 2}
    return Stored({**times, **made.record}, made.arrays)


def keep(key: str, cell: "Cell", made: Stored, store: Store, force: bool) -> Stored:
    """Store a result. One that somebody stored meanwhile stays, unless by `force`, and it is said if the two differ."""
    first = None if force else store.load(key)
    if first is None:
        store.save(key, made, replace=force)
        return made
    if found := cells_differ(first, as_read(made)):
        warnings.warn(
            f"{cell.title} was stored meanwhile, and differently ({found[0]}): that one stays; --force replaces it.",
            stacklevel=2,
        )
    return first


def compute_all(todo: Sequence[Job], pool: Pool, report: Callable[[str, float, str], None]) -> None:
    """Compute cells in a pool. One whose worker is lost is begun again; what fails is said after all others are stored.

    Args:
      report: called with a cell's key, the fraction of it that is done, and a text.

    Raises:
      ReconError: cells that failed.
    """
    lost, failures, left = Counter[str](), list[str](), len(todo)
    for job in todo:
        pool.begin(job)
    while left:
        for job, kind, fraction, text in pool.heard():
            key, cell, _ = job
            lost[key] += kind == "lost"
            if kind == "lost" and lost[key] < pool.tries:
                report(key, 0.0, f"its worker {text}: computing it again")
                pool.begin(job)
                continue
            if kind in ("progress", "done"):
                report(key, fraction, text)
            else:
                failures.append(
                    f"{cell.title}: {f'its worker {text} ({pool.tries} tries).' if kind == 'lost' else text}"
                )
            left -= kind != "progress"
    if len(failures) == len(todo) == 1:
        raise ReconError(failures[0])
    if failures:
        others = ", all others are stored, the same command goes on from there" if len(failures) < len(todo) else ""
        raise ReconError(f"{len(failures)} of {len(todo)} cells failed{others}. " + " ".join(failures))


class Processes(AbstractContextManager["Processes"]):
    """A pool of processes on this machine, each bound to its share of the cores where the system allows it."""

    tries = 2

    def __init__(self, jobs: int, store: Store, force: bool) -> None:
        """Start them."""
        self.waiting = deque[Job]()
        self.crew = [Worker(cores, store, force) for cores in shares_of_cores(jobs)]

    def __exit__(self, *_: object) -> None:
        """Let them end; what one is computing is lost."""
        for worker in self.crew:
            worker.stop()

    def begin(self, job: Job) -> None:
        """Send a cell to one that is idle, or let it wait."""
        self.waiting.append(job)
        for worker in self.crew:
            worker.take(self.waiting)

    def heard(self) -> Iterator[News]:
        """What those that have something to say say; one that died is replaced."""
        busy = {worker.connection: worker for worker in self.crew if worker.job is not None}
        for connection in multiprocessing.connection.wait(list(busy)):
            worker = busy[connection]  # type: ignore[index]
            yield worker.heard()
            worker.take(self.waiting)


class Worker:
    """A process that computes one cell after the other, and the pipe to it."""

    def __init__(self, cores: set[int], store: Store, force: bool) -> None:
        """Start it on the given cores (none: on any)."""
        self.job: Job | None = None
        self.cores, self.work = cores, (store, force)
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, *self.work), daemon=True)
        with _inherited(self.cores):
            self.process.start()
        theirs.close()

    def take(self, waiting: deque[Job]) -> None:
        """Begin the next cell, if it is idle and there is one."""
        if self.job is None and waiting:
            self.job = waiting.popleft()
            with suppress(OSError):  # it died already: `heard` will tell
                self.connection.send(self.job)

    def heard(self) -> News:
        """Its next message; or that it died, and another process is in its place."""
        assert self.job is not None
        job = self.job
        try:
            kind, fraction, text = self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
            code = self.process.exitcode or 0
            how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
            kind, fraction, text = "lost", 0.0, how
            self._start()
        if kind != "progress":
            self.job = None
        return job, kind, fraction, text

    def stop(self) -> None:
        """Let it end, at once if it is computing."""
        self.connection.close()
        if self.job is not None:
            self.process.terminate()
        self.process.join(5)
        self.process.kill()
        self.process.join()


def shares_of_cores(jobs: int) -> list[set[int]]:
    """For each of `jobs` workers its cores, as even as they go; empty sets where a system cannot bind a process."""
    if not hasattr(os, "sched_getaffinity"):
        return [set() for _ in range(jobs)]
    mine = sorted(os.sched_getaffinity(0))
    return [set(mine[i::jobs]) or {mine[i % len(mine)]} for i in range(jobs)]


@contextmanager
def _inherited(cores: set[int]) -> Iterator[None]:
    """What a process started here inherits: its cores, on which XLA and BLAS size their thread pools, and no Ctrl-C.

    Ctrl-C goes to every process of a terminal. The parent alone is to answer it, from the first moment of a worker's.
    """
    resource_tracker.ensure_running()  # which every first start of a process does, and then lets Ctrl-C through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    mine = os.sched_getaffinity(0) if cores else set()
    try:
        if cores:
            os.sched_setaffinity(0, cores)
        yield
    finally:
        if cores:
            os.sched_setaffinity(0, mine)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(connection: Any, store: Store, force: bool) -> None:
    """A worker's life: cells come in at the pipe until it is closed, progress and ends go out."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # workers share a GPU
    threading.Thread(target=_end_with_parent, daemon=True).start()
    while True:
        try:
            job = connection.recv()
        except EOFError:
            return
        try:
            if force or store.load(job[0]) is None:
                compute(job, store, force, lambda f, text: connection.send(("progress", f, text)))
            connection.send(("done", 1.0, "done"))
        except ReconError as error:
            connection.send(("failed", 1.0, str(error)))
        except Exception:
            connection.send(("failed", 1.0, traceback.format_exc()))


def _end_with_parent() -> None:
    """A parent that was killed leaves no workers behind."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
