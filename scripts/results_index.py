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
from recon.records import code_words, json_bytes, latex_document, markdown_claims, record_state, write_bytes
from recon.records.citation import read_cff
from recon.records.crate import NAME, crate
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
# The paper's claims and reports, each with the claims of figures that check it: figure → beginnings of their names.
PAPER: dict[str, dict[str, tuple[str, ...]]] = {
    "Linearised dynamics are attacked almost perfectly; standard dynamics less, and better as W grows": {
        "fig1": ("linearised-easier", "training-images-come-back"),
        "fig2": ("linearised-beats-standard", "width-helps"),
    },
    "Mean reconstruction error rises with N at fixed W, and tracks kernel distance closely": {
        "fig3": ("rises-with-n", "tracks-kernel-distance", "kernel-distance-beyond-size"),
    },
    "Multi-class networks leak more than binary ones at equal N and W": {"fig4": ("multiclass-leaks-more",)},
    "Easily reconstructed images have large |α|; they look unusual; they are not simply far in pixel L2": {
        "fig5": ("large-duals-leak", "alpha-over-pixels", "alpha-over-loss"),
        "fig7": ("large-sets-leak", "only-outliers"),
        "figs25-40": ("large-duals-first", "more-than-chance"),
    },
    "Pruning the easily reconstructed images costs no more accuracy than random pruning": {
        "fig6": ("easy-ones-not-needed",),
    },
    "Attack quality improves as training goes on, but early stopping is no defence": {
        "figG1": ("improves-as-training-goes-on", "early-stopping-is-no-defence", "one-step-is-gradient-inversion"),
    },
    "Cross-entropy networks are attackable too": {"figG2": ("logistic-is", "softmax-is", "exponential-is")},
    "Using both kernels is at least as good as the better single one when the kernel moved": {
        "figI": ("both-at-least-as-good", "both-over-published", "gain-grows"),
    },
    "RKIP sets train well at infinite and finite width; KIP is best at infinite width; RKIP-finite images look like "
    "training images": {
        "table1": ("rkip-trains-well", "kip-best", "kip-held-out-best", "kip-loses-more"),
        "fig8": ("rkip-finite",),
    },
    "Higher input dimension (64 × 64 × 3) lowers quality, but recognisable images still come back": {
        "figJ2": ("lower-quality", "pictures-still-come-back"),
        "dim": ("dimension-hurts", "still-recognisable"),
    },
    "Convolutional networks can be attacked (appendix J.1)": {"figJ1": ("convolutional",)},
    "Theorem 1: at infinite width the loss's zero is the training set": {
        "theorem1": ("error-falls-with-loss", "all-come-back", "finite-approaches-infinite"),
    },
    "Theorem 2: the loss is KIP's residual in another norm, plus λ ≥ 0": {
        "theorem2": ("identity-holds", "surplus-not-negative"),
    },
}


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
    order = [(preset, source) for preset in ("paper", "full", "quick") for source in ("tfds", "mixed", "samples")]
    lines = [CLAIMS]
    for number, (statement, figures) in enumerate(PAPER.items(), 1):
        lines.append(f"{number}. {statement}.\n")
        for figure, names in figures.items():
            mine = [(p, m) for p, m in found.get(figure, []) if (m["preset"], m["source"]) in order]
            if not mine:
                lines.append(f"   - {figure}: no stored record\n")
                continue
            path, made = min(mine, key=lambda pm: order.index((pm[1]["preset"], pm[1]["source"])))
            stale = "" if record_state(made) == "current" else f", {record_state(made)}"
            link = f"[{figure}, {made['preset']}, {made['source']}]({path.relative_to(results)}){stale}"
            lines += [
                f"   - {link}: **{c['verdict']}**: {c['statement']} {c['effect']}\n"
                for c in made["claims"]
                if c["name"].startswith(names)
            ]
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
