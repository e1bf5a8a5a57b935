"""Figure 6: test accuracy after pruning, by ease of reconstruction, |α|, training loss or at random.

The paper drops training images in these orders, trains again, and finds that dropping the easily reconstructed images
does not hurt.

    make reproduce-fig6                 quick: minutes, MNIST alone, offline
    make reproduce-fig6 PRESET=full     both tasks at N = 200: hours on two cores, with prepared data
    make reproduce-fig6 PRESET=paper    N = 500, W = 2048, published schedule: a GPU's work

Expected: the curves lie close together, but for large losses at the start: that order drops the class that the initial
network happens to be against. Each network starts from the attacked one's initial weights and follows the
same training rule. Pruning is tested on the test split: 1,000 digits of the package pictures, 5,000 images of a
prepared set. The 20 CIFAR-10 package pictures are too few to test on, so `quick` leaves CIFAR-10 out. The exact
recovery gives every image or none back, and so ranks none by ease.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from benchmarks._estimates import POINT, POINT_REASON
from benchmarks._presets import CIFAR, FITTED, MNIST, PAPER_RULE, SETTINGS
from benchmarks._tables import Table, percent
from recon import statistics
from recon.cells import AttackCell, PruningCell
from recon.claims import Claim, Effect, Summary, points
from recon.networks import MLP
from recon.plots import Figure, new_figure
from recon.records import Stored

# A network as (N, width); subsets as (fractions kept, random orders, criteria that are also followed in reverse).
PRESETS: dict[str, dict[str, Any]] = {
    "quick": {
        "tasks": (MNIST,),
        # Of a network half as wide and more images nothing came back, which left no ease to rank by.
        "network": (60, 512),
        "seeds": (0, 1, 2, 3, 4, 5, 6, 7),
        "train": SETTINGS["quick"],
        "retrain": FITTED,
        "subsets": ((0.75, 0.5, 0.25), 3, ("ease",)),
    },
    "full": {
        "tasks": (MNIST, CIFAR),
        "network": (200, 1024),
        "seeds": (0, 1, 2, 3, 4),
        "train": SETTINGS["full"],
        "retrain": FITTED,
        "subsets": ((0.9, 0.75, 0.5, 0.25, 0.1), 5, ("ease", "dual_norm", "loss_path")),
    },
    "paper": {
        "tasks": (MNIST, CIFAR),
        "network": (500, 2048),
        "seeds": (0, 1, 2),
        "train": SETTINGS["paper"],
        "retrain": PAPER_RULE,
        "subsets": ((0.9, 0.75, 0.5, 0.25, 0.1), 5, ("ease", "dual_norm", "loss_path")),
    },
}

# Label and colour of each order (Okabe and Ito's colours; grey for the control).
ORDERS = {
    "random": ("at random", "#8a8a8a"),
    "ease": ("easily reconstructed first", "#D55E00"),
    "ease_balanced": ("the same, class by class", "#E69F00"),
    "dual_norm": ("large |α| first", "#0072B2"),
    "loss_initial": ("large loss at the start first", "#CC79A7"),
    "loss_path": ("large loss along the path first", "#009E73"),
}


def cells(preset: dict[str, Any]) -> list[PruningCell]:
    """A cell for each task and seed: attack, ranking and all retrained networks."""
    (n, width), train = preset["network"], preset["train"]
    return [
        PruningCell(
            AttackCell(task, n, MLP((width,) * 2), train["standard"], train["attack"], train["options"], seed=seed),
            preset["retrain"],
            *preset["subsets"],
        )
        for task in preset["tasks"]
        for seed in preset["seeds"]
    ]


def summarise(results: Sequence[Stored]) -> Summary:
    """For each task the accuracy of every order by fraction and seed, and the paired differences from random."""
    tasks: dict[str, dict[str, Any]] = {}
    for stored in results:
        r = stored.record
        cell, pruning = r["cell"], r["pruning"]
        task = tasks.setdefault(
            cell["task"],
            {
                "title": r["data"]["title"],
                "source": r["data"]["source"],
                "n": cell["n_train"],
                "width": cell["network"]["widths"][0],
                "tested_on": pruning["tested_on"],
                "test_images": pruning["test_images"],
                "kept": sorted({row["kept"] for row in pruning["rows"]}, reverse=True),
                "seeds": [],
                "attack": [],
                "accuracy": {},
            },
        )
        task["seeds"].append(cell["seed"])
        task["attack"].append({"mean": r["scores"]["train"]["mean"], "held_out": r["scores"]["held_out"]["mean"]})
        whole = next(row["accuracy"] for row in pruning["rows"] if row["order"] == "all")
        for order, reverse in dict.fromkeys((row["order"], row["reverse"]) for row in pruning["rows"]):
            if order == "all":
                continue
            curve = [whole]
            for kept in task["kept"][1:]:
                mine = (order, reverse, kept)
                found = [x["accuracy"] for x in pruning["rows"] if (x["order"], x["reverse"], x["kept"]) == mine]
                curve.append(float(np.mean(found)))  # over the draws of a random order
            task["accuracy"].setdefault(f"{order} reversed" if reverse else order, []).append(curve)
    for task in tasks.values():
        task["over_random"] = _over_random(task)
    return {"tasks": list(tasks.values())}


def _over_random(task: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Accuracy minus that of random pruning, paired by seed: at each fraction below 1, and on average over them."""
    seeds = np.array(task["seeds"])
    random = np.array(task["accuracy"]["random"])[:, 1:]
    found = {}
    for name, curves in task["accuracy"].items():
        if name != "random":
            mine = np.array(curves)[:, 1:]
            found[name] = {
                "mean": statistics.paired(mine.mean(1), random.mean(1), seeds),
                "at": [statistics.paired(mine[:, i], random[:, i], seeds) for i in range(mine.shape[1])],
            }
    return found


def plot(summary: Summary) -> Figure:
    """For each task accuracy over the fraction kept, and the paired difference from random pruning."""
    tasks = summary["tasks"]
    figure = new_figure(7.5, 3.1 * len(tasks) + 0.5)
    axes = figure.subplots(len(tasks), 2, squeeze=False)
    for (left, right), task in zip(axes, tasks, strict=True):
        kept = np.array(task["kept"])
        for i, (name, curves) in enumerate(task["accuracy"].items()):
            label, style = _style(name)
            shift = 0.006 * (i - len(task["accuracy"]) / 2)  # so that bars stand beside each other
            mean = 100 * np.mean(curves, axis=0)
            spread = 100 * np.std(curves, axis=0, ddof=1) if len(curves) > 1 else None
            left.errorbar(kept + shift, mean, spread, label=label, **style)
            if name in task["over_random"]:
                at = task["over_random"][name]["at"]
                value = 100 * np.array([e["value"] for e in at])
                half = [100 * (e["value"] - e["low"]) if e["low"] is not None else 0.0 for e in at]
                right.errorbar(kept[1:] + shift, value, half, **style)
        right.axhline(0, color=ORDERS["random"][1], linewidth=1.4)
        right.axhline(-100 * POINT, color="#444444", linewidth=0.6, linestyle=":")
        most = max(abs(e["value"]) for over in task["over_random"].values() for e in over["at"])
        right.set_ylim(-150 * most - 3, 150 * most + 3)  # intervals of a few seeds would leave no room for the points
        left.set(xlabel="fraction of images kept", ylabel="test accuracy [%], ± SD over seeds")
        left.set_title(f"{task['title']}, N = {task['n']}, W = {task['width']}", loc="left")
        right.set(xlabel="fraction of images kept", ylabel="minus random pruning [points], 95 %")
        right.set_title(f"paired over {len(task['seeds'])} seeds; dotted: the claims' margin", loc="left")
        for axis in (left, right):
            axis.invert_xaxis()
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def _style(name: str) -> tuple[str, dict[str, Any]]:
    """Label and line of an order."""
    order, _, reverse = name.partition(" ")
    label, colour = ORDERS[order]
    if reverse:
        label = label.replace("easily", "hardly").replace("large", "small")
    return label, {
        "color": colour,
        "linestyle": "--" if reverse else "-",
        "linewidth": 2 if order in ("ease", "random") else 1,
        "marker": "o",
        "markersize": 2.5,
        "elinewidth": 0.6,
    }


def table(summary: Summary) -> Table:
    """Accuracy by order and fraction, and the difference from random."""
    kept = summary["tasks"][0]["kept"]
    columns = ["task", "N", "W", "dropped first", *(f"{100 * k:.0f} % kept" for k in kept), "minus random, points"]
    rows = []
    for task in summary["tasks"]:
        for name, curves in task["accuracy"].items():
            numbers = [percent(values) for values in zip(*curves, strict=True)]
            over = task["over_random"].get(name)
            difference = "" if over is None else statistics.text(over["mean"], "+.1f", lambda v: 100 * v)
            rows.append([task["title"], str(task["n"]), str(task["width"]), _style(name)[0], *numbers, difference])
    tested = "; ".join(
        f"{t['test_images']} images of the {t['tested_on'].replace('_', '-')} split, {t['source']}"
        for t in summary["tasks"]
    )
    return f"Test accuracy after pruning, % ± SD over seeds ({tested})", columns, rows


def _over_random_pruning(summary: Summary, order: str) -> Effect:
    label = "accuracy minus that of random pruning, mean over fractions"
    return [points(f"{t['title']}: {label}", t["over_random"][order]["mean"]) for t in summary["tasks"]]


CLAIMS = (
    Claim("easy-ones-not-needed",
          "Dropping the easily reconstructed images costs at most a point more accuracy than dropping images at "
          "random.",
          partial(_over_random_pruning, order="ease"), -POINT, POINT_REASON),
    Claim("easy-ones-not-needed-by-class", "The same, with equal shares of every class dropped.",
          partial(_over_random_pruning, order="ease_balanced"), -POINT, POINT_REASON),
)  # fmt: skip
