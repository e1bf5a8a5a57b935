"""Figures 25 to 40: every training image, sorted by ease of reconstruction.

The paper's last appendix shows the whole training set of each of its networks above what the attack recovered, the
easiest images first.

    make reproduce-figs25-40                 quick: seconds after figures 2 to 5, whose networks it uses; else minutes
    make reproduce-figs25-40 PRESET=full     the largest networks of their `full` presets
    make reproduce-figs25-40 PRESET=paper    N = 200 of all four tasks, published schedule: a GPU's work

Expected: sheets that begin with images hardly told from their reconstructions, and end with ones that never came back.
Under each pair stand its L2 distance and the rank of the image's dual weight |α| among all of them (1: the largest);
above each sheet the distances of held-out images and of the attack's start. The exact recovery gives every image or
none back, and so sorts none. One page holds 60 images; the PDF holds all pages.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks._estimates import average
from benchmarks._presets import CIFAR, CIFAR10, MNIST, MNIST10, RULES, cells_by_rule, presets
from benchmarks._rows import sources
from benchmarks._tables import Table
from recon.claims import TENTH, Claim, Effect, Summary, ratio, share
from recon.plots import Figure, new_figure, strips
from recon.records import Stored, attack_row, rounded

ACROSS, DOWN = 10, 6  # pairs on a page

# Networks as (task, N, widths, seeds, dynamics): figure 2's, figure 5's, figure 4's and figure 2's.
PRESETS = presets(
    quick={
        "networks": (
            (MNIST, 20, (512,), (0,), RULES),
            (MNIST, 40, (512,), (3, 4, 5), ("standard",)),
            (MNIST10, 20, (512,), (0,), RULES),
            (CIFAR, 10, (256,), (0,), RULES),
        )
    },
    full={
        "networks": (
            (MNIST, 20, (1024,), (0, 1, 2), RULES),
            (CIFAR, 20, (1024,), (0, 1, 2), RULES),
            (MNIST, 80, (1024,), (9, 10, 11), ("standard",)),
            (CIFAR, 80, (1024,), (9, 10, 11), ("standard",)),
            (MNIST10, 20, (1024,), (0, 1, 2), RULES),
            (CIFAR10, 20, (512,), (0, 1, 2), RULES),
        )
    },
    paper={"networks": tuple((task, 200, (4096,), (0, 1, 2), RULES) for task in (MNIST, CIFAR, MNIST10, CIFAR10))},
)
cells = cells_by_rule


def summarise(results: Sequence[Stored]) -> Summary:
    """A sheet for each network: rows of its numbers and pictures, the easiest image first."""
    sheets = []
    for s in results:
        images = s.record["images"]
        distance, dual = np.array(images["distance"]), np.array(images["dual_norm"])
        order = np.argsort(distance, kind="stable")
        rank = np.argsort(np.argsort(-dual, kind="stable")) + 1
        sheets.append(
            attack_row(s.record)
            | {"distance": rounded(distance[order]), "dual_norm": rounded(dual[order])}
            | {"dual_rank": rank[order].tolist(), "nearest_held_out": float(np.min(images["held_out"]))}
            | {"psnr_db": rounded(np.array(images["psnr_db"])[order])}
            | strips.pair(s, order)
        )
    return {"sheets": sheets}


def plot(summary: Summary) -> list[Figure]:
    """Contact sheets, training images above reconstructions: as many pages as it takes."""
    return [_page(sheet, first) for sheet in summary["sheets"] for first in range(0, sheet["n"], ACROSS * DOWN)]


def _page(sheet: dict[str, Any], first: int) -> Figure:
    last = min(first + ACROSS * DOWN, sheet["n"])
    down = -(-(last - first) // ACROSS)
    figure = new_figure(8.5, 1.95 * down + 0.6)
    grid = figure.subplots(down, ACROSS, squeeze=False)
    above, below = strips.decode(sheet["train"]), strips.decode(sheet["found"])
    gap = np.full((1, *above.shape[2:]), 255, np.uint8)
    for i, axes in zip(range(first, first + grid.size), grid.flat, strict=True):
        axes.set_axis_off()
        if i < last:
            axes.imshow(np.concatenate([above[i], gap, below[i]]), cmap="gray", vmin=0, vmax=255)
            caption = f"{sheet['distance'][i]:.2f}\n|α| {sheet['dual_rank'][i]}"
            axes.text(0.5, -0.03, caption, fontsize=6, ha="center", va="top", transform=axes.transAxes)
    pages = -(-sheet["n"] // (ACROSS * DOWN))
    part = f", page {first // (ACROSS * DOWN) + 1} of {pages}" if pages > 1 else ""
    title = (
        f"{sheet['title']}, {sheet['dynamics']}, N = {sheet['n']}, W = {sheet['width']}, seed {sheet['seed']}{part}: "
        f"training images above {sheet['attack']}, easiest first\n"
        f"below each its L2 distance and its |α|'s rank; means: {sheet['error']:.2f}, held-out {sheet['held_out']:.2f} "
        f"(control), start {sheet['start']:.2f} (control)"
    )
    figure.suptitle(title, fontsize=7.5, x=0.01, ha="left")
    return figure


def third_ratio(sheet: dict[str, Any]) -> float:
    """log₂ of the ratio of |α| in the easiest third of a sheet to |α| in the hardest, geometric means."""
    log, k = np.log2(np.array(sheet["dual_norm"])), max(1, sheet["n"] // 3)
    return float(log[:k].mean() - log[-k:].mean())


def share_nearer(sheet: dict[str, Any]) -> float:
    """Share of a sheet's images that lie nearer to their reconstruction than any held-out image does to one."""
    return float(np.mean(np.array(sheet["distance"]) < sheet["nearest_held_out"]))


def table(summary: Summary) -> Table:
    """A row for each sheet: its ends and its controls."""
    columns = ["task", "N", "W", "dynamics", "seed", "easiest", "median", "hardest", "mean L2", "held-out",
               "nearest held-out", "start", "nearer than any held-out", "|α|, easiest third / hardest"]  # fmt: skip
    rows = []
    for s in summary["sheets"]:
        settings = [str(s[k]) for k in ("title", "n", "width", "dynamics", "seed")]
        ends = (s["distance"][0], float(np.median(s["distance"])), s["distance"][-1])
        controls = (s["error"], s["held_out"], s["nearest_held_out"], s["start"])
        shares = [f"{100 * share_nearer(s):.0f} %", f"{np.exp2(third_ratio(s)):.2f}"]
        rows.append([*settings, *(f"{v:.2g}" for v in (*ends, *controls)), *shares])
    return f"The sheets' ends ({sources(summary['sheets'])})", columns, rows


def _easiest_over_hardest(summary: Summary) -> Effect:
    sheets = summary["sheets"]
    return [ratio("|α| of a sheet's easiest third over that of its hardest", average(sheets, third_ratio))]


def _share_nearer(summary: Summary) -> Effect:
    sheets = summary["sheets"]
    return [share("Of a sheet nearer than the nearest held-out image", average(sheets, share_nearer, (0.0, 1.0)))]


CLAIMS = (
    Claim("large-duals-first",
          "The sheets begin with images of large |α|: the easiest third's is larger by a tenth or more than the "
          "hardest third's.",
          _easiest_over_hardest, TENTH, "a tenth, as of errors"),
    Claim("more-than-chance",
          "More than half of a sheet's images lie nearer to their reconstruction than any held-out image does to one.",
          _share_nearer, 0.5, "half: most of a sheet"),
)  # fmt: skip
