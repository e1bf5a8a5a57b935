"""Write results/README.md, the index of the stored results: `make results-index`. `--check` only compares."""

import argparse
import sys
from pathlib import Path
from typing import Any

from recon.records import markdown_claims, read_json

ROOT = Path(__file__).resolve().parent.parent
HEAD = """# Stored results

Written by `make results-index` from the records in this folder, checked by the tests. A record (JSON) holds all of a
figure's numbers, its claims, and what made each cell; `recon plot FIGURE` draws its pictures again from it alone.
"""
ENTRY = """
### {preset}, {source}

`{command}`, {seconds:,.0f} s, {date}, commit {commit}: [record]({path}){pictures}

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


def records(results: Path) -> dict[str, list[tuple[Path, Any]]]:
    """The records of whole figures by figure, with their paths; a folder's other files are no figure's."""
    found: dict[str, list[tuple[Path, Any]]] = {}
    for path in sorted(results.glob("*/*.json")):
        made = read_json(path)
        if {"figure", "title", "preset", "source", "seconds", "provenance"} <= made.keys():
            found.setdefault(path.parent.name, []).append((path, made))
    return found


def seconds(made: dict[str, Any]) -> float:
    """Time that the cells took to compute, also where the run that wrote the record found them stored."""
    times = [c.get("seconds") for c in made.get("cells", [])]
    return sum(times) if times and None not in times else made["seconds"]


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
            link = f"[{figure}, {made['preset']}, {made['source']}]({path.relative_to(results)})"
            lines += [
                f"   - {link}: **{c['verdict']}**: {c['statement']} {c['effect']}\n"
                for c in made["claims"]
                if c["name"].startswith(names)
            ]
    return lines


def index(results: Path) -> str:
    """The whole page."""
    found = records(results)
    parts = [HEAD, *verdicts(found, results)]
    for mine in found.values():
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
