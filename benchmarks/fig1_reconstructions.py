"""Figure 1: training images beside what the attack recovers from the weights alone.

The paper shows grids of reconstructions for binary MNIST and CIFAR-10 networks under linearised and standard training
dynamics, and the authors' example notebook the reconstruction curves (N = 200, W = 2048, standard dynamics).

    make reproduce-fig1                 quick: minutes, offline
    make reproduce-fig1 PRESET=full     the authors' example size, on the fast schedule: hours on two cores
    make reproduce-fig1 PRESET=paper    published settings step for step: a GPU's work

Pictures are ranked by the distance of the published attack's reconstruction from its training image; the controls are
the same distances to equally many held-out images, and from the attack's start. The row and the curves of the exact
solver go beyond the paper. Each task has a single draw of images, which proves nothing: figure 2 has several.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks._estimates import A_TENTH, HALF, compared, over
from benchmarks._panels import in_thirds, network, parts, show, stack
from benchmarks._presets import NAMES, PAPER_RULE, rules
from benchmarks._rows import Row, distinct, grouped, heading, where
from benchmarks._tables import Table, certified, each, mean, tabulate
from recon.cells import AttackCell
from recon.claims import Claim, Effect, Summary, ratio
from recon.dynamics import GradientFlow
from recon.networks import MLP
from recon.plots import COLOURS, LABELS, Figure, new_figure, strips
from recon.records import Stored, attack_row

CURVES = {"train": "distance", "held_out": "held_out", "start": "start"}
EACH = 5  # pictures from each end and from the middle of the ranking

# Width, attack, training rule for standard dynamics, and N by task.
PRESETS: dict[str, dict[str, Any]] = {
    # CIFAR-10 at the size that the 20 package pictures allow: ten trained on, ten held out.
    "quick": {"n": (40, 10), "width": 512, "attack": "ntk-fast", "standard": GradientFlow()},
    "full": {"n": (200, 200), "width": 2048, "attack": "ntk-fast", "standard": GradientFlow()},
    "paper": {"n": (200, 200), "width": 2048, "attack": "ntk", "standard": PAPER_RULE},
}


def cells(preset: dict[str, Any]) -> list[AttackCell]:
    """Each task under both dynamics, attacked as published and by the exact solver."""
    network = MLP((preset["width"],) * 2)
    return [
        AttackCell(task, n, network, rule, attack)
        for task, n in zip(NAMES, preset["n"], strict=True)
        for rule in rules(preset).values()
        for attack in (preset["attack"], "exact")
    ]


def summarise(results: Sequence[Stored]) -> Summary:
    """One panel for each trained network: its attacks' pictures, curves, controls and scores, the paper's first."""
    panels: dict[tuple[str, str], dict[str, Any]] = {}
    for stored in results:
        r, of, row = stored.record, network(stored.record), attack_row(stored.record)
        distance, mean = np.array(r["images"]["distance"]), np.array(r["data"]["mean"], np.float32)
        shown = strips.choose(distance, EACH)
        new = of | {"kernel_distance": row["kernel_distance"], "shown": shown, "attacks": []}
        new |= {"thirds": in_thirds(shown, EACH, len(distance))}
        new |= {"train": strips.encode(stored.arrays["train"][shown] + mean)}
        panel = panels.setdefault((of["task"], of["dynamics"]), new)
        panel["attacks"].append(
            {k: row[k] for k in ("attack", "steps", "seconds")}
            | {"certified": r["attack"]["certified"], "scores": r["scores"]}
            | {"curves": {k: np.sort(r["images"][v]) for k, v in CURVES.items()}}
            # The same training images in every row, ranked by the paper's attack.
            | {"found": strips.encode(stored.arrays["found"][panel["shown"]] + mean)}
        )
    return {"panels": list(panels.values())}


def plot(summary: Summary) -> Figure:
    """Rows of pictures above, reconstruction curves below."""
    panels = summary["panels"]
    heights = [0.35 + 0.36 * (1 + len(p["attacks"])) for p in panels]
    figure = new_figure(7.5, sum(heights) + 2.8)
    pictures, below = parts(figure, sum(heights), 2.8)
    for axes, p in stack(pictures, panels, height_ratios=heights):
        found = {a["attack"]: a["found"] for a in p["attacks"]}
        title = heading(p | {"dynamics": f"{p['dynamics']} dynamics"})
        show(axes, p, {"training": p["train"], **found}, EACH, title)
    tasks = distinct(panels, "task")
    for axes, task in zip(below.subplots(1, len(tasks), squeeze=False)[0], tasks, strict=True):
        mine = where(panels, task=task)
        for p in mine:
            x = np.arange(1, p["n"] + 1)
            paper, *beyond = p["attacks"]
            thin = {"linewidth": 1, "linestyle": "-" if p is mine[0] else "--"}
            axes.plot(x, paper["curves"]["start"], color=COLOURS["start"], linewidth=1, linestyle=":")
            axes.plot(x, paper["curves"]["held_out"], color=COLOURS["held_out"], **thin)
            colour, label = COLOURS[p["dynamics"]], f"{paper['attack']}, {LABELS[p['dynamics']]}"
            axes.plot(x, paper["curves"]["train"], color=colour, linewidth=1.8, label=label)
            for a in beyond:
                label = f"{a['attack']} (beyond the paper), {p['dynamics']}"
                axes.plot(x, a["curves"]["train"], color=colour, linestyle=(0, (1, 1)), linewidth=1.8, label=label)
        axes.plot([], [], color=COLOURS["held_out"], linewidth=1, label=LABELS["held_out"])
        axes.plot([], [], color=COLOURS["start"], linestyle=":", linewidth=1, label=LABELS["start"])
        if mine[0]["recognisable"] is not None:
            axes.axhline(mine[0]["recognisable"], color="#444444", linewidth=0.6)
            axes.text(1, mine[0]["recognisable"], " recognisable", fontsize=6, va="bottom", color="#444444")
        axes.set(xlabel="training images, best first", ylabel="L2 distance", title=mine[0]["title"])
        axes.set_ylim(-0.02 * axes.get_ylim()[1], None)  # exact curves lie on zero
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def table(summary: Summary) -> Table:
    """Scores and controls, a row for each network and attack."""
    columns = {"mean L2": mean("error"), "median": mean("median"), "L2 below": each("below"), "certified": certified}
    columns |= {"held-out": mean("held_out", ".1f"), "start": mean("start", ".1f"), "dB": mean("db", ".0f")}
    columns |= {"SSIM": mean("ssim", ".2f"), "s": mean("seconds", ".0f")}
    rows = []
    for row, scores in ((_row(p, a), a["scores"]) for p in summary["panels"] for a in p["attacks"]):
        row |= {k: scores[k]["mean"] for k in ("held_out", "start")}
        row |= {"db": scores["train"]["psnr_db_mean"], "ssim": scores["train"]["ssim_mean"]}
        below = ", ".join(f"{count} < {limit}" for limit, count in scores["train"]["below"].items())
        rows.append(row | {"below": below or "no threshold"})
    keys = ("title", "dynamics", "n", "width", "attack")
    return tabulate("Reconstruction error, with controls", rows, keys, columns)


def _row(panel: Row, attack: Row) -> Row:
    """An attack on a network; each task has a single draw of images."""
    train, held_out = (attack["scores"][k] for k in ("train", "held_out"))
    medians = {"median": train["median"], "median_held_out": held_out["median"]}
    return panel | attack | {"draw": panel["task"], "error": train["mean"]} | medians


def _published(summary: Summary) -> list[Row]:
    return [_row(p, p["attacks"][0]) for p in summary["panels"]]


def _standard_over_linearised(summary: Summary) -> Effect:
    return [
        ratio(f"{title}: standard dynamics' error over linearised's", compared(*sides, "draw"))
        for (title,), mine in grouped(_published(summary), "title").items()
        for sides in [(where(mine, dynamics="standard"), where(mine, dynamics="linearised"))]
    ]


def _against_controls(summary: Summary) -> Effect:
    # Medians: a few images that no reconstruction came near say nothing about the others.
    return [
        ratio(
            f"{r['title']}, {r['dynamics']}: median distance of held-out images over training images'",
            over([r], "median_held_out", "median"),
        )
        for r in _published(summary)
    ]


CLAIMS = (
    Claim("linearised-easier", "Linearised dynamics are attacked better than standard dynamics (by a tenth or more).",
          _standard_over_linearised, *A_TENTH),
    Claim("training-images-come-back",
          "What comes back are training images: their median distance is under half of held-out images'.",
          _against_controls, *HALF),
)  # fmt: skip
