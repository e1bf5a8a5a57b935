"""Cells computed side by side in worker processes, which put them in the store themselves.

Every worker has a pipe of its own and shares no lock with the others: one that is killed takes its running cell with it
and nothing else. That cell is given to a new worker once more; what fails is said after all others are done.
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
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING, Any

from recon.errors import ReconError
from recon.progress import Report
from recon.records import Store, Stored, as_read, cells_differ
from recon.reference import reference_seconds

if TYPE_CHECKING:
    from recon.cells import Cell

Job = tuple[str, "Cell", Any]
"""A cell's key in the store, the cell, its data."""

TRIES = 2  # for a cell whose worker dies


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


def compute_all(
    todo: Sequence[Job], store: Store, force: bool, jobs: int, report: Callable[[str, float, str], None]
) -> None:
    """Compute cells in at most `jobs` processes, each bound to its share of the cores where the system allows it.

    Args:
      report: called with a cell's key, the fraction of it that is done, and a text.

    Raises:
      ReconError: cells that failed, after all others were stored.
      KeyboardInterrupt: Ctrl-C; the workers are stopped, and only their running cells are lost.
    """
    waiting, died, failures = deque(todo), Counter[str](), list[str]()
    shares = shares_of_cores(min(jobs, len(todo)))
    crew = [Worker(cores, store, force) for cores in shares]
    try:
        for worker in crew:
            worker.take(waiting)
        while busy := {w.connection: i for i, w in enumerate(crew) if w.job is not None}:
            for connection in multiprocessing.connection.wait(list(busy)):
                i = busy[connection]  # type: ignore[index]
                worker = crew[i]
                assert worker.job is not None
                key, cell, _ = worker.job
                kind, fraction, text = worker.heard()
                if kind == "progress":
                    report(key, fraction, text)
                    continue
                if kind == "died":
                    died[key] += 1
                    crew[i] = Worker(shares[i], store, force)
                    if died[key] < TRIES:
                        waiting.appendleft(worker.job)
                        report(key, 0.0, f"its worker {text}: computing it again")
                    else:
                        failures.append(f"{cell.title}: its worker {text}, {TRIES} times over.")
                elif kind == "failed":
                    failures.append(f"{cell.title}: {text}")
                else:
                    report(key, 1.0, "done")
                crew[i].take(waiting)
    finally:
        for worker in crew:
            worker.stop()
    if failures:
        raise failed(failures, len(todo))


def failed(failures: Sequence[str], cells: int) -> ReconError:
    """The error that ends a run of so many cells, some of which failed."""
    if cells == 1:
        return ReconError(failures[0])
    others = ", all others are stored, the same command goes on from there" if len(failures) < cells else ""
    return ReconError(f"{len(failures)} of {cells} cells failed{others}. " + " ".join(failures))


class Worker:
    """A process that computes one cell after the other, and the pipe to it."""

    def __init__(self, cores: set[int], store: Store, force: bool) -> None:
        """Start it on the given cores (none: on any)."""
        context = multiprocessing.get_context("spawn")
        self.job: Job | None = None
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, store, force), daemon=True)
        with _inherited(cores):
            self.process.start()
        theirs.close()

    def take(self, waiting: deque[Job]) -> None:
        """Begin the next cell, if there is one."""
        self.job = waiting.popleft() if waiting else None
        if self.job is not None:
            with suppress(OSError):  # it died already: `heard` will tell
                self.connection.send(self.job)

    def heard(self) -> tuple[str, float, str]:
        """Its next message: progress, done or failed, the fraction done and a text; or that it died."""
        try:
            message: tuple[str, float, str] = self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
            code = self.process.exitcode or 0
            return "died", 0.0, f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        return message

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
            connection.send(("done", 1.0, ""))
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
