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

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from recon import statistics
from recon.benchmark import Claim, Summary, Verdict
from recon.cells import AttackCell
from recon.cells.finetuned import FinetuneCell
from recon.cells.published import SETTINGS, attacks
from recon.dynamics import Dynamics, GradientFlow, Linearised
from recon.networks import MLP
from recon.plots import COLOURS, LABELS, strips
from recon.plots import figure as new_figure
from recon.records import Stored, attack_row, mean_and_spread, rounded

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MNIST, CIFAR = "mnist_odd_even", "cifar10_animal_vehicle"
RULES = ("linearised", "standard")
# Fitted, without fitting every image to the end: as networks are trained that are passed on.
PRETRAINING = GradientFlow(loss=1e-2, tol=1e-2)
EACH = 4  # pictures from each end and from the middle of the ranking
PUBLIC = "#009E73"  # Okabe and Ito's, beside the colours with a fixed meaning

# Networks as (task, N, W, public images, seeds, seeds of the exact recovery).
PRESETS: dict[str, dict[str, Any]] = {
    "quick": {"networks": ((MNIST, 20, 256, 200, (0, 1, 2, 3), (0, 1)),), **SETTINGS["quick"]},
    "full": {
        "networks": tuple(
            (task, 20, width, 400, (0, 1, 2, 3, 4), (0, 1, 2)) for task in (MNIST, CIFAR) for width in (256, 512)
        ),
        **SETTINGS["full"],
    },
    "paper": {
        "networks": tuple((task, 200, 2048, 500, (0, 1, 2, 3, 4), (0, 1, 2)) for task in (MNIST, CIFAR)),
        **SETTINGS["paper"],
    },
}


def cells(preset: dict[str, Any]) -> list[FinetuneCell]:
    """Every network from public and from random weights under both dynamics, by the published and the exact attack."""
    rules: tuple[Dynamics, ...] = (Linearised(), preset["standard"])
    return [
        FinetuneCell(AttackCell(task, n, MLP((width, width)), rule, attack, options, seed=seed), public, PRETRAINING)
        for task, n, width, n_public, seeds, exact in preset["networks"]
        for seed in seeds
        for rule in rules
        for public in (0, n_public)
        for attack, options in attacks(preset, exact=seed in exact)
    ]


def summarise(results: Sequence[Stored]) -> Summary:
    """A row for each cell; pictures of each task's first network from either weights, standard dynamics if any."""
    rows, pictures = list[dict[str, Any]](), dict[tuple[str, bool], dict[str, Any]]()
    for s in results:
        record, row = s.record, attack_row(s.record)
        public = record["public"]
        row |= {"weights": "public" if public["n"] else "random", "n_public": public["n"]}
        row |= {"public": public["mean"], "unseen": public["mean_fresh"], "accuracy": public.get("accuracy")}
        row |= {"gain": _nearer(public), "certified": record["attack"]["certified"]}
        row |= {"curve": rounded(np.sort(record["images"]["distance"]))}
        rows.append(row)
        place = row["task"], row["weights"] == "public"
        before = pictures.get(place, {"dynamics": None})["dynamics"]
        if row["attack"] != "exact" and before != "standard" and before != row["dynamics"]:
            index = strips.choose(np.array(record["images"]["distance"]), EACH)
            names = ("title", "weights", "dynamics", "n", "width", "attack")
            gaps = len(index) == 3 * EACH < row["n"]
            pictures[place] = {name: row[name] for name in names} | {"thirds": gaps, **strips.pair(s, index)}
    return {"rows": rows, "pictures": list(pictures.values())}


def _nearer(public: dict[str, Any]) -> float | None:
    """log₂ of how much nearer reconstructions lie to a public image than to one that no network has seen."""
    if public["nearest"] is None:
        return None
    return float(np.mean(np.log2(np.array(public["nearest_fresh"]) / np.array(public["nearest"]))))


def _paper(rows: list[dict[str, Any]], weights: str | None = None) -> list[dict[str, Any]]:
    return [r for r in rows if r["attack"] != "exact" and weights in (None, r["weights"])]


def _pairs(rows: list[dict[str, Any]]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """(from random, from public weights) of equal images, network and dynamics."""
    keys = ("task", "n", "width", "dynamics", "seed", "attack")
    sides: dict[str, dict[tuple[Any, ...], dict[str, Any]]] = {"random": {}, "public": {}}
    for r in rows:
        sides[r["weights"]][tuple(r[k] for k in keys)] = r
    return [(sides["random"][k], sides["public"][k]) for k in sorted(sides["random"].keys() & sides["public"].keys())]


def plot(summary: Summary) -> "Figure":
    """For each task: errors from random against public weights, kernel distances, controls; then pictures."""
    tasks = list(dict.fromkeys(r["task"] for r in summary["rows"]))
    heights = [2.9 * len(tasks), 0.95 * len(summary["pictures"])]
    figure = new_figure(9.5, sum(heights))
    upper, lower = np.asarray(figure.subfigures(2, 1, height_ratios=heights))
    grid = upper.subplots(len(tasks), 3, squeeze=False)
    for row, task in zip(grid, tasks, strict=True):
        mine = [r for r in summary["rows"] if r["task"] == task]
        _curves(row[0], mine)
        row[0].set_title(f"{mine[0]['title']}, N = {mine[0]['n']}, W = {mine[0]['width']}", loc="left")
        _moved(row[1], mine)
        _controls(row[2], mine)
    upper.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    for axes, p in zip(lower.subplots(len(summary["pictures"]), 1, squeeze=False)[:, 0], summary["pictures"],
                       strict=True):  # fmt: skip
        strips.draw(axes, [p["train"], p["found"]], ["private", p["attack"]], (EACH, 2 * EACH) if p["thirds"] else ())
        axes.set_title(f"{p['title']}, {p['dynamics']}, from {p['weights']} weights", loc="left", pad=11)
    return figure


def _curves(axes: "Axes", rows: list[dict[str, Any]]) -> None:
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
    for control in ("held_out", "start"):
        value = np.mean([r[control] for r in _paper(rows)])
        axes.axhline(value, color=COLOURS[control], linewidth=1, label=LABELS[control])
    axes.plot([], [], color="#444444", linewidth=0.7, label="thin, at zero: exact recovery (beyond the paper)")
    axes.set(xlabel="private images, best first", ylabel="L2 distance", ylim=(-0.2, None))


def _moved(axes: "Axes", rows: list[dict[str, Any]]) -> None:
    """Error over kernel distance of standard dynamics, a line from random to public weights for each network."""
    for before, after in _pairs([r for r in _paper(rows) if r["dynamics"] == "standard"]):
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


def _controls(axes: "Axes", rows: list[dict[str, Any]]) -> None:
    """Distances of the reconstructions to the private images and to everything else, from public weights."""
    mine = _paper(rows, "public")
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


def table(summary: Summary) -> tuple[str, list[str], list[list[str]]]:
    """Mean error and controls by task, dynamics, weights and attack, averaged over draws."""
    columns = ["task", "N", "W", "dynamics", "attack", "from", "mean L2", "draws", "held-out", "start",
               "public images", "unseen images", "1 - cos(K0, Kf)", "public task's accuracy", "certified"]  # fmt: skip
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for r in summary["rows"]:
        keys = ("title", "n", "width", "dynamics", "attack", "weights")
        groups.setdefault(tuple(r[k] for k in keys), []).append(r)
    rows = []
    for key, mine in groups.items():

        def average(name: str, spec: str = ".2g", mine: list[dict[str, Any]] = mine) -> str:
            values = [r[name] for r in mine]
            return "" if None in values else f"{np.mean(values):{spec}}"

        numbers = [mean_and_spread([r["error"] for r in mine]), str(len(mine))]
        numbers += [average(k) for k in ("held_out", "start", "public", "unseen", "kernel_distance")]
        rows.append([*map(str, key), *numbers, average("accuracy", ".1%"), average("certified", ".0f")])
    sources = "; ".join(dict.fromkeys(r["source"] for r in summary["rows"]))
    public = max((r["n_public"] for r in summary["rows"]), default=0)
    return f"Fine-tuning from weights trained on {public} public images ({sources})", columns, rows


def _mean(rows: list[dict[str, Any]], values: list[float]) -> statistics.Estimate:
    return statistics.mean(np.array(values, float), np.array([r["draw"] for r in rows]))


def _private_come_back(summary: Summary, rule: str) -> tuple[Verdict, str]:
    mine = [r for r in _paper(summary["rows"], "public") if r["dynamics"] == rule]
    found = _mean(mine, [float(np.log2(r["held_out"] / r["error"])) for r in mine])
    effect = f"Held-out images' distance over the private images' error: {statistics.text(found, '.2f', np.exp2)}."
    return statistics.verdict(found, HALVED), effect


def _public_do_not(summary: Summary) -> tuple[Verdict, str]:
    mine = _paper(summary["rows"], "public")
    found = _mean(mine, [r["gain"] for r in mine])
    means = {name: float(np.mean([r[name] for r in mine])) if mine else float("nan") for name in ("public", "held_out")}
    effect = (
        "Distance of a reconstruction to the nearest unseen image over that to the nearest public one: "
        f"{statistics.text(found, '.2f', np.exp2)}; mean matched distance of public images {means['public']:.2f}, "
        f"of held-out ones {means['held_out']:.2f}."
    )
    return statistics.alike(found, statistics.TENTH), effect


def _as_from_random(summary: Summary, rule: str) -> tuple[Verdict, str]:
    pairs = [p for p in _pairs(_paper(summary["rows"])) if p[0]["dynamics"] == rule]
    found = _mean([p for _, p in pairs], [float(np.log2(a["error"] / b["error"])) for a, b in pairs])
    moved = [float(np.mean([p[i]["kernel_distance"] for p in pairs])) if pairs else float("nan") for i in (0, 1)]
    effect = f"Error from random weights over that from public ones: {statistics.text(found, '.2f', np.exp2)}"
    effect += f"; kernel distance {moved[0]:.3f} and {moved[1]:.3f}." if rule == "standard" else "."
    return statistics.verdict(found, -statistics.TENTH), effect


HALVED = 1.0  # log₂: an error of half the control's is no chance likeness of two digits

CLAIMS = (
    *(
        Claim(
            f"private-images-come-back-{rule}",
            f"Under {rule} dynamics the change from public weights gives the private images back: errors are less than "
            "half of the held-out images' distances.",
            partial(_private_come_back, rule=rule),
        )
        for rule in RULES
    ),
    Claim(
        "public-images-do-not",
        "What comes back is not the public set: reconstructions are no nearer to it than to images that no network has "
        "seen (within a tenth).",
        _public_do_not,
    ),
    *(
        Claim(
            f"as-much-as-from-random-{rule}",
            f"Under {rule} dynamics public weights protect no better than random ones: errors are at most a tenth "
            "larger.",
            partial(_as_from_random, rule=rule),
        )
        for rule in RULES
    ),
)
