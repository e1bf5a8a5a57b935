"""Solvers: error against time, and where the exact recovery works.

Not in the paper: its attack beside the suite's own solvers on the same networks, and a phase diagram of the exact
recovery over the number of images N and the width W (linearised dynamics): the fraction of images within an L2 distance
of 0.1, and the fraction certified. The published attack's point is the stored run of its full schedule.

    make benchmark-solvers              quick: minutes on two cores (the same as make reproduce-solvers)
    make reproduce-solvers PRESET=full  larger networks and more seeds: hours on two cores
    make reproduce-solvers PRESET=paper with the published schedule beside it: a GPU's work
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from recon.benchmark import Claim, Summary, Verdict, project_root
from recon.cells import AttackCell
from recon.dynamics import Dynamics, GradientFlow, Linearised
from recon.networks import MLP
from recon.plots import COLOURS
from recon.plots import figure as new_figure
from recon.records import Stored, read_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TASK = "mnist_odd_even"
NEAR = 0.1  # L2 distance under which an image counts as recovered exactly: invisible in 28 × 28 pixels
# The certificate is to be right on this fraction of what it certifies; a promise of the solver, not a fit to a run.
PRECISION = 0.99
REFERENCE = "results/reference/ntk-published-schedule.json"

PRESETS: dict[str, dict[str, Any]] = {
    "quick": {
        "sizes": ((20, 512),),
        "attacks": ("ntk-fast", "exact"),
        "seeds": (0, 1, 2),
        "phase": ((10, 20, 40, 80), (64, 128, 256, 512)),
    },
    "full": {
        "sizes": ((20, 512), (50, 1024), (100, 1024), (200, 2048)),
        "attacks": ("ntk-fast", "exact", "hybrid"),
        "seeds": (0, 1, 2),
        "phase": ((20, 50, 100, 200), (256, 512, 1024, 2048)),
    },
    "paper": {
        "sizes": ((20, 512), (50, 1024), (100, 1024), (200, 2048)),
        "attacks": ("ntk", "ntk-fast", "exact", "hybrid"),
        "seeds": (0, 1, 2),
        "phase": ((20, 50, 100, 200, 500), (256, 512, 1024, 2048, 4096)),
    },
}
MARKERS = {"ntk": "*", "ntk-fast": "o", "exact": "s", "hybrid": "D"}


def cells(preset: dict[str, Any]) -> list[AttackCell]:
    """Every solver on every network, then the exact recovery over the grid."""
    rules: tuple[Dynamics, ...] = (Linearised(), GradientFlow())
    compared = [
        AttackCell(TASK, n, MLP((w, w)), rule, attack, seed=seed)
        for n, w in preset["sizes"]
        for rule in rules
        for seed in preset["seeds"]
        for attack in preset["attacks"]
    ]
    numbers, widths = preset["phase"]
    grid = [AttackCell(TASK, n, MLP((w, w)), Linearised(), "exact", seed=100) for n in numbers for w in widths]
    return [*compared, *grid]


def summarise(results: Sequence[Stored]) -> Summary:
    """A row for each cell, and the stored run of the published schedule."""
    rows = []
    for stored in results:
        r = stored.record
        distance = np.array(r["images"]["distance"])
        certified = np.array(r["images"]["certified"] or np.zeros(len(distance)), bool)
        rows.append(
            {
                "n": r["cell"]["n_train"],
                "width": r["cell"]["network"]["widths"][0],
                "dynamics": "linearised" if r["cell"]["dynamics"]["rule"] == "Linearised" else "standard",
                "attack": r["cell"]["attack"],
                "seed": r["cell"]["seed"],
                "fingerprint": r["data"]["fingerprints"]["train"],
                "seconds": r["attack"]["seconds"]["run"],
                "mean": r["scores"]["train"]["mean"],
                "held_out": r["scores"]["held_out"]["mean"],
                "start": r["scores"]["start"]["mean"],
                "near": int((distance < NEAR).sum()),
                "certified": int(certified.sum()),
                "certified_near": int((certified & (distance < NEAR)).sum()),
            }
        )
    published = read_json(project_root() / REFERENCE)["cells"][0]
    reference = {
        "n": published["cell"]["n_train"],
        "width": published["cell"]["network"]["widths"][0],
        "fingerprint": published["data"]["fingerprints"]["train"],
        "seconds": published["attack"]["seconds"]["run"],
        "mean": published["scores"]["train"]["mean"],
        "steps": published["attack"]["steps"],
    }
    return {"rows": rows, "reference": reference}


def _grid(summary: Summary) -> list[dict[str, Any]]:
    return [r for r in summary["rows"] if r["seed"] == 100]


def _compared(summary: Summary) -> list[dict[str, Any]]:
    return [r for r in summary["rows"] if r["seed"] != 100]


def plot(summary: Summary) -> "Figure":
    """Error against time on the left, the phase diagram on the right."""
    figure = new_figure(9.5, 4.2)
    left, right = figure.subplots(1, 2, width_ratios=[1.2, 1])
    seen = set()
    for r in _compared(summary):
        label = f"{r['attack']}, {r['dynamics']}"
        left.plot(
            r["seconds"], r["mean"], MARKERS[r["attack"]], color=COLOURS[r["dynamics"]], alpha=0.8, markersize=5,
            label=None if label in seen else label,
        )  # fmt: skip
        seen.add(label)
    ref = summary["reference"]
    label = f"ntk, {ref['steps']:,} steps (stored run), standard"
    left.plot(ref["seconds"], ref["mean"], MARKERS["ntk"], color=COLOURS["standard"], markersize=10, label=label)
    control = [r["held_out"] for r in _compared(summary)]
    left.axhline(np.mean(control), color=COLOURS["held_out"], linewidth=1, label="held-out images (control)")
    sizes = ", ".join(dict.fromkeys(f"{r['n']}/{r['width']}" for r in _compared(summary)))
    left.set(
        xscale="log", yscale="log", xlabel="seconds in the solver", ylabel="mean L2 distance",
        title=f"MNIST odd/even, N/W = {sizes}",
    )  # fmt: skip
    left.legend(fontsize=7, loc="center right")

    grid = _grid(summary)
    numbers, widths = sorted({r["n"] for r in grid}), sorted({r["width"] for r in grid})
    table = np.full((len(numbers), len(widths)), np.nan)
    for r in grid:
        i, j = numbers.index(r["n"]), widths.index(r["width"])
        table[i, j] = r["near"] / r["n"]
        dark = table[i, j] < 0.5
        right.text(j, i, f"{r['near']}\n{r['certified']}", ha="center", va="center", color="w" if dark else "k")
    right.imshow(table, vmin=0, vmax=1, cmap="viridis", origin="lower", aspect="auto")
    right.set_xticks(range(len(widths)), [str(w) for w in widths])
    right.set_yticks(range(len(numbers)), [str(n) for n in numbers])
    right.grid(visible=False)
    right.set(xlabel="width W", ylabel="training images N")
    right.set_title("exact, linearised: recovered (L2 < 0.1)\nabove certified, colour = fraction recovered")
    return figure


def table(summary: Summary) -> tuple[str, list[str], list[list[str]]]:
    """Mean and spread over seeds for each solver and network."""
    columns = ["N/W", "dynamics", "attack", "mean L2", "within 0.1", "certified", "held-out", "start", "seconds"]
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for r in _compared(summary):
        groups.setdefault((f"{r['n']}/{r['width']}", r["dynamics"], r["attack"]), []).append(r)
    rows = []
    for key, mine in groups.items():
        mean = [r["mean"] for r in mine]
        spread = f" ± {np.std(mean, ddof=1):.1g}" if len(mean) > 1 else ""
        counts = [" ".join(str(r[k]) for r in mine) for k in ("near", "certified")]
        others = [f"{np.mean([r[k] for r in mine]):.3g}" for k in ("held_out", "start", "seconds")]
        rows.append([*key, f"{np.mean(mean):.2g}{spread}", *counts, *others])
    return "Solvers on the same networks (counts by seed)", columns, rows


def _exact_against_published(summary: Summary) -> tuple[Verdict, str]:
    ref = summary["reference"]
    mine = [
        r
        for r in _compared(summary)
        if r["attack"] == "exact" and r["dynamics"] == "standard" and r["fingerprint"] == ref["fingerprint"]
    ]
    if not mine:
        return "inconclusive", "The published schedule was stored for other images than this run's."
    ratio = ref["seconds"] / mine[0]["seconds"]
    held = mine[0]["mean"] < ref["mean"] and ratio >= 1000
    effect = f"Mean L2 {mine[0]['mean']:.1e} against {ref['mean']:.2f}, {ratio:,.0f} times less time."
    return ("reproduced" if held else "not reproduced"), effect


def _certificate_is_honest(summary: Summary) -> tuple[Verdict, str]:
    mine = [r for r in summary["rows"] if r["attack"] in ("exact", "hybrid")]
    certified, right = sum(r["certified"] for r in mine), sum(r["certified_near"] for r in mine)
    near = sum(r["near"] for r in mine)
    if not certified:
        return "inconclusive", "Nothing was certified."
    effect = f"{right} of {certified} certified images are within {NEAR}; {near} images are in all."
    return ("reproduced" if right >= PRECISION * certified else "not reproduced"), effect


CLAIMS = (
    Claim(
        "exact-beats-published",
        "The exact recovery reaches a lower error than the published schedule in a thousandth of its time or less.",
        _exact_against_published,
    ),
    Claim(
        "certificate-honest",
        "At least 99 % of the certified images lie within L2 0.1 of a training image.",
        _certificate_is_honest,
    ),
)
