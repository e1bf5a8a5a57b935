"""Data dimension: the same images at several resolutions.

The paper's appendix J.2 finds that a higher input dimension (64 × 64 × 3) lowers the quality of what comes back, while
recognisable images still do; its reviewers asked for the effect by itself. Here the same images, resampled by area,
train networks of the same N, W and seeds.

    make reproduce-dim                  quick: minutes, offline
    make reproduce-dim PRESET=full      up to 56 × 56 and 64 × 64 × 3, W = 512, five draws of images, prepared data
    make reproduce-dim PRESET=paper     N = 200, W = 2048, published schedule: a GPU's work

Expected: no one effect of the dimension. Of digits the error per pixel falls as it grows, of CIFAR-10's pictures it
rises or stays: a larger digit is mostly more of the same strokes, a larger photograph has detail that a smaller lacks.
The exact recovery needs a first layer's change of rank N, so more inputs than images: of N = 20 digits of 4 × 4 pixels
(d = 16) nothing comes back, of all larger ones everything.

Errors are compared as L2/√d, the root mean square error of a pixel's value in [0, 1]: the same scale at every size, as
PSNR is, but without its clipping and its cap. Fewer pixels also mean less contrast, so the same distance of held-out
images is given beside it, and the slope of the error over that control is a second reading. Above the data's own size
pixels are repeated, which adds dimensions and no information.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from benchmarks._estimates import A_TENTH, average, growth
from benchmarks._panels import draw_control_means, draw_rules, parts
from benchmarks._presets import CIFAR, MNIST, NAMES, RULES, attacks, networks, presets, rules
from benchmarks._rows import Row, distinct, heading, published, where
from benchmarks._tables import Table, count, error, mean, tabulate
from recon.cells import AttackCell
from recon.cells.resolution import ResolutionCell
from recon.claims import Claim, Effect, Summary, ratio, share
from recon.plots import Axes, Figure, new_figure, strips
from recon.records import Stored, attack_row, rounded

SIDE = {MNIST: 28, CIFAR: 32}  # the data's own
SHOWN = 8  # pictures in a row

# Networks as (task, N, widths, seeds, sides).
PRESETS = presets(
    quick={
        "networks": (
            (MNIST, 20, (256,), (0, 1, 2), (4, 7, 14, 28)),
            (CIFAR, 10, (256,), (0, 1, 2), (8, 16, 32)),
        )
    },
    full={
        "networks": (
            (MNIST, 20, (512,), (0, 1, 2, 3, 4), (4, 7, 14, 28, 56)),
            (CIFAR, 20, (512,), (0, 1, 2, 3, 4), (4, 8, 16, 32, 64)),
        )
    },
    paper={
        "networks": (
            (MNIST, 200, (2048,), (0, 1, 2, 3, 4), (7, 14, 28, 56)),
            (CIFAR, 200, (2048,), (0, 1, 2, 3, 4), (8, 16, 32, 64)),
        )
    },
)


def cells(preset: dict[str, Any]) -> list[ResolutionCell]:
    """Every network at every size under both dynamics; those of seed 0 attacked by the exact recovery as well."""
    return [
        ResolutionCell(AttackCell(task, n, network, rule, attack, options, seed=seed), side)
        for task, n, network, seed, sides in networks(preset["networks"])
        for side in sides
        for rule in rules(preset).values()
        for attack, options in attacks(preset, exact=seed == 0)
    ]


def summarise(results: Sequence[Stored]) -> Summary:
    """A row for each cell with errors as L2/√d; pictures of the first network of each task by size and dynamics."""
    rows, pictures = [], dict[tuple[str, str, int], dict[str, Any]]()
    for s in results:
        row, side = attack_row(s.record), s.record["cell"]["side"]
        d = int(np.prod(s.arrays["train"].shape[1:]))
        per_pixel = {name: float(row[name] / np.sqrt(d)) for name in ("error", "held_out", "start")}
        distance = np.array(s.record["images"]["distance"]) / np.sqrt(d)
        rows.append(row | {"side": side, "d": d, "rms": rounded(distance)} | per_pixel)
        place = row["task"], row["dynamics"], side
        if row["attack"] != "exact" and place not in pictures:
            names = ("task", "title", "dynamics", "n", "width", "attack")
            few = strips.pair(s, np.arange(min(SHOWN, row["n"])))
            pictures[place] = {name: row[name] for name in names} | {"side": side, **few}
    return {"rows": rows, "pictures": list(pictures.values())}


def recognised(row: dict[str, Any]) -> float:
    """Share of a run's images nearer than the task's recognisable distance, taken per pixel at the data's own size."""
    limit = row["recognisable"] / np.sqrt(SIDE[row["task"]] ** 2 * row["d"] / row["side"] ** 2)
    return float(np.mean(np.array(row["rms"]) < limit))


def plot(summary: Summary) -> Figure:
    """For each task: error over dimension beside its controls, and relative to held-out images; then pictures."""
    tasks = distinct(summary["rows"], "task")
    drawn = [where(summary["pictures"], task=task, dynamics=rule) for task in tasks for rule in RULES]
    shown = [pictures for pictures in drawn if pictures]
    figure = new_figure(9.5, 2.9 * len(tasks) + 3.4)
    upper, lower = parts(figure, 2.9 * len(tasks), 3.4)
    grid = upper.subplots(len(tasks), 2, squeeze=False)
    for row, task in zip(grid, tasks, strict=True):
        mine = [r | {"relative": r["error"] / r["held_out"]} for r in where(summary["rows"], task=task)]
        _errors(row[0], mine, "error")
        row[0].set_title(heading(mine[0], dynamics=False), loc="left")
        _errors(row[1], mine, "relative")
    upper.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    for axes, pictures in zip(np.ravel(lower.subplots(1, len(shown), squeeze=False)), shown, strict=True):
        _pictures(axes, pictures)
    return figure


def _errors(axes: Axes, rows: list[Row], what: str) -> None:
    sizes = sorted({(r["d"], r["side"]) for r in rows})
    draw_rules(axes, rows, "d", what, exact_points=False)
    if what == "error":
        draw_control_means(axes, published(rows), "d", "-", linewidth=1)
    axes.set_xscale("log", base=2)
    axes.set_xticks([d for d, _ in sizes], [f"{d}\n{side}×{side}" for d, side in sizes])
    axes.minorticks_off()
    label = "L2/√d (RMS of a pixel)" if what == "error" else "error over held-out images'"
    top = max(max(r[what] for r in published(rows)), 1.0 if what == "relative" else 0.0)
    if what == "error":
        top = max(top, max(max(r["held_out"], r["start"]) for r in published(rows)))
    axes.set(xlabel="dimension d", ylabel=label, ylim=(-0.02 * top, 1.08 * top))


def _pictures(axes: Axes, pictures: list[Row]) -> None:
    """Training images above reconstructions, a pair of rows for each size, all drawn at the largest size."""
    largest = max(p["side"] for p in pictures)
    canvas = []
    for p in sorted(pictures, key=lambda p: p["side"]):
        for name in ("train", "found"):
            row = strips.decode(p[name])
            row = row if row.ndim == 4 else np.repeat(row[..., None], 3, axis=3)
            # Nearest pixels: sizes of a task need not divide each other.
            index = np.arange(largest) * p["side"] // largest
            canvas.append(np.concatenate(row[:, index][:, :, index], axis=1))
        canvas.append(np.full((largest // 5, canvas[-1].shape[1], 3), 255, np.uint8))
    first = pictures[0]
    axes.set_title(f"{NAMES[first['task']]}, {first['dynamics']}\ntraining images above {first['attack']}", fontsize=7)
    step = 2 * largest + largest // 5
    sides = sorted(p["side"] for p in pictures)
    places, names = [float(i * step + largest) for i in range(len(sides))], [f"{s}×{s}" for s in sides]
    strips.draw_canvas(axes, np.concatenate(canvas[:-1]), places, names, fontsize=7)


def table(summary: Summary) -> Table:
    """Error per pixel and controls by task, size, dynamics and attack, averaged over draws."""
    columns = {
        "L2/√d": error,
        "draws": count,
        "PSNR of it, dB": lambda rows: f"{-20 * np.log10(np.mean([r['error'] for r in rows])):.1f}",
        "held-out": mean("held_out"),
        "start": mean("start"),
        "recognisable": lambda rows: f"{100 * np.mean([recognised(r) for r in rows]):.0f} %",
    }
    keys = ("title", "n", "width", "side", "d", "dynamics", "attack")
    return tabulate("Error per pixel over the data's dimension", summary["rows"], keys, columns)


def _growth_at_a_doubled_side(summary: Summary, task: str, rule: str) -> Effect:
    rows = [
        r | {"relative": r["error"] / r["held_out"], "network": f"{r['draw']}, {r['seed']}"}
        for r in published(summary["rows"], task=task, dynamics=rule)
    ]
    error, relative = (growth(rows, "side", y, run="network") for y in ("error", "relative"))
    return [
        ratio("Error per pixel at a doubled side over that before", error),
        ratio("relative to held-out images", relative, decides=False),
    ]


def _share_recognised(summary: Summary, task: str) -> Effect:
    rows = published(summary["rows"], task=task)
    largest = max((r["side"] for r in rows), default=0)
    found = average(where(rows, side=largest), recognised, (0.0, 1.0))
    return [share(f"Of the images recognisable at {largest} × {largest}", found)]


CLAIMS = tuple(
    claim
    for task, name in NAMES.items()
    for claim in (
        *(
            Claim(f"dimension-hurts-{rule}-{task}",
                  f"{name}: under {rule} dynamics a higher dimension lowers quality: the error per pixel grows by a "
                  "tenth or more for each doubling of the side.",
                  partial(_growth_at_a_doubled_side, task=task, rule=rule), *A_TENTH)
            for rule in RULES
        ),
        Claim(f"still-recognisable-{task}",
              f"{name}: at the largest size recognisable images still come back (more than one in ten).",
              partial(_share_recognised, task=task), 0.1,
              "one in ten is more than a stray image of the ten of the smallest network"),
    )
)  # fmt: skip
