"""Kill a figure's run with SIGKILL at random moments, resume it, and compare every cell with an undisturbed run's.

    python -m tests.resilience.kill fig2 --kills 10

Both runs have a store and results of their own. The undisturbed run comes first and tells how long one takes. The other
is killed after times drawn evenly from that length (or a part of it, --within), and resumed; should it come to its end
with kills left, it begins again from nothing. Records and arrays are to be equal bit for bit; times, memory use and the
moments at which a descent was looked at are not compared.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NoReturn

from recon.benchmark import cell_store, project_root
from recon.errors import ReconError
from recon.records import cells_differ, json_bytes, provenance, read_json, write_bytes

KEPT = ("benchmarks", "results")  # what a figure may read of the checkout


def start(args: argparse.Namespace, work: Path) -> subprocess.Popen[bytes]:
    """Begin, or go on with, a run of the figure in a checkout of its own."""
    work.mkdir(exist_ok=True)
    for name in KEPT:
        if not (work / name).exists() and (args.root / name).exists():
            (work / name).symlink_to(args.root / name)
    command = [sys.executable, "-m", "recon", "reproduce", args.figure, "--preset", args.preset]
    command += ["--source", args.source, "--out", "made"]
    command += [] if args.jobs is None else ["--jobs", str(args.jobs)]
    if args.data_dir is not None:
        command += ["--data-dir", str(args.data_dir.resolve())]
    return subprocess.Popen(command, cwd=work, stdout=subprocess.DEVNULL)


def finish(args: argparse.Namespace, work: Path) -> float:
    """Run to the end; returns the seconds that took."""
    began = time.monotonic()
    if code := start(args, work).wait():
        raise ReconError(f"The run ended with exit code {code}: try `recon reproduce {args.figure}` by itself.")
    return time.monotonic() - began


def names(work: Path) -> set[str]:
    """Keys of the finished cells of a run."""
    return {p.parent.name for p in cell_store(work).root.glob("[!.]*/record.json")}


def compared(args: argparse.Namespace, one: Path, other: Path) -> list[str]:
    """Where two runs differ."""
    found = [f"cell {key}: in one run only" for key in names(one) ^ names(other)]
    stores = cell_store(one), cell_store(other)
    for key in sorted(names(one) & names(other)):
        found += [f"cell {key}: {text}" for text in cells_differ(*(store.read(key) for store in stores))]
    (a,), (b,) = (list((work / "made" / args.figure).glob("*.json")) for work in (one, other))
    if len(read_json(a)["cells"]) != len(read_json(b)["cells"]):
        found.append("The figures' records have unequal numbers of cells.")
    return found


def conclude(run: dict[str, Any], differences: list[str], out: Path, what: str) -> NoReturn:
    """Write what became of a disturbed run, print how its cells differ from an undisturbed one's, and exit."""
    verdict = "different" if differences else "identical"
    compared = "records and arrays bit for bit, without times, memory use and the moments of the descent's trace"
    facts = {"verdict": verdict, "compared": compared, "differences": differences[:100], "provenance": provenance()}
    write_bytes(out, json_bytes(run | facts))
    print(*differences[:20], f"{what}: {verdict}", sep="\n")
    sys.exit(bool(differences))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("figure")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--source", default="auto")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--jobs", type=int)
    parser.add_argument("--within", type=float, default=1.0, help="kill within this part of a run's length")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--root", type=Path, default=project_root(), help="checkout with benchmarks/")
    parser.add_argument("--out", type=Path, default=project_root() / ".recon" / "kill-test.json")
    args = parser.parse_args()
    rng, kills, found = random.Random(args.seed), [], []
    with tempfile.TemporaryDirectory(prefix="kill-test-") as folder:
        whole, killed = Path(folder) / "whole", Path(folder) / "killed-0"
        took = finish(args, whole)
        cells, runs = len(names(whole)), 1
        print(f"undisturbed: {took:.0f} s, {cells} cells", flush=True)
        while len(kills) < args.kills:
            process, delay = start(args, killed), rng.uniform(0, args.within * took)
            try:
                code = process.wait(delay)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                kills.append({"run": runs, "after_seconds": delay, "cells_finished": len(names(killed))})
                print(f"killed after {delay:.1f} s, {len(names(killed))} of {cells} cells stored", flush=True)
                continue
            if code:
                raise ReconError(f"A resumed run ended with exit code {code}.")
            found += compared(args, whole, killed)
            killed, runs = Path(folder) / f"killed-{runs}", runs + 1
        finish(args, killed)
        found += compared(args, whole, killed)
    command = f"python -m tests.resilience.kill {args.figure} --preset {args.preset} --kills {args.kills}"
    command += f" --source {args.source} --within {args.within:g} --seed {args.seed}"
    run = {"figure": args.figure, "preset": args.preset, "command": command, "cells": cells}
    run |= {"undisturbed_seconds": took, "runs": runs, "kills": kills}
    conclude(run, found, args.out, f"{len(kills)} kills, {cells} cells")


if __name__ == "__main__":
    try:
        main()
    except ReconError as error:
        sys.exit(f"error: {error}")
