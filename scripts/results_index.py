"""Write what the stored results say of themselves: `make results-index`. `--check` only compares.

That is the table beside each record (Markdown, CSV, LaTeX); README.md, an index; tables/all.tex, a LaTeX document of
all tables; and ro-crate-metadata.json, a description for machines. Pictures are drawn by `recon plot`.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from recon.benchmark import benchmarks
from recon.benchmark import tables as tables_of
from recon.publish import latex_document, markdown_claims
from recon.publish.citation import read_cff
from recon.publish.crate import NAME, crate
from recon.records import code_words, json_bytes, record_state, write_bytes
from recon.report.paper import PAPER, standings
from recon.report.results import records, seconds

ROOT = Path(__file__).resolve().parent.parent
HEAD = """# Stored results

Written by `make results-index` from the records in this folder, checked by the tests. A record (JSON) holds all of a
figure's numbers, its claims, and what made each cell; `recon plot FIGURE` draws its pictures again from it alone, as
PDF and SVG too. The code of a record is *current* if all that its cells ran is as it was, *stale* if something was
edited since, *unknown* if they do not say what they ran; {counts}.
"""
ENTRY = """
### {preset}, {source}

`{command}`, {seconds:,.0f} s, {date}, commit {commit}, code {code}: [record]({path}){pictures}

{claims}"""
CLAIMS = """
## The paper's claims

Each with the claims of figures that check it, from the largest stored run: verdict, statement, measured effect.

"""
KINDS = {"md": "table"}


def entry(path: Path, made: dict[str, Any], results: Path) -> str:
    """What one record says."""
    facts = made["provenance"]
    files = {kind: path.with_suffix(f".{kind}") for kind in ("md", "csv", "tex", "png")}
    links = [f"[{KINDS.get(k, k)}]({p.relative_to(results)})" for k, p in files.items() if p.exists()]
    data = " --source samples" if made["source"] == "samples" else ""
    again = f"make reproduce-{made['figure']} PRESET={made['preset']}" + (f" ARGS='{data.strip()}'" if data else "")
    return ENTRY.format(
        preset=made["preset"],
        source=made["source"],
        command=made.get("command", again),
        seconds=seconds(made),
        date=facts["made_at"][:10],
        commit=(facts["commit"] or "unknown")[:12] + (" with changes" if facts["dirty"] else ""),
        code=code_words(made),
        path=path.relative_to(results),
        pictures="".join(f", {link}" for link in links),
        claims=markdown_claims(made.get("claims", [])) or "No claims.\n",
    )


def verdicts(found: dict[str, list[tuple[Path, Any]]], results: Path) -> list[str]:
    """What each of the paper's claims came to in the largest run of each figure, prepared data before samples."""
    lines = [CLAIMS]
    for number, claim in enumerate(PAPER, 1):
        lines.append(f"{number}. {claim.statement}.\n")
        for stand in standings(claim, found):
            if stand.path is None or stand.made is None:
                lines.append(f"   - {stand.figure}: no stored record\n")
                continue
            stale = "" if stand.state == "current" else f", {stand.state}"
            words = f"{stand.figure}, {stand.made['preset']}, {stand.made['source']}"
            link = f"[{words}]({stand.path.relative_to(results)}){stale}"
            lines += [f"   - {link}: **{c['verdict']}**: {c['statement']} {c['effect']}\n" for c in stand.claims]
    return lines


def index(results: Path) -> str:
    """The whole page."""
    found = records(results)
    states = Counter(record_state(made) for mine in found.values() for _, made in mine)
    counts = ", ".join(f"{states[state]} {state}" for state in ("current", "stale", "unknown"))
    parts = [HEAD.format(counts=f"now {counts}"), *verdicts(found, results)]
    for mine in found.values():
        parts.append(f"\n## {mine[0][1]['title']}\n")
        parts += [entry(path, made, results) for path, made in mine]
    return "".join(parts)


def document(results: Path) -> bytes:
    """A LaTeX document of the tables beside the records."""
    captions = {}
    for path, made in (found for mine in records(results).values() for found in mine):
        if path.with_suffix(".tex").exists():
            commit = (made["provenance"]["commit"] or "unknown")[:12]
            what = f"{made['title']} Preset {made['preset']}, pictures {made['source']}, commit {commit}."
            captions[path.relative_to(results).with_suffix("").as_posix()] = what
    return latex_document(captions).encode()


def description(results: Path) -> bytes:
    """The description for machines."""
    return json_bytes(crate(results, dict(found for mine in records(results).values() for found in mine), read_cff()))


def pages(results: Path) -> Iterator[tuple[Path, bytes]]:
    """Every file that follows from the records; a later one may list an earlier one."""
    known = benchmarks(ROOT)
    for mine in records(results).values():
        for path, made in mine:
            if made["figure"] in known:
                yield from tables_of(known[made["figure"]], path).items()
    yield results / "README.md", index(results).encode()
    yield results / "tables" / "all.tex", document(results)
    yield results / NAME, description(results)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--results", type=Path, default=ROOT / "results", help="folder of records (default: results/)")
    args = parser.parse_args()
    for path, content in pages(args.results):
        if path.exists() and path.read_bytes() == content:
            continue
        if args.check:
            sys.exit(f"{path} differs from the records: run `make results-index`.")
        write_bytes(path, content)


if __name__ == "__main__":
    main()
