"""Time figures from an empty cache, and once more from a full one: `make figure-times`.

    python -m tests.resilience.figure_times fig2 fig3 --source samples

Every figure has a store of its own, so none profits from another's cells; its record and pictures go to results/, its
cells to the checkout's store. A figure's times are kept when they are measured: naming others adds to them.
"""

import argparse
import shutil
import tempfile
from pathlib import Path

from recon.benchmark import benchmarks, cell_store, project_root
from recon.records import json_bytes, provenance, read_json, write_bytes
from tests.resilience.kill import finish, names


def timed(args: argparse.Namespace, work: Path) -> dict[str, object]:
    """Seconds of a whole command, its start included, from an empty and from a full store."""
    empty, again = finish(args, work), finish(args, work)
    store, keys = cell_store(work), names(work)
    for key in keys:
        shutil.copytree(store.root / key, cell_store(args.root).root / key, dirs_exist_ok=True)
    made = work / "made" / args.figure
    shutil.copytree(made, args.results / args.figure, dirs_exist_ok=True)
    return {
        "seconds_empty": empty,
        "seconds_again": again,
        "cells": len(keys),
        "cell_seconds": sum(store.read(key).record["seconds"] for key in keys),
        "provenance": provenance(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("figures", nargs="*", help="names (default: fig2 to fig7)")
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--source", default="tfds")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--jobs", type=int)
    parser.add_argument("--root", type=Path, default=project_root(), help="checkout with benchmarks/")
    parser.add_argument("--results", type=Path, help="folder for records (default: results/)")
    args = parser.parse_args()
    args.results = args.results or args.root / "results"
    file = args.results / "figure-times.json"
    times = read_json(file) if file.exists() else {}
    for name in args.figures or [n for n in benchmarks(args.root) if n in {f"fig{i}" for i in range(2, 8)}]:
        args.figure = name
        with tempfile.TemporaryDirectory(prefix="figure-times-") as folder:
            row = timed(args, Path(folder) / "checkout")
        times.setdefault(f"{args.preset}-{args.source}", {})[name] = row
        write_bytes(file, json_bytes(times))
        print(
            f"{name}: {row['seconds_empty']:.0f} s from an empty cache, {row['seconds_again']:.1f} s again", flush=True
        )


if __name__ == "__main__":
    main()
