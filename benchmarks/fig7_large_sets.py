"""Figure 7: large training sets, attacked a batch at a time: which images still come back.

The paper attacks large sets with a running sum of all images' gradients that is refreshed by batches, and finds that
only outliers come back: images with large dual weights |α|.

    make reproduce-fig7                 quick: minutes, N = 1,000 digits, offline
    make reproduce-fig7 PRESET=full     MNIST and CIFAR-10, both dynamics, three seeds: a long run on two cores
    make reproduce-fig7 PRESET=paper    N = 5,000, W = 4096, published schedule: a GPU's work

Expected: few images come nearer than held-out ones, most of them with large |α|. `quick` and `full` look for a tenth
as many images as were trained on: the paper does not say its M for large sets, a step costs in proportion to M, and at
W = 512 the weights have fewer numbers than 1,000 images. An image left without a reconstruction counts at its distance
from the attack's start. They also project the duals at each re-sum; `paper` has M = N and the published free duals.
Intervals in the table are over the images of a network, and so say nothing about others; claims go by draws of images.
The exact recovery needs more inputs and units than images (N < 784 for MNIST), and so has no series here.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks._estimates import area, average
from benchmarks._panels import parts
from benchmarks._presets import CIFAR, MNIST, PAPER_RULE
from benchmarks._rows import Row, grouped, sources
from benchmarks._tables import Table
from recon import statistics
from recon.cells import AttackCell
from recon.claims import Claim, Effect, Part, Summary, points, share
from recon.dynamics import GradientFlow, Linearised
from recon.networks import MLP
from recon.plots import COLOURS, LABELS, Axes, Figure, new_figure, strips
from recon.records import Stored, attack_row, rounded

BEST = 20  # pictures shown
FEWEST = 5  # recovered images of a draw that a statement about them needs

PRESETS: dict[str, dict[str, Any]] = {
    "quick": {
        "tasks": (MNIST,),
        "network": (1000, 1024),
        "dynamics": (Linearised(),),
        "m_ratio": 0.1,
        "options": (("batch", 50), ("resum", 2), ("duals", "projected"), ("decay", "cosine"), ("steps", 2000)),
    },
    "full": {
        "tasks": (MNIST, CIFAR),
        "network": (2000, 2048),
        "dynamics": (Linearised(), GradientFlow(loss=1e-6)),
        "m_ratio": 0.1,
        "options": (("batch", 50), ("resum", 4), ("duals", "projected"), ("decay", "cosine"), ("steps", 20_000)),
    },
    "paper": {
        "tasks": (MNIST, CIFAR),
        "network": (5000, 4096),
        "dynamics": (Linearised(), PAPER_RULE),
        "m_ratio": 1,
        "options": (("batch", 500),),
    },
}


def cells(preset: dict[str, Any]) -> list[AttackCell]:
    """Each task, training rule and seed, attacked by batches."""
    n, width = preset["network"]
    return [
        AttackCell(task, n, MLP((width,) * 2), rule, "ntk-minibatch", preset["options"], preset["m_ratio"], seed)
        for task in preset["tasks"]
        for rule in preset["dynamics"]
        for seed in range(3)
    ]


def summarise(results: Sequence[Stored]) -> Summary:
    """A row for each network: what came back, its ranks by |α|, controls; pictures of the first of each kind."""
    rows, seen = [], set()
    for stored in results:
        images, data = stored.record["images"], stored.record["data"]
        row = attack_row(stored.record)
        distance, alpha, start = (np.array(images[k], float) for k in ("distance", "dual_norm", "start"))
        held_out = np.array(images["held_out"])
        # Where nobody has set a threshold: nearer than any held-out image came.
        limit = data["recognisable"] or float(held_out.min())
        recovered = distance < limit
        each = np.arange(len(distance))
        order = np.argsort(distance, kind="stable")
        place = np.argsort(order)
        rank = np.argsort(np.argsort(-alpha, kind="stable"))  # 0: the largest
        row |= {
            "m": stored.record["attack"]["found"],
            "loss": float(np.array(stored.record["attack"]["trace"])[-1, 1]),
            "accuracy": stored.record["training"]["test_accuracy"],
            "limit": limit,
            "recovered": int(recovered.sum()),
            "held_out_below": int((held_out < limit).sum()),
            "top_tenth": int((recovered & (rank < len(rank) / 10)).sum()),
            "auc": statistics.bootstrap(area, (recovered.astype(float), alpha), each),
            "auc_best": statistics.bootstrap(area, ((place < BEST).astype(float), alpha), each),
            "rho": statistics.bootstrap(statistics.spearman, (distance, alpha), each),
            # Distances from the start are the images' own sizes: large images are far from anything.
            "rho_given_start": statistics.bootstrap(statistics.partial_spearman, (distance, alpha, start), each),
            "distance": rounded(distance),
            "alpha": rounded(alpha),
            "control": rounded(np.sort(held_out)),
        }
        if (row["task"], row["dynamics"]) not in seen:
            seen.add((row["task"], row["dynamics"]))
            best = order[:BEST]
            row["shown"] = [int(rank[i]) + 1 for i in best]
            row["strips"] = list(strips.pair(stored, best).values())
        rows.append(row)
    return {"rows": rows}


def plot(summary: Summary) -> Figure:
    """Pictures of the best reconstructions; error against the rank of |α|, and curves beside their control."""
    panels = [r for r in summary["rows"] if "strips" in r]
    figure = new_figure(7.5, 4.0 * len(panels))
    for part, row in zip(parts(figure, *[1.0] * len(panels)), panels, strict=True):
        grid = part.add_gridspec(2, 2, height_ratios=[1, 2.4], width_ratios=[1.5, 1])
        pictures = part.add_subplot(grid[0, :])
        strips.draw(pictures, row["strips"], ["training", "found"])
        h = pictures.get_ylim()[0]
        step = (pictures.get_xlim()[1] + 0.5) / len(row["shown"])
        for i, rank in enumerate(row["shown"]):
            pictures.text((i + 0.5) * step, h + 1, str(rank), ha="center", va="top", fontsize=5, color="#555555")
        title = f"{row['title']}, {row['dynamics']} dynamics, N = {row['n']:,}, M = {row['m']:,}, W = {row['width']}"
        pictures.set_title(f"{title}; below: rank by |α|", loc="left", pad=11)
        _scatter(part.add_subplot(grid[1, 0]), row)
        _curves(part.add_subplot(grid[1, 1]), row)
    return figure


def _scatter(axis: Axes, row: dict[str, Any]) -> None:
    distance, alpha = np.array(row["distance"]), np.array(row["alpha"])
    rank = np.empty(len(alpha))
    rank[np.argsort(-alpha, kind="stable")] = np.arange(1, len(alpha) + 1)
    axis.plot(rank, distance, ".", color=COLOURS[row["dynamics"]], markersize=3, alpha=0.6, markeredgewidth=0)
    axis.axhline(row["limit"], color="#444444", linewidth=0.6)
    axis.text(len(alpha), row["limit"], "recognisable ", fontsize=6, ha="right", va="bottom", color="#444444")
    axis.set(xlabel="rank by |α|, largest first", ylabel="L2 distance", ylim=(0, None))
    rho = row["rho"]["value"]
    if rho is not None:
        axis.set_title(f"Spearman of distance and |α|: {rho:+.2f}", fontsize=7)


def _curves(axis: Axes, row: dict[str, Any]) -> None:
    x = np.arange(1, row["n"] + 1)
    axis.plot(x, np.sort(row["distance"]), color=COLOURS[row["dynamics"]], label=LABELS[row["dynamics"]])
    axis.plot(x, row["control"], color=COLOURS["held_out"], linewidth=1, label=LABELS["held_out"])
    axis.axhline(row["limit"], color="#444444", linewidth=0.6)
    axis.set(xlabel="images, best first", ylabel="L2 distance", ylim=(0, None), xscale="log")
    axis.legend(fontsize=6)


def table(summary: Summary) -> Table:
    """What came back from each network, with controls."""
    columns = ["task", "dynamics", "N", "M", "W", "seed", "mean L2", "recovered", "in top tenth of |α|", "AUC of |α|",
               "rho", "rho given size", "held-out", "held-out below", "start", "steps", "s"]  # fmt: skip
    rows = []
    for r in summary["rows"]:
        sizes = [str(r[k]) for k in ("title", "dynamics", "n", "m", "width", "seed")]
        recovered = f"{r['recovered']} (L2 < {r['limit']:.3g})"
        effects = [statistics.text(r[k], ".2f") for k in ("auc", "rho", "rho_given_start")]
        controls = [f"{r['held_out']:.2f}", str(r["held_out_below"]), f"{r['start']:.1f}"]
        work = [f"{r['steps']:,}", f"{r['seconds']:.0f}"]
        rows.append([*sizes, f"{r['error']:.2f}", recovered, str(r["top_tenth"]), *effects, *controls, *work])
    return f"Large sets, attacked by batches ({sources(summary['rows'])})", columns, rows


def _by_network(
    summary: Summary, label: str, of: Callable[[Row], float], write: Callable[..., Part], *bounds: float
) -> Effect:
    """A number of each network, averaged over draws, for each task and training rule."""
    return [
        write(f"{title}, {rule}: {label}", average(mine, of, bounds))
        for (title, rule), mine in grouped(summary["rows"], "title", "dynamics").items()
    ]


def _surplus(summary: Summary) -> Effect:
    label = "share of training images under the threshold minus that of held-out ones"
    return _by_network(summary, label, lambda r: (r["recovered"] - r["held_out_below"]) / r["n"], points, -1.0, 1.0)


def _recovered(summary: Summary) -> Effect:
    return _by_network(summary, "share recovered", lambda r: r["recovered"] / r["n"], share, 0.0, 1.0)


def _larger_alpha(summary: Summary) -> Effect:
    def chance(row: Row) -> float:
        """Area under the curve; none of a network of which too few images came back, or stayed away, to tell."""
        known = FEWEST <= row["recovered"] <= row["n"] - FEWEST and row["auc"]["value"] is not None
        return float(row["auc"]["value"]) if known else float("nan")

    return _by_network(summary, "chance that a recovered image has the larger |α| of a pair", chance, share, 0.0, 1.0)


CLAIMS = (
    Claim("large-sets-leak", "Some training images of a large set come back: more than held-out images do by chance.",
          _surplus, 0.0, "any surplus over the control is a leak"),
    Claim("only-outliers-few", "Of a large set only a minority comes back.",
          _recovered, 0.5, "more than half of a set are no outliers", "below"),
    Claim("only-outliers", "What comes back from a large set has larger dual weights |α| than the rest.",
          _larger_alpha, 0.56, "0.56 is Cohen's small effect as a chance, Φ(0.2/√2)"),
)  # fmt: skip
