"""Write what follows from the records in `results/`: `make pages`. `--check` only compares.

    python scripts/pages.py [front] [index] [scaling] [--check]

front: the numbers in README.md, and docs/measurements.md. index: in results/, the table beside each record (Markdown,
CSV, LaTeX); README.md, an index; tables/all.tex, a LaTeX document of all tables; and ro-crate-metadata.json, a
description for machines. scaling: the tables in docs/scaling.md. Pictures are drawn by `recon plot`.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import scaling

from recon.benchmark import benchmarks, project_root
from recon.benchmark import tables as tables_of
from recon.publish import latex_document, markdown_claims, markdown_table
from recon.publish.citation import read_cff
from recon.publish.crate import NAME, crate
from recon.records import code_words, json_bytes, read_json, record_state, write_bytes
from recon.report.paper import NONE, PAPER, counted, standings
from recon.report.results import Result, records, seconds

Pages = Iterator[tuple[Path, bytes]]
PAPERS = ("fig", "table", "theorem")  # beginnings of the names of what is in the paper
BARS = ("solvers", "recovery", "frontier", "pool", "certificate", "foreign", "procedures", "dynamics")
VERDICTS = ("reproduced", "not reproduced", "inconclusive")
MEASUREMENTS = """# Measurements

Written by `make pages` from the records in `results/`, checked by the tests. [Words](index.md#words) defines the terms.

## Figures and their claims

Effects and intervals are in [results/README.md](../results/README.md). Seconds are those of the cells, each on a core.

"""
REFERENCE = """
## The published attack with its full schedule

`ntk`, {steps:,} steps, standard dynamics, N = {n}, W = {width}, {source}; \
`results/reference/ntk-published-schedule.json`: mean L2 {mean:.2f}, {near} of {n} under 2.5, held-out control \
{held_out:.2f}, {minutes:.0f} minutes on one core.
"""
INDEX = """# Stored results

Written by `make pages` from the records in this folder, checked by the tests. A record (JSON) holds all numbers of a
figure, its claims and their verdicts, and what made each of its *cells*, the units that are computed and stored.
`recon plot FIGURE` draws its pictures again from the record alone, also as PDF and SVG. The code of a record is
*current* if the code that its cells ran is unchanged, *stale* if it has been edited since, and *unknown* if the record
does not name it; now {counts}. [Results](../docs/results.md) and [claims](../docs/baselines.md) explain the rest.

## The paper's claims

Below each claim of the paper are the checks of it, from the largest stored run of each figure: verdict, statement,
effect with its 95 % interval. Sources: `tfds` is prepared data sets, `samples` pictures inside installed packages.

"""
ENTRY = """
### {preset}, {source}

`{command}`, {seconds:,.0f} s, {date}, commit {commit}, code {code}: [record]({path}){pictures}

{claims}"""


def front(root: Path) -> Pages:
    """README.md with its numbers, and the page of all numbers."""
    found = records(root / "results")
    readme = root / "README.md"
    yield readme, between(readme.read_text(encoding="utf-8"), "numbers", standing_lines(found)).encode()
    every = [made for mine in found.values() for _, made in mine if made.get("claims") and made["figure"] not in BARS]
    every.sort(key=lambda m: (not m["figure"].startswith(PAPERS), m["figure"], m["preset"], m["source"]))
    rows = []
    for made in every:
        counts = [str(sum(c["verdict"] == v for c in made["claims"])) for v in VERDICTS]
        spent = f"{sum(cell['seconds'] for cell in made['cells']):,.0f}"
        rows.append([made["figure"], made["preset"], made["source"], *counts, spent, record_state(made)])
    table = markdown_table(["figure", "preset", "source", *VERDICTS, "seconds", "code"], rows)
    page = f"{MEASUREMENTS}{table}\n{reference(root / 'results')}{''.join(bars(root / 'results'))}"
    yield root / "docs" / "measurements.md", page.encode()


def standing_lines(found: dict[str, list[tuple[Path, Any]]]) -> str:
    """A line for each of the paper's claims."""
    rows, states = [], Counter[str]()
    for claim in PAPER:
        stands = standings(claim, found)
        verdicts = counted(stands)
        states.update(s.state for s in stands)
        sizes = dict.fromkeys(f"{s.size} ({s.published_size})" if s.published_size != NONE else s.size for s in stands)
        row = [claim.short, *(str(verdicts[v]) for v in VERDICTS), "; ".join(sizes)]
        rows.append(f"| {' | '.join(row)} |\n")
    head = "| claim | reproduced | not reproduced | inconclusive | size (the paper's) |\n|---|---|---|---|---|\n"
    code = ", ".join(f"{n} {state}" for state, n in states.items())
    said = f"Code of the records: {code}. A record is stale if code that it ran has been edited since."
    return f"{head}{''.join(rows)}\n{said}"


def reference(results: Path) -> str:
    """The published schedule, run once to its end."""
    cell = read_json(results / "reference" / "ntk-published-schedule.json")["cells"][0]
    settings, scores = cell["cell"], cell["scores"]
    return REFERENCE.format(
        steps=cell["attack"]["steps"],
        n=settings["n_train"],
        width=settings["network"]["widths"][0],
        source=cell["data"]["source"],
        mean=scores["train"]["mean"],
        near=scores["train"]["below"]["2.5"],
        held_out=scores["held_out"]["mean"],
        minutes=cell["attack"]["seconds"]["run"] / 60,
    )


def bars(results: Path) -> Iterator[str]:
    """What the suite promises of its own parts, from the largest stored preset of each: claims and table."""
    known = benchmarks(project_root())
    for name in BARS:
        path = sorted((results / name).glob("*-*.json"))[0]  # full before quick
        made = read_json(path)
        title, columns, rows = known[name].module().table(made["summary"])
        again = f"make reproduce-{name} PRESET={made['preset']}"
        lines = [f"- {c['statement']} {c['verdict'].capitalize()}: {c['effect']}\n" for c in made["claims"]]
        yield f"\n## {title}\n\n`results/{name}/{path.name}`, `{again}`.\n\n{''.join(lines)}\n"
        yield f"{markdown_table(columns, rows)}\n"


def index(root: Path) -> Pages:
    """Every file in results/ that follows from the records there; a later one may list an earlier one."""
    known, results = benchmarks(project_root()), root / "results"
    found = records(results)
    every = dict(one for mine in found.values() for one in mine)
    for path, made in every.items():
        if made["figure"] in known:
            yield from tables_of(known[made["figure"]], path).items()
    states = Counter(map(record_state, every.values()))
    counts = ", ".join(f"{states[state]} {state}" for state in ("current", "stale", "unknown"))
    parts = [INDEX.format(counts=counts), *verdicts(found, results)]
    for mine in found.values():
        parts += [f"\n## {mine[0][1]['title']}\n", *(entry(path, made, results) for path, made in mine)]
    yield results / "README.md", "".join(parts).encode()
    captions = {}
    for path, made in every.items():
        if path.with_suffix(".tex").exists():
            commit = (made["provenance"]["commit"] or "unknown")[:12]
            what = f"{made['title']} Preset {made['preset']}, pictures {made['source']}, commit {commit}."
            captions[path.relative_to(results).with_suffix("").as_posix()] = what
    yield results / "tables" / "all.tex", latex_document(captions).encode()
    yield results / NAME, json_bytes(crate(results, every, read_cff()))


def verdicts(found: dict[str, list[tuple[Path, Any]]], results: Path) -> Iterator[str]:
    """What each of the paper's claims came to in the largest run of each figure, prepared data before samples."""
    for number, claim in enumerate(PAPER, 1):
        yield f"{number}. {claim.statement}.\n"
        for stand in standings(claim, found):
            if stand.path is None or stand.made is None:
                yield f"   - {stand.figure}: no stored record\n"
                continue
            stale = "" if stand.state == "current" else f", {stand.state}"
            words = f"{stand.figure}, {stand.made['preset']}, {stand.made['source']}"
            link = f"[{words}]({stand.path.relative_to(results)}){stale}"
            yield from (f"   - {link}: **{c['verdict']}**: {c['statement']} {c['effect']}\n" for c in stand.claims)


def entry(path: Path, made: dict[str, Any], results: Path) -> str:
    """What one record says."""
    facts = made["provenance"]
    files = {"table": ".md", "csv": ".csv", "tex": ".tex", "png": ".png"}
    there = {kind: file for kind, suffix in files.items() if (file := path.with_suffix(suffix)).exists()}
    return ENTRY.format(
        preset=made["preset"],
        source=made["source"],
        command=Result(path, made, None).command,
        seconds=seconds(made),
        date=facts["made_at"][:10],
        commit=(facts["commit"] or "unknown")[:12] + (" with changes" if facts["dirty"] else ""),
        code=code_words(made),
        path=path.relative_to(results),
        pictures="".join(f", [{kind}]({file.relative_to(results)})" for kind, file in there.items()),
        claims=markdown_claims(made.get("claims", [])) or "No claims.\n",
    )


def plan(root: Path) -> Pages:
    """The plan of the paper's grid."""
    page = root / "docs" / "scaling.md"
    text = page.read_text(encoding="utf-8")
    for name, table in scaling.tables(root / "results").items():
        text = between(text, name, f"\n{table}\n")
    yield page, text.encode()


def between(page: str, name: str, text: str) -> str:
    """A page with what stands between two marks replaced."""
    start, end = f"<!-- {name}: written by `make pages` from results/, checked by the tests -->", f"<!-- /{name} -->"
    before, rest = page.split(start)
    return f"{before}{start}\n{text}\n{end}{rest.split(end)[1]}"


WRITERS = {"front": front, "index": index, "scaling": plan}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="*", default=list(WRITERS), help="front, index, scaling (default: all)")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--root", type=Path, default=project_root(), help="folder with README.md, docs/ and results/")
    args = parser.parse_args()
    for name in args.pages:
        for path, content in WRITERS[name](args.root):
            if path.exists() and path.read_bytes() == content:
                continue
            if args.check:
                sys.exit(f"{path} differs from the records in results/: run `make pages`.")
            write_bytes(path, content)


if __name__ == "__main__":
    main()
