"""Time figures from an empty cache, and once more from a full one: `make figure-times`.

    python -m tests.resilience.figure_times fig2 fig3 --source samples

Every figure has a store of its own, so none profits from another's cells; nothing is kept.
"""

import argparse
import tempfile
from pathlib import Path

from recon.benchmark import cell_store, project_root
from tests.resilience.kill import finish, names


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("figures", nargs="*", default=[f"fig{i}" for i in range(2, 8)], help="(default: fig2 to fig7)")
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--source", default="tfds")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--jobs", type=int)
    parser.add_argument("--root", type=Path, default=project_root(), help="checkout with benchmarks/")
    args = parser.parse_args()
    for name in args.figures:
        args.figure = name
        with tempfile.TemporaryDirectory(prefix="figure-times-") as folder:
            work = Path(folder) / "checkout"
            empty, again = finish(args, work), finish(args, work)  # whole commands, their start included
            keys, store = names(work), cell_store(work)
            spent = sum(store.read(key).record["seconds"] for key in keys)
        print(f"{name}: {empty:.1f} s from an empty cache, {again:.1f} s again; {len(keys)} cells: {spent:.0f} s")


if __name__ == "__main__":
    main()
