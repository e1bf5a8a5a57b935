"""Write docs/measurements.md, and the numbers in README.md, from the records in `results/`: `make readme`.

`--check` only compares.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from recon.benchmark import find
from recon.publish import markdown_table
from recon.records import read_json, record_state
from recon.report.paper import NONE, PAPER, counted, standings
from recon.report.results import records

ROOT = Path(__file__).resolve().parent.parent
PAPERS = ("fig", "table", "theorem")  # beginnings of the names of what is in the paper
BARS = ("solvers", "recovery", "pool", "certificate", "foreign", "procedures", "dynamics")
VERDICTS = ("reproduced", "not reproduced", "inconclusive")
HEAD = """# Measurements

Written by `make readme` from the records in `results/`, checked by the tests. A *cell* is one run: a network trained
and attacked. *Certified*: vouched for by the attack, without a look at training images. *Held-out* and *start* are
controls: the same distance to images that were not trained on, and from what the attack started from.
"""
START, END = "<!-- numbers: written by `make readme` from results/, checked by the tests -->", "<!-- /numbers -->"


def load(name: str) -> Any:
    """A record in `results/`, or None if it is not there."""
    path = ROOT / "results" / name
    return read_json(path) if path.exists() else None


def bar_lines() -> list[str]:
    """What the suite promises of its own parts, from the largest stored preset of each: claims and table."""
    lines = []
    for name in BARS:
        paths = [*(ROOT / "results" / name).glob("full-*.json"), *(ROOT / "results" / name).glob("quick-*.json")]
        if not paths:
            continue
        made, benchmark = read_json(paths[0]), find(ROOT, name)
        title, columns, rows = benchmark.module().table(made["summary"])
        place = f"`{paths[0].relative_to(ROOT)}`, `make reproduce-{name} PRESET={made['preset']}`"
        lines += [f"{title} ({place}):", ""]
        lines += [f"- {c['statement']} {c['verdict'].capitalize()}: {c['effect']}" for c in made["claims"]]
        lines += ["", markdown_table(columns, rows), ""]
    return lines


def claim_lines() -> list[str]:
    """How many claims held, figure by figure: the paper's first, then what its reviewers asked for."""
    lines = [
        "Every figure, with how many of its claims were reproduced, not reproduced and inconclusive (effects and "
        "intervals in [results/README.md](../results/README.md)), and the seconds that its cells took, each on a core. "
        "Code: current, or stale if something that the cells ran was edited since:",
        "",
    ]
    columns = ["figure", "preset", "pictures", *VERDICTS, "seconds", "code"]
    found = []
    for path in (ROOT / "results").glob("*/*.json"):
        made = load(str(path.relative_to(ROOT / "results")))
        if made.get("claims") and made["figure"] not in BARS:
            found.append(made)
    rows = []
    for made in sorted(
        found, key=lambda m: (not m["figure"].startswith(PAPERS), m["figure"], m["preset"], m["source"])
    ):
        counts = [str(sum(c["verdict"] == v for c in made["claims"])) for v in VERDICTS]
        spent = f"{sum(cell['seconds'] for cell in made['cells']):,.0f}"
        rows.append([made["figure"], made["preset"], made["source"], *counts, spent, record_state(made)])
    return [*lines, markdown_table(columns, rows), ""] if rows else []


def reference_lines() -> list[str]:
    """The published schedule, run once to its end."""
    made = load("reference/ntk-published-schedule.json")
    if made is None:
        return []
    cell = made["cells"][0]
    s = cell["scores"]
    return [
        f"The published attack step for step (`ntk`, {cell['attack']['steps']:,} steps, standard dynamics, N = "
        f"{cell['cell']['n_train']}, W = {cell['cell']['network']['widths'][0]}, {cell['data']['source']}; "
        f"`results/reference/ntk-published-schedule.json`): mean L2 {s['train']['mean']:.2f}, "
        f"{s['train']['below']['2.5']} of {cell['cell']['n_train']} under 2.5, held-out control "
        f"{s['held_out']['mean']:.2f}, {cell['attack']['seconds']['run'] / 60:.0f} minutes on one core.",
        "",
    ]


def standing_lines() -> str:
    """A line for each of the paper's claims."""
    found, rows = records(ROOT / "results"), []
    for claim in PAPER:
        stands = standings(claim, found)
        verdicts = counted(stands)
        sizes = dict.fromkeys(f"{s.size} ({s.published_size})" if s.published_size != NONE else s.size for s in stands)
        rows.append([claim.short, *(str(verdicts[v]) for v in VERDICTS), "; ".join(sizes)])
    head = "| claim | reproduced | not | inconclusive | size (the paper's) |\n|---|---|---|---|---|\n"
    states = Counter(made.state for claim in PAPER for made in standings(claim, found))
    code = f"\nRecords: {', '.join(f'{n} of {state} code' for state, n in states.items())}."
    return head + "".join(f"| {' | '.join(row)} |\n" for row in rows) + code


def numbers() -> str:
    """The page of all numbers."""
    return "\n".join([HEAD, *claim_lines(), *reference_lines(), *bar_lines()]).rstrip() + "\n"


def pages() -> Iterator[tuple[Path, str]]:
    """The pages with their new content."""
    readme = ROOT / "README.md"
    before, rest = readme.read_text(encoding="utf-8").split(START)
    _, after = rest.split(END)
    yield readme, f"{before}{START}\n{standing_lines()}\n{END}{after}"
    yield ROOT / "docs" / "measurements.md", numbers()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    for path, wanted in pages():
        if path.exists() and path.read_text(encoding="utf-8") == wanted:
            continue
        if args.check:
            sys.exit(f"{path.relative_to(ROOT)} differs from the records in results/: run `make readme`.")
        path.write_text(wanted, encoding="utf-8")


if __name__ == "__main__":
    main()
