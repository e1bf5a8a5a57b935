"""Write results/README.md, the index of the stored results: `make results-index`. `--check` only compares."""

import argparse
import sys
from pathlib import Path
from typing import Any

from recon.records import markdown_claims
from recon.report.results import records, seconds

ROOT = Path(__file__).resolve().parent.parent
HEAD = """# Stored results

Written by `make results-index` from the records in this folder, checked by the tests. A record (JSON) holds all of a
figure's numbers, its claims, and what made each cell; `recon plot FIGURE` draws its pictures again from it alone.
"""
ENTRY = """
### {preset}, {source}

`{command}`, {seconds:,.0f} s, {date}, commit {commit}: [record]({path}){pictures}

{claims}"""
KINDS = {"md": "table"}


def entry(path: Path, made: dict[str, Any], results: Path) -> str:
    """What one record says."""
    facts = made["provenance"]
    files = {kind: path.with_suffix(f".{kind}") for kind in ("md", "csv", "tex", "png", "pdf", "svg")}
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
        path=path.relative_to(results),
        pictures="".join(f", {link}" for link in links),
        claims=markdown_claims(made.get("claims", [])) or "No claims.\n",
    )


def index(results: Path) -> str:
    """The whole page."""
    parts = [HEAD]
    for mine in records(results).values():
        parts.append(f"\n## {mine[0][1]['title']}\n")
        parts += [entry(path, made, results) for path, made in mine]
    return "".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--results", type=Path, default=ROOT / "results", help="folder of records (default: results/)")
    args = parser.parse_args()
    page, wanted = args.results / "README.md", index(args.results)
    if args.check:
        same = page.exists() and page.read_text(encoding="utf-8") == wanted
        sys.exit(None if same else "results/README.md differs from the records: run `make results-index`.")
    page.write_text(wanted, encoding="utf-8")


if __name__ == "__main__":
    main()
