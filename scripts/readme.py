"""Write the numbers in README.md from the records in `results/`: `make readme`. `--check` only compares."""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

from recon.records import markdown_table, read_json, record_state

ROOT = Path(__file__).resolve().parent.parent
PAPERS = ("fig", "table", "theorem")  # beginnings of the names of what is in the paper
VERDICTS = ("reproduced", "not reproduced", "inconclusive")
START, END = "<!-- numbers: written by `make readme` from results/, checked by the tests -->", "<!-- /numbers -->"


def load(name: str) -> Any:
    """A record in `results/`, or None if it is not there."""
    path = ROOT / "results" / name
    return read_json(path) if path.exists() else None


def figure_table(name: str) -> list[str]:
    """Scores and controls of a stored fig1 record."""
    made = load(name)
    if made is None:
        return []
    sources = " and ".join(dict.fromkeys(p["source"] for p in made["summary"]["panels"]))
    lines = [
        f"Figure 1, preset `{made['preset']}`, {sources} (`results/{name}`, {made['seconds']:.0f} s):",
        "",
    ]
    columns = [
        "task",
        "dynamics",
        "N",
        "W",
        "attack",
        "mean L2",
        "recognisable",
        "certified",
        "held-out L2",
        "start L2",
    ]
    rows = []
    for p in made["summary"]["panels"]:
        for a in p["attacks"]:
            s = a["scores"]
            below = ", ".join(f"{count} (L2 < {limit})" for limit, count in s["train"]["below"].items())
            certified = "–" if a["certified"] is None else a["certified"]
            errors = [f"{s['train']['mean']:.2g}", below, str(certified)]
            controls = [f"{s[k]['mean']:.1f}" for k in ("held_out", "start")]
            rows.append([p["title"], p["dynamics"], str(p["n"]), str(p["width"]), a["attack"], *errors, *controls])
    return [*lines, markdown_table(columns, rows), ""]


def bars_lines() -> list[str]:
    """What `make bars` measured."""
    bars = load("bars.json")
    if bars is None:
        return []
    n, w = bars["n"], bars["width"]
    gaps = [g for run in bars["linearised"] for g in run["gap"].values()]
    flow, attack = bars["flow"], bars["attack"]
    means = [a["train"]["mean"] for a in attack]
    steps, descents = [f["steps"] for f in flow], [f["descent_steps"] for f in flow]
    apart, coarse = np.array([f["gap"] for f in flow]), np.array([f["gap_of_descent_at_0.1"] for f in flow])
    below = [a["train"]["below"]["2.5"] for a in attack]
    return [
        f"The solvers, MNIST odd/even, N = {n}, W = {w} (`results/bars.json`, `make bars`):",
        "",
        f"- linearised closed form against gradient descent, converged and stopped at three losses: at most "
        f"{max(gaps):.0e} apart in θ, relative to ‖Δθ‖;",
        f"- gradient flow in {min(steps)} to {max(steps)} steps against descent at 0.02/L in {min(descents):,} to "
        f"{max(descents):,}: median {np.median(apart):.1%} of ‖Δθ‖ apart over {len(flow)} seeds, within 1 % on "
        f"{(apart < 0.01).sum()}, at worst {apart.max():.1%} (descent at 0.1/L: median {np.median(coarse):.1%}, at "
        f"worst {coarse.max():.1%});",
        f"- `ntk-fast`, linearised dynamics, {len(attack)} seeds: mean L2 {np.mean(means):.2f} ± "
        f"{np.std(means, ddof=1):.2f}, {min(below)} to {max(below)} of {n} images under 2.5, held-out control "
        f"{np.mean([a['held_out']['mean'] for a in attack]):.2f}, {np.mean([a['seconds'] for a in attack]):.0f} s.",
        "",
    ]


def solver_lines() -> list[str]:
    """The claims of the solver comparison with their verdicts, from its largest stored preset."""
    for name in ("solvers/full-tfds.json", "solvers/quick-tfds.json"):
        made = load(name)
        if made is not None:
            break
    else:
        return []
    lines = [f"Beyond the paper: the solvers side by side (`results/{name}`, `make benchmark-solvers`):", ""]
    lines += [f"- {c['statement']} {c['verdict'].capitalize()}: {c['effect']}" for c in made["claims"]]
    return [*lines, ""]


def exact_lines() -> list[str]:
    """The bars of the exact recovery, and its certificate over a pool of fresh seeds."""
    made = load("exact-bars.json")
    if made is None:
        return []
    lines = [
        "The exact recovery (`results/exact-bars.json`, `make bars-exact`; one core, a number for each seed):",
        "",
    ]
    columns, rows = ["instance", "certified", "within 0.1", "largest error", "seconds", "bar", ""], []
    for row in made["rows"]:
        if row["group"] in ("certificate", "null", "narrow"):
            continue
        runs = [r for r in row["runs"] if "error" not in r]

        def numbers(key: str, form: str, runs: list[Any] = runs) -> str:
            return " ".join("–" if r[key] is None else format(r[key], form) for r in runs) or "–"

        met = {True: "met", False: "not met", None: "by older code" if row["bar"] else "–"}[row["met"]]
        cells = (numbers("certified", "d"), numbers("within", "d"), numbers("max", ".0e"), numbers("seconds", ".1f"))
        rows.append([row["name"], *cells, row["bar"] or "–", met])
    c = made["certificate"]
    lines += [
        markdown_table(columns, rows),
        "",
        f"Its certificate over {c['images']:,} images of fresh seeds, easy to impossible: {c['recoverable']:,} "
        f"recovered, {c['certified']:,} certified, of which {c['certified_within']:,} are right: precision "
        f"{c['precision']['value']:.3f}, recall {c['recall']['value']:.3f}. Of {c['networks']['of']} networks of which "
        f"it certifies an image it is right in whole on {c['networks']['part']} (95 % interval of the share "
        f"{c['networks']['low']:.2f} to {c['networks']['high']:.2f}). On {c['null']['runs']} instances without an "
        f"answer: {c['null']['certified']} certified.",
        "",
    ]
    narrow = made["narrow"]
    low, high = narrow["units_per_image"]
    lines += [
        f"With {low:.3g} to {high:.3g} first-layer units an image, the rule of training standard: "
        f"{narrow['recoverable']:,} of {narrow['images']:,} images recovered, {narrow['certified']:,} certified, of "
        f"which {narrow['certified_within']:,} are right (precision {narrow['precision']['value']:.4f}); right in "
        f"whole on {narrow['networks']['part']} of {narrow['networks']['of']} networks "
        f"({narrow['networks']['low']:.3f} to {narrow['networks']['high']:.3f}).",
        "",
    ]
    return lines


def certificate_lines() -> list[str]:
    """What the certificate is worth, kind by kind."""
    made = load("certificate-bars.json")
    if made is None:
        return []
    columns = ("training", "box", "networks", "images", "certified", "false", "up to scale", "false", "right in whole",
               "sure and right", "AUC")  # fmt: skip
    rows = []
    for line in made["table"]:
        networks, auc = line["right_networks"], line["auc"]
        span = "" if networks["low"] is None else f" [{networks['low']:.2f}, {networks['high']:.2f}]"
        rows.append(
            [line["group"], "yes" if line["box"] else "no",
             *(str(line[k]) for k in ("networks", "images", "certified", "false", "up_to_scale", "false_up_to_scale")),
             f"{networks['right']} of {networks['of']}{span}", f"{line['confident_right']} of {line['confident']}",
             "–" if auc is None else f"{auc:.2f}"]
        )  # fmt: skip
    return [
        "What a certificate is worth (`results/certificate-bars.json`, `make bars-certificate`): networks whose "
        "training leaves what the exact attack takes for granted, and plain ones of few units, on fresh seeds, with "
        f"the box of the pixels and without. False: farther than L2 {made['within']} from every training image. *Up to "
        "scale*: vouched for but for its size. *Right in whole*: networks without a false certificate, of those with "
        "any, and their share's 95 % interval. *Sure and right*: of the images of confidence 0.9 or more. AUC: the "
        "chance that a right image is given more confidence than a wrong one.",
        "",
        markdown_table(columns, rows),
        "",
    ]


def audit_lines() -> list[str]:
    """The audit of networks that other code has trained, by the command line."""
    made = load("audit-bars.json")
    if made is None:
        return []
    lines = [
        f"The audit of networks that other code has trained, {made['n']} MNIST digits, two hidden layers of "
        f"{made['width']:,}, by the command line (`results/audit-bars.json`, `make bars-audit`; a number for each "
        "seed; the load is the machine's before the command, which takes its seconds from others on the same cores):",
        "",
    ]
    forms = {"n_estimated": "d", "certified": "d", "worst": ".0e", "held_out_nearest": ".1f", "command_seconds": ".0f",
             "cpu_seconds": ".1f", "load_before": ".0f"}  # fmt: skip
    rows = []
    for row in made["rows"]:
        cells = [
            " ".join("–" if r[k] is None else format(r[k], form) for r in row["runs"]) for k, form in forms.items()
        ]
        met = {True: "met", False: "not met", None: "–"}[row["met"]]
        rows.append([row["name"], *cells, row["bar"] or "–", met])
    columns = ["network", "N found", "certified", "largest error", "nearest held-out", "seconds", "of a core", "load"]
    return [*lines, markdown_table([*columns, "bar", ""], rows), ""]


def distillation_lines() -> list[str]:
    """KIP and RKIP by the published procedure and by the fast one, and the speed of their steps."""
    made = load("distillation-bars.json")
    if made is None:
        return []
    runs = made["runs"]
    lines = [
        "Distillation, MNIST odd/even, 500 images to 20, infinite width: the published procedure (Adam 1e-3, 50,000 "
        "steps) beside the fast one (`results/distillation-bars.json`, `make bars-distillation`; one core, a number "
        "for each draw):",
        "",
    ]
    rows = []
    for method, optimiser in dict.fromkeys((r["method"], r["optimiser"]) for r in runs):
        mine = [r for r in runs if (r["method"], r["optimiser"]) == (method, optimiser)]
        name = {"adam": "published", "fast": "fast", None: "–"}[optimiser]
        cells = [" ".join(format(r[k], form) if r[k] else "–" for r in mine)
                 for k, form in (("loss", ".4g"), ("steps", ","), ("seconds", ".0f"), ("accuracy", ".3f"))]  # fmt: skip
        rows.append(["all images" if method == "all" else method.upper(), name, *cells])
    lines += [markdown_table(["set", "procedure", "loss", "steps", "seconds", "test accuracy"], rows), ""]
    words = {True: "met", False: "not met"}
    for bar in made["bars"]:
        if isinstance(bar["measured"], float):
            verdict = f" ({words[bar['met']]})" if bar["met"] is not None else ""
            lines.append(f"- {bar['bar']}: {bar['measured']:.1f}{verdict}")
    return [*lines, ""]


def claim_lines() -> list[str]:
    """How many claims held, figure by figure: the paper's first, then what its reviewers asked for."""
    lines = [
        "Every figure, with how many of its claims were reproduced, not reproduced and inconclusive (effects and "
        "intervals in [results/README.md](results/README.md)), the seconds that `make` took on two cores, and those "
        "that its cells took on one. Code: current, or stale if something that the cells ran was edited since:",
        "",
    ]
    columns = ["figure", "preset", "pictures", *VERDICTS, "from an empty cache", "again", "cells", "code"]
    measured = load("figure-times.json") or {}
    found = []
    for path in (ROOT / "results").glob("*/*.json"):
        made = load(str(path.relative_to(ROOT / "results")))
        if made.get("claims") and made["figure"] != "solvers":
            found.append(made)
    rows = []
    for made in sorted(
        found, key=lambda m: (not m["figure"].startswith(PAPERS), m["figure"], m["preset"], m["source"])
    ):
        counts = [str(sum(c["verdict"] == v for c in made["claims"])) for v in VERDICTS]
        took = measured.get(f"{made['preset']}-{made['source']}", {}).get(made["figure"])
        times = [f"{took[k]:.0f}" if took else "–" for k in ("seconds_empty", "seconds_again")]
        spent = f"{sum(cell['seconds'] for cell in made['cells']):,.0f}"
        rows.append([made["figure"], made["preset"], made["source"], *counts, *times, spent, record_state(made)])
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


def numbers() -> str:
    """The block between the marks."""
    figures = ("quick-samples", "full-tfds")
    lines = [line for name in figures for line in figure_table(f"fig1/{name}.json")]
    return "\n".join(
        [
            "",
            *lines,
            *claim_lines(),
            *reference_lines(),
            *solver_lines(),
            *exact_lines(),
            *certificate_lines(),
            *audit_lines(),
            *distillation_lines(),
            *bars_lines(),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    before, rest = text.split(START)
    _, after = rest.split(END)
    wanted = f"{before}{START}\n{numbers()}\n{END}{after}"
    if args.check:
        sys.exit(None if wanted == text else "README.md differs from the records in results/: run `make readme`.")
    readme.write_text(wanted, encoding="utf-8")


if __name__ == "__main__":
    main()
