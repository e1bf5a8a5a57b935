"""Fine-tuning: does a network that starts from public weights give its few private images back?

Beyond the paper, but its threat model's most natural case: the attacker knows the initial weights because they are
published. A network is trained on a few hundred public images first (the classes' first half against their second:
digits 0-4 against 5-9), then on N private images of another task, its head's weights kept; the attack sees the public
weights and the final ones. The same network trained on the same private images from random weights is the comparison.

    make reproduce-finetune                 quick: minutes, MNIST, offline
    make reproduce-finetune PRESET=full     both tasks, W = 256 and 512, 400 public images, with prepared data
    make reproduce-finetune PRESET=paper    N = 200, W = 2048, published schedule: a GPU's work

Expected: the private images come back, and the public ones do not. Whether more or less comes back than from random
weights is measured, beside how far fine-tuning moves the kernel: features have been learnt already. The exact recovery
needs no lazy training, and does not care where the weights came from.

Controls: distances of held-out images, of the attack's start, of the public images, and of as many test images that no
network has seen. Public and unseen images are of the test split, which holds none of the private ones. The 20 CIFAR-10
package pictures have no test split, so `quick` leaves CIFAR-10 out.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from benchmarks._estimates import A_TENTH, HALF, average, compared, over
from benchmarks._panels import choose_pair, draw_controls, parts, show_pair, stack
from benchmarks._presets import CIFAR, MNIST, RULES, attacks, networks, presets, rules
from benchmarks._rows import Row, curves, distinct, grouped, heading, published, where
from benchmarks._tables import Table, count, error, mean, means, tabulate
from recon.cells import AttackCell
from recon.cells.finetuning import FinetuneCell
from recon.claims import Claim, Effect, Summary, ratio
from recon.dynamics import GradientFlow
from recon.plots import COLOURS, Axes, Figure, new_figure
from recon.records import Stored, attack_row

# Fitted, without fitting every image to the end: as networks are trained that are passed on.
PRETRAINING = GradientFlow(loss=1e-2, tol=1e-2)
PAIR = ("task", "n", "width", "dynamics", "seed", "attack")  # what runs from either weights share
EACH = 4  # pictures from each end and from the middle of the ranking
PUBLIC = "#009E73"  # Okabe and Ito's, beside the colours with a fixed meaning

# Networks as (task, N, widths, seeds, seeds of the exact recovery, public images).
PRESETS = presets(
    quick={"networks": ((MNIST, 20, (256,), (0, 1, 2, 3), (0, 1), 200),)},
    full={
        "networks": tuple(
            (task, 20, (width,), (0, 1, 2, 3, 4), (0, 1, 2), 400) for task in (MNIST, CIFAR) for width in (256, 512)
        )
    },
    paper={"networks": tuple((task, 200, (2048,), (0, 1, 2, 3, 4), (0, 1, 2), 500) for task in (MNIST, CIFAR))},
)


def cells(preset: dict[str, Any]) -> list[FinetuneCell]:
    """Every network from public and from random weights under both dynamics, by the published and the exact attack."""
    return [
        FinetuneCell(AttackCell(task, n, network, rule, attack, options, seed=seed), public, PRETRAINING)
        for task, n, network, seed, exact, n_public in networks(preset["networks"])
        for rule in rules(preset).values()
        for public in (0, n_public)
        for attack, options in attacks(preset, exact=seed in exact)
    ]


def summarise(results: Sequence[Stored]) -> Summary:
    """A row for each cell; pictures of each task's first network from either weights, standard dynamics if any."""
    rows, pictures = list[Row](), dict[tuple[str, bool], dict[str, Any]]()
    for s in results:
        record, row = s.record, attack_row(s.record)
        public = record["public"]
        row |= {"weights": "public" if public["n"] else "random", "n_public": public["n"]}
        row |= {"public": public["mean"], "unseen": public["mean_fresh"], "accuracy": public.get("accuracy")}
        row |= {"gain": _nearer(public), "certified": record["attack"]["certified"]}
        rows.append(row | curves(s, curve="distance"))
        place = row["task"], row["weights"] == "public"
        before = pictures.get(place, {"dynamics": None})["dynamics"]
        if row["attack"] != "exact" and before != "standard" and before != row["dynamics"]:
            names = ("title", "weights", "dynamics", "n", "width", "attack")
            pictures[place] = {name: row[name] for name in names} | choose_pair(s, EACH)
    return {"rows": rows, "pictures": list(pictures.values())}


def _nearer(public: dict[str, Any]) -> float | None:
    """log₂ of how much nearer reconstructions lie to a public image than to one that no network has seen."""
    if public["nearest"] is None:
        return None
    return float(np.mean(np.log2(np.array(public["nearest_fresh"]) / np.array(public["nearest"]))))


def _pairs(rows: list[Row]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """(from random, from public weights) of equal images, network and dynamics."""
    pairs = grouped(sorted(rows, key=lambda r: r["weights"] == "public"), *PAIR)
    return [(pair[0], pair[1]) for _, pair in sorted(pairs.items()) if len(pair) == 2]


def plot(summary: Summary) -> Figure:
    """For each task: errors from random against public weights, kernel distances, controls; then pictures."""
    tasks = distinct(summary["rows"], "task")
    heights = [2.9 * len(tasks), 0.95 * len(summary["pictures"])]
    figure = new_figure(9.5, sum(heights))
    upper, lower = parts(figure, *heights)
    grid = upper.subplots(len(tasks), 3, squeeze=False)
    for row, task in zip(grid, tasks, strict=True):
        mine = where(summary["rows"], task=task)
        _curves(row[0], mine)
        row[0].set_title(heading(mine[0], dynamics=False), loc="left")
        _moved(row[1], mine)
        _controls(row[2], mine)
    upper.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    for axes, p in stack(lower, summary["pictures"]):
        show_pair(axes, p, EACH, "private", f"{p['title']}, {p['dynamics']}, from {p['weights']} weights")
    return figure


def _curves(axes: Axes, rows: list[Row]) -> None:
    """Mean reconstruction curves over seeds, and those of the exact recovery."""
    for rule in RULES:
        for weights, style in (("public", "-"), ("random", "--")):
            for exact, width in ((False, 1.5), (True, 0.7)):
                mine = [r["curve"] for r in rows if (r["dynamics"], r["weights"]) == (rule, weights)
                        and (r["attack"] == "exact") == exact]  # fmt: skip
                if mine:
                    label = None if exact else f"{rule}, from {weights} weights"
                    curve = np.mean(mine, axis=0)
                    axes.plot(range(1, len(curve) + 1), curve, style, color=COLOURS[rule], linewidth=width, label=label)
    draw_controls(axes, published(rows))
    axes.plot([], [], color="#444444", linewidth=0.7, label="thin, at zero: exact recovery (beyond the paper)")
    axes.set(xlabel="private images, best first", ylabel="L2 distance", ylim=(-0.2, None))


def _moved(axes: Axes, rows: list[Row]) -> None:
    """Error over kernel distance of standard dynamics, a line from random to public weights for each network."""
    for before, after in _pairs(published(rows, dynamics="standard")):
        pair = (before, after)
        axes.plot([r["kernel_distance"] for r in pair], [r["error"] for r in pair], "-", color="#cccccc", linewidth=0.8)
        for r, marker in zip(pair, "so", strict=True):
            axes.plot(r["kernel_distance"], r["error"], marker, color=COLOURS["standard"], markersize=4)
    for marker, name in (("s", "from random weights"), ("o", "from public weights")):
        axes.plot([], [], marker, color=COLOURS["standard"], markersize=4, label=name)
    axes.legend(fontsize=6)
    axes.set(xlabel="kernel distance of fine-tuning, 1 − cos(K0, Kf)", ylabel="mean L2, standard", ylim=(0, None))
    axes.set(xlim=(0, None))
    axes.locator_params(axis="x", nbins=4)


def _controls(axes: Axes, rows: list[Row]) -> None:
    """Distances of the reconstructions to the private images and to everything else, from public weights."""
    mine = published(rows, weights="public")
    kinds = {
        "error": "private images",
        "public": "public images",
        "unseen": "unseen test images",
        "held_out": "held-out images",
    }
    for i, kind in enumerate(kinds):
        for offset, rule in zip((0.12, -0.12), RULES, strict=True):
            values = [r[kind] for r in mine if r["dynamics"] == rule]
            colour = PUBLIC if kind == "public" else COLOURS[rule] if kind == "error" else COLOURS["held_out"]
            axes.plot(values, [i + offset] * len(values), "o" if rule == "linearised" else "^", color=colour,
                      markersize=3.5, alpha=0.7)  # fmt: skip
    axes.set_yticks(range(len(kinds)), list(kinds.values()), fontsize=7)
    axes.invert_yaxis()
    axes.set(xlabel="mean L2 to the reconstructions", xlim=(0, None))
    axes.set_title("from public weights (circles: linearised)", fontsize=8)


def table(summary: Summary) -> Table:
    """Mean error and controls by task, dynamics, weights and attack, averaged over draws."""

    def known(name: str, spec: str = ".2g") -> Callable[[Sequence[Row]], str]:
        return lambda rows: "" if None in [r[name] for r in rows] else mean(name, spec)(rows)

    columns = {"mean L2": error, "draws": count, "held-out": mean("held_out"), "start": mean("start")}
    columns |= {"public images": known("public"), "unseen images": known("unseen")}
    columns |= {"1 - cos(K0, Kf)": mean("kernel_distance"), "public task's accuracy": known("accuracy", ".1%")}
    public = max((r["n_public"] for r in summary["rows"]), default=0)
    title, rows = f"Fine-tuning from weights trained on {public} public images", summary["rows"]
    keys = ("title", "n", "width", "dynamics", "attack", "from")
    return tabulate(
        title, [r | {"from": r["weights"]} for r in rows], keys, columns | {"certified": known("certified", ".0f")}
    )


def _against_held_out(summary: Summary, rule: str) -> Effect:
    mine = published(summary["rows"], weights="public", dynamics=rule)
    return [ratio("Held-out images' distance over the private images' error", over(mine, "held_out", "error"))]


def _nearer_to_public(summary: Summary) -> Effect:
    mine = published(summary["rows"], weights="public")
    found = average(mine, lambda r: r["gain"])
    label = "Distance of a reconstruction to the nearest unseen image over that to the nearest public one"
    if mine:
        public, held_out = means(mine, "public", "held_out", spec=".2f")
        label += f" (mean matched distance of public images {public}, of held-out ones {held_out})"
    return [ratio(label, found)]


def _public_over_random(summary: Summary, rule: str) -> Effect:
    after, before = (published(summary["rows"], weights=w, dynamics=rule) for w in ("public", "random"))
    label = "Error from public weights over that from random ones"
    if rule == "standard" and after and before:
        public, random = (means(side, "kernel_distance", spec=".3f")[0] for side in (after, before))
        label += f" (kernel distance {public} and {random})"
    return [ratio(label, compared(after, before, *PAIR))]


CLAIMS = (
    *(
        Claim(f"private-images-come-back-{rule}",
              f"Under {rule} dynamics the change from public weights gives the private images back: errors are less "
              "than half of the held-out images' distances.",
              partial(_against_held_out, rule=rule), *HALF)
        for rule in RULES
    ),
    Claim("public-images-do-not",
          "What comes back is not the public set: reconstructions are no nearer to it than to images that no network "
          "has seen (within a tenth).",
          _nearer_to_public, *A_TENTH, "alike"),
    *(
        Claim(f"as-much-as-from-random-{rule}",
              f"Under {rule} dynamics public weights protect no better than random ones: errors are at most a tenth "
              "larger.",
              partial(_public_over_random, rule=rule), *A_TENTH, "below")
        for rule in RULES
    ),
)  # fmt: skip
