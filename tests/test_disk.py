"""Disks that are full or read-only, writers that are killed, two runs at once: nothing lost, nothing half-written.

Real processes of the command line, on a figure whose cells take a blink and some space.
"""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from contextlib import suppress

import pytest

from recon.records import Store, read_figure

BLINK = '''"""Blink: a figure of four cells that hold random numbers."""

import dataclasses
import time

import numpy as np

from recon import load_task
from recon.plots import new_figure
from recon.records import Stored, provenance

PRESETS = {"quick": {"cells": 4}}
CLAIMS = ()


@dataclasses.dataclass(frozen=True)
class Cell:
    seed: int

    title = property(lambda self: f"blink {self.seed}")
    modules = ("recon.metrics",)
    draw = ()

    def settings(self):
        return {"kind": "blink", "seed": self.seed}

    def check(self):
        pass

    def load(self, **_):
        return load_task("mnist_odd_even", 2, source="samples")

    def compute(self, data, report):
        time.sleep(0.2)
        noise = np.random.default_rng(self.seed).normal(size=30_000)
        data = {"source": "samples", "fingerprints": {}}
        facts = {"cell": self.settings(), "data": data, "provenance": provenance(self.modules)}
        return Stored({**facts, "sum": float(noise.sum())}, {"noise": noise})


def cells(preset):
    return [Cell(seed) for seed in range(preset["cells"])]


def summarise(results):
    return {"sums": [r.record["sum"] for r in results]}


def plot(summary):
    made = new_figure(2.0, 2.0)
    made.subplots().plot(summary["sums"])
    return made


def table(summary):
    return "Sums", ["sum"], [[str(s)] for s in summary["sums"]]
'''
COMMAND = ["reproduce", "blink", "--jobs", "1", "--store"]
SUFFIXES = {".json", ".md", ".csv", ".tex", ".png", ".pdf", ".svg"}


@pytest.fixture
def checkout(tmp_path):
    """A checkout whose only figure is `blink`."""
    (tmp_path / "work" / "benchmarks").mkdir(parents=True)
    (tmp_path / "work" / "benchmarks" / "blink_figure.py").write_text(BLINK)
    return tmp_path / "work"


def start(*args, cwd, before="", **options):
    """`recon`, after a line of Python of one's own."""
    script = f"import sys; sys.argv = ['recon', *{list(args)!r}]\n{before}\nfrom recon.cli import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", script], cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )


@pytest.fixture
def recon(command, checkout):
    """Runs `recon` in this process; gives its exit code and what it said of mistakes."""

    def run(*words):
        done = command(*words, cwd=checkout)
        return done.returncode, done.stderr

    return run


def apart(*args, cwd, before="", **options):
    """The same in a process of its own, which may be limited or killed."""
    process = start(*args, cwd=cwd, before=before, **options)
    _, errors = process.communicate(timeout=600)
    assert "Traceback" not in errors, errors
    return process.returncode, errors


@pytest.fixture
def mounted():
    """Mounts a file system in memory, where this user may; gives whether it could."""
    places = []

    def mount(place, options):
        place.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], capture_output=True)
        places.extend([place] if done.returncode == 0 else [])
        return done.returncode == 0

    if shutil.which("mount") is None:
        yield lambda *_: False
        return
    yield mount
    for place in places:
        subprocess.run(["umount", "-l", place], check=True)


def short_of_space(kilobytes):
    """The same without a file system of one's own: no file may become larger."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (kilobytes << 10, kilobytes << 10))


def whole(folder):
    """Asserts that a folder of results holds the figure's record and files, and nothing besides; gives the record."""
    assert {p.suffix for p in folder.iterdir()} == SUFFIXES
    assert not [p.name for p in folder.iterdir() if p.name.startswith(".")]
    return read_figure(folder / "quick-samples.json")


def verified(checkout):
    """The cells of a checkout's store, all of which verify; nothing else lies there."""
    store = Store(checkout / ".recon" / "cells")
    found = {p.name: store.read(p.name).record["sum"] for p in store.root.iterdir()}
    assert len(set(found.values())) == len(found)
    return found


def test_a_full_store_keeps_what_it_holds_and_the_run_goes_on_with_more_space(recon, checkout, mounted):
    # A cell takes 230 kB: one fits, or none of the files that are limited.
    own = mounted(checkout / ".recon" / "cells", "size=400k")
    code, errors = apart(*COMMAND, cwd=checkout, preexec_fn=None if own else short_of_space(100))
    assert code == 1
    assert "Cannot store a cell" in errors
    assert "free some space" in errors.strip().splitlines()[-1]
    assert len(verified(checkout)) == own
    assert not (checkout / "results").exists()
    before = verified(checkout)
    if own:
        subprocess.run(["mount", "-o", "remount,size=4m", checkout / ".recon" / "cells"], check=True)
    code, errors = recon(*COMMAND)
    assert code == 0, errors
    assert before.items() <= verified(checkout).items()
    assert len(whole(checkout / "results" / "blink")["cells"]) == 4


def test_a_full_disk_for_results_leaves_the_older_record_whole(recon, checkout, mounted):
    folder = checkout / "results"
    own = mounted(folder, "size=1m")
    assert recon(*COMMAND)[0] == 0
    files = {p.name: p.read_bytes() for p in (folder / "blink").iterdir()}
    if own:
        with suppress(OSError), open(folder / "filler", "wb", buffering=0) as filler:
            while filler.write(bytes(4096)):
                pass
        assert not os.statvfs(folder).f_bavail
    code, errors = apart(*COMMAND, "--force", cwd=checkout, preexec_fn=None if own else short_of_space(1))
    assert code == 1
    assert "Cannot write" in errors or "Cannot store" in errors
    assert len(errors.strip().splitlines()[-1].split(". ")) == 1
    assert {p.name: p.read_bytes() for p in (folder / "blink").iterdir()} == files


def test_read_only_results_are_read_and_not_written(recon, checkout, mounted):
    assert recon(*COMMAND)[0] == 0
    results = checkout / "results"
    kept = shutil.copytree(results, checkout / "kept")
    if mounted(results, "size=4m"):
        shutil.copytree(kept, results, dirs_exist_ok=True)
        subprocess.run(["mount", "-o", "remount,ro", results], check=True)
    elif os.geteuid():
        (results / "blink").chmod(0o555)
    else:  # neither a mount nor a mode stops this user: a device's folder does
        shutil.rmtree(results)
        results.symlink_to("/proc/self/fdinfo")
    code, errors = recon(*COMMAND)
    assert code == 1
    assert "Cannot write" in errors
    assert "choose another place" in errors
    assert recon(*COMMAND[:-1], "--out", "elsewhere")[0] == 0
    whole(checkout / "elsewhere" / "blink")
    if results.is_symlink():
        return
    # A comparison reads them; only its page cannot be written.
    code, errors = recon("check", "blink", "--records", "results", "--markdown", "results/blink/x.md")
    assert code == 1
    assert "Cannot write results/blink/x.md" in errors
    for path in (kept / "blink").iterdir():
        assert (results / "blink" / path.name).read_bytes() == path.read_bytes()
    assert len(list((results / "blink").iterdir())) == len(SUFFIXES)
    if os.geteuid():
        (results / "blink").chmod(0o755)


def test_a_damaged_cell_in_a_read_only_store_is_said_in_a_sentence(tmp_path, mounted):
    from recon import ReconError
    from recon.records import Stored

    store = Store(tmp_path / "cells")
    own = mounted(store.root, "size=1m")
    store.save("key", Stored({"sum": 1.0}, {}))
    (store.root / "key" / "arrays.npz").write_bytes(b"damaged")
    if own:
        subprocess.run(["mount", "-o", "remount,ro", store.root], check=True)
    elif os.geteuid():
        store.root.chmod(0o555)
    else:
        pytest.skip("this user can write everywhere and mount nothing")
    with pytest.raises(ReconError, match=r"is damaged .* cannot be set aside"):
        store.load("key")
    assert (store.root / "key" / "record.json").exists()
    store.root.chmod(0o755) if not own else None


@pytest.mark.parametrize("force", [(), ("--force",)], ids=["", "force"])
def test_two_runs_at_once_both_end_with_the_same(checkout, force):
    path = checkout / "results" / "blink" / "quick-samples.json"
    runs = [start(*COMMAND, *force, cwd=checkout) for _ in range(2)]
    seen = 0
    while any(run.poll() is None for run in runs):
        if path.exists():  # whenever it is there it is whole
            seen += len(json.loads(path.read_bytes())["cells"]) == 4
        for cell in (checkout / ".recon" / "cells").glob("[!.]*"):
            try:
                names = {p.name for p in cell.iterdir()}
            except FileNotFoundError:  # another run's is just taking its place
                continue
            # One that is being taken away may have lost a file; one that stays is whole, as `verified` asks below.
            assert names <= {"arrays.npz", "record.json"}
    for run in runs:
        _, errors = run.communicate()
        assert run.returncode == 0, errors
        assert "damaged" not in errors
        assert "Traceback" not in errors
    assert seen
    assert len(verified(checkout)) == 4
    assert whole(path.parent)["summary"]["sums"] == [c["sum"] for c in read_figure(path)["cells"]]


KILL = """
import os, signal
sync, left = os.fsync, [{after}]
def killing(handle):
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    sync(handle)
os.fsync = killing
"""


def test_a_writer_killed_in_the_middle_leaves_nothing_that_counts(recon, checkout):
    """Killed in a cell's arrays, in a cell's record, in the figure's record, in its picture; resumed each time."""
    folder, cells = checkout / "results" / "blink", checkout / ".recon" / "cells"
    stored = 0
    for after, expected in ((3, 1), (2, 1), (2 * 3 + 1, 4), (2, 4)):
        assert apart(*COMMAND, cwd=checkout, before=KILL.format(after=after))[0] == -signal.SIGKILL
        whole_cells = {p.name for p in cells.glob("[!.]*")}
        assert len(whole_cells) == expected
        for key in whole_cells:
            Store(cells).read(key)
        records = list(folder.glob("*.json")) if folder.exists() else []
        stored += len(records)
        for path in records:
            read_figure(path)
    assert stored == 1  # the last kill came behind the record
    assert recon(*COMMAND)[0] == 0
    made = read_figure(folder / "quick-samples.json")
    assert len(made["cells"]) == 4
    assert {p.suffix for p in folder.iterdir() if not p.name.startswith(".")} == SUFFIXES
