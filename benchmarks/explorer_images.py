"""Explorer: every image of a network, what each solver made of it on the way and at the end, and its nearest stranger.

Feeds the explorer of the report (`make report`). The networks are figure 1's; the published schedule (`ntk`) is shown
over as many steps as the fast one (`ntk-fast`) takes in all, beside the exact recovery (`exact`).

    make reproduce-explorer                 quick: minutes, offline
    make reproduce-explorer PRESET=full     the authors' example size: hours on two cores
    make reproduce-explorer PRESET=paper    the published schedule to its end: a GPU's work

A reconstruction is one of its training image, and not merely a plausible picture, if it lies nearer to it than to any
of equally many held-out images of the same data. The networks are of one draw of images for each task.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks._panels import network, show, stack
from benchmarks._presets import NAMES, PAPER_RULE, rules
from benchmarks._rows import Row, heading
from benchmarks._tables import Table, mean, tabulate
from recon import statistics
from recon.cells import AttackCell
from recon.cells.frames import FramesCell
from recon.claims import Claim, Effect, Summary, ratio
from recon.dynamics import GradientFlow
from recon.networks import MLP
from recon.plots import Figure, new_figure, strips
from recon.records import Stored, rounded

KEPT = 60  # images of a network whose pictures are kept, evenly spaced in the ranking
SHOWN = 12  # of them also on the way
FRAMES = 10  # moments of an attack, start and end among them
DRAWN = 6  # of them in the figure

PRESETS: dict[str, dict[str, Any]] = {
    # CIFAR-10 at the size that the 20 package pictures allow: ten trained on, ten held out.
    "quick": {"n": (40, 10), "width": 512, "steps": 2000, "standard": GradientFlow()},
    "full": {"n": (200, 200), "width": 2048, "steps": 2000, "standard": GradientFlow()},
    "paper": {"n": (200, 200), "width": 2048, "steps": 80_000, "standard": PAPER_RULE},
}


def cells(preset: dict[str, Any]) -> list[FramesCell]:
    """Each task under both dynamics, attacked by three solvers."""
    looks = (("snapshots", FRAMES - 1),)  # the last is the end
    solvers = (("ntk-fast", looks), ("ntk", (*looks, ("steps", preset["steps"]))), ("exact", ()))
    return [
        FramesCell(AttackCell(task, n, MLP((preset["width"],) * 2), rule, attack, options))
        for task, n in zip(NAMES, preset["n"], strict=True)
        for rule in rules(preset).values()
        for attack, options in solvers
    ]


def summarise(results: Sequence[Stored]) -> Summary:
    """One panel for each network: its images, and for each attack their columns and pictures.

    "kept" indexes the images whose pictures are there, "shown" those of them (by place in "kept") with frames.
    """
    panels: dict[tuple[str, str], dict[str, Any]] = {}
    for stored in results:
        r, arrays = stored.record, stored.arrays
        images, mean, of = r["images"], np.array(r["data"]["mean"], np.float32), network(r)
        rank = np.argsort(images["distance"], kind="stable")
        kept = np.sort(rank[spaced(len(rank), KEPT)])
        new = of | {"kept": kept, "label": images["label"], "dual_norm": rounded(images["dual_norm"])}
        # From best to worst of the first attack, which is the paper's objective.
        new |= {"shown": np.searchsorted(kept, rank[np.isin(rank, kept)])[spaced(len(kept), SHOWN)]}
        new |= {"train": strips.encode(arrays["train"][kept] + mean), "attacks": []}
        panel = panels.setdefault((of["task"], of["dynamics"]), new)
        kept, shown = panel["kept"], panel["kept"][panel["shown"]]
        panel["attacks"].append(
            {
                "attack": r["cell"]["attack"],
                "steps": r["attack"]["steps"],
                "why": r["attack"]["why"],
                "seconds": r["attack"]["seconds"]["run"],
                "mean": r["scores"]["train"]["mean"],
                "certified": images["certified"],
                **{k: rounded(images[k]) for k in ("distance", "held_out", "start", "nearest_held_out")},
                "found": strips.encode_small(arrays["found"][kept] + mean),
                "nearest": strips.encode_small(arrays["nearest"][kept] + mean),
                "frames": [
                    {k: r["frames"][i][k] for k in ("step", "seconds", "mean")}
                    | {"distance": rounded(np.array(r["frames"][i]["distance"])[shown])}
                    | {"pictures": strips.encode_small(arrays["frames"][i][shown] + mean)}
                    for i in spaced(len(r["frames"]), FRAMES)
                ],
            }
        )
    return {"panels": list(panels.values())}


def spaced(n: int, most: int) -> np.ndarray:
    """At most `most` of n places, evenly spaced, the first and the last among them."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(int))


def plot(summary: Summary) -> Figure:
    """For each network the training images above what the paper's objective has of them at steps on the way."""
    panels = summary["panels"]
    heights = [0.6 + 0.42 * (1 + len(_drawn(p))) for p in panels]
    figure = new_figure(7.2, sum(heights))
    for axes, p in stack(figure, panels, height_ratios=heights):
        train = strips.encode(_pixels(strips.decode(p["train"])[np.array(p["shown"])]))
        frames = {f"{f['step']:,}": f["pictures"] for f in _drawn(p)}
        title = f"{heading(p | {'dynamics': p['dynamics'] + ' dynamics'})}: steps of {p['attacks'][0]['attack']}"
        show(axes, {}, {"training": train, **frames}, 0, title)
    return figure


def _drawn(panel: dict[str, Any]) -> list[Row]:
    frames = panel["attacks"][0]["frames"]
    return [frames[i] for i in spaced(len(frames), DRAWN)]


def _pixels(pictures: np.ndarray) -> np.ndarray:
    """8-bit pictures as a strip's pixels, (n, h, w, c) in [0, 1]."""
    return (pictures if pictures.ndim == 4 else pictures[..., None]).astype(np.float32) / 255


def table(summary: Summary) -> Table:
    """How near reconstructions lie to training images and to held-out ones, a row for each network and attack."""

    def nearer(rows: Sequence[Row]) -> str:
        near, away = (np.array(rows[0][k]) for k in ("distance", "nearest_held_out"))
        return f"{(near < away).sum()} of {rows[0]['n']}"

    columns = {"mean L2": mean("distance"), "to nearest held-out": mean("nearest_held_out")}
    rows = [p | a | {"steps": f"{a['steps']:,}"} for p in summary["panels"] for a in p["attacks"]]
    keys = ("title", "dynamics", "n", "width", "attack", "steps")
    title = "Reconstructions between training and held-out images, mean L2"
    return tabulate(title, rows, keys, columns | {"nearer to training": nearer, "s": mean("seconds", ".3g")})


def _least_margin(summary: Summary) -> Effect:
    """Of the recognisable reconstructions of a draw, that which is nearest to a stranger beside its training image."""
    least, counts = dict[str, float](), dict[str, list[int]]()
    known = [p for p in summary["panels"] if p["recognisable"] is not None]
    for p, a in [(panel, attack) for panel in known for attack in panel["attacks"]]:
        near, away = np.array(a["distance"], float), np.array(a["nearest_held_out"], float)
        seen = near < p["recognisable"]
        count = counts.setdefault(a["attack"], [0, 0])
        count[0] += int((seen & (near < away)).sum())
        count[1] += int(seen.sum())
        if seen.any():
            gap = float(np.log2(away[seen] / near[seen]).min())
            least[p["task"]] = min(gap, least.get(p["task"], gap))
    found = statistics.mean(np.array(list(least.values())), np.array(list(least)))
    counted = ", ".join(f"{attack} {nearer} of {of}" for attack, (nearer, of) in counts.items())
    label = "Distance to the nearest held-out image over that to the training image, the least of a draw"
    return [ratio(f"{label} (nearer to the training image: {counted})", found)]


CLAIMS = (
    Claim("nearer-than-strangers",
          "Beyond the paper: every recognisable reconstruction is nearer to its training image than to any held-out "
          "one.",
          _least_margin, 0.0, "nearer is nearer"),
)  # fmt: skip
