"""Figure 5: which images leak.

The paper shows that the images that come back best have large dual weights |α|: points that are hard to fit, which look
unusual. Its reviewers asked what an outlier is. So the error of each image is set beside four answers: |α|, the
training loss along the path, the distance to the mean of its class, and the distance to its nearest neighbour.

    make reproduce-fig5                 quick: seconds after figures 2 and 3, whose networks it uses; else minutes
    make reproduce-fig5 PRESET=full     the same, of their `full` presets
    make reproduce-fig5 PRESET=paper    N = 200, widths up to 4096, published schedule: a GPU's work

Expected: errors fall with |α|, and follow it more closely than any distance in pixels. Ranks are taken inside each
network, whose rank correlations are averaged over draws of images by Fisher's z. The exact recovery gives every image
or none back, to rounding errors, and so has no ranking to explain.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from benchmarks._estimates import NEGATIVE_RHO, RHO, draws
from benchmarks._panels import choose_pair, parts, show_pair, stack
from benchmarks._presets import CIFAR, MNIST, RULES, cells_by_rule, presets
from benchmarks._rows import Row, distinct, sources, where
from benchmarks._tables import Table
from recon import statistics
from recon.claims import Claim, Effect, Summary, correlation
from recon.plots import COLOURS, LABELS, Figure, interval, log_ticks, new_figure
from recon.records import Stored, attack_row, rounded
from recon.statistics import NOTHING

MEASURES = {
    "dual_norm": "dual weight |α|",
    "loss_path": "training loss along the path",
    "loss_initial": "loss at the start",
    "to_class_mean": "pixel distance to class mean",
    "to_nearest": "pixel distance to nearest image",
}
EACH = 7  # pictures from each end and from the middle of the ranking
PIXELS = ("to_class_mean", "to_nearest")  # of them the distances in pixels

# Networks as (task, N, widths, seeds, dynamics), all of them figure 2's or figure 3's.
_QUICK, _FULL = (128, 256, 512), (128, 256, 512, 1024)
PRESETS = presets(
    quick={
        "networks": (
            (MNIST, 20, _QUICK, (0, 1, 2), RULES),
            (MNIST, 40, _QUICK, (3, 4, 5), ("standard",)),
            (CIFAR, 10, (128, 256), (0,), RULES),
        )
    },
    full={
        "networks": tuple(
            (task, n, _FULL, seeds, names)
            for task in (MNIST, CIFAR)
            for n, seeds, names in (
                (20, (0, 1, 2), RULES),
                (40, (3, 4, 5), ("standard",)),
                (80, (9, 10, 11), ("standard",)),
            )
        )
    },
    paper={"networks": tuple((task, 200, (512, 1024, 2048, 4096), (0, 1, 2), RULES) for task in (MNIST, CIFAR))},
)
cells = cells_by_rule


def correlations(error: np.ndarray, measures: dict[str, np.ndarray]) -> dict[str, float]:
    """Rank correlations of one network's errors with each measure, and given |α| or another measure."""
    alpha = measures["dual_norm"]
    found = {name: statistics.spearman(error, column) for name, column in measures.items()}
    for name, column in measures.items():
        if name != "dual_norm":
            found[f"dual_norm given {name}"] = statistics.partial_spearman(error, alpha, column)
            found[f"{name} given dual_norm"] = statistics.partial_spearman(error, column, alpha)
    return found


def summarise(results: Sequence[Stored]) -> Summary:
    """For each dynamics the correlations over networks; images and pictures of the largest network of each task."""
    runs, shown = [], dict[tuple[str, str], tuple[dict[str, Any], Stored]]()
    for s in results:
        r = attack_row(s.record)
        columns = {name: np.array(s.record["images"][name]) for name in MEASURES}
        r["rho"] = correlations(np.array(s.record["images"]["distance"]), columns)
        runs.append(r)
        place = r["task"], r["dynamics"]
        if place not in shown or _size(r) > _size(shown[place][0]):
            shown[place] = r, s
    return {
        "runs": runs,
        "rho": {rule: _averaged(where(runs, dynamics=rule)) for rule in RULES},
        "panels": [
            r | {"columns": {k: rounded(s.record["images"][k]) for k in ("distance", *MEASURES)}} | choose_pair(s, EACH)
            for r, s in shown.values()
        ],
    }


def _size(row: dict[str, Any]) -> tuple[int, int, int]:
    return row["n"], row["width"], -row["seed"]


def _averaged(runs: list[Row]) -> dict[str, statistics.Estimate]:
    """Each correlation's mean over networks; and by how much |α|'s is stronger than each distance's, sign apart."""
    values = {name: np.array([r["rho"][name] for r in runs]) for name in (runs[0]["rho"] if runs else ())}
    sizes = np.array([r["n"] for r in runs])
    found = {name: statistics.mean_correlation(v, draws(runs), sizes) for name, v in values.items()}
    for name in PIXELS if runs else ():
        gain = abs(values["dual_norm"]) - abs(values[name])
        found[f"dual_norm over {name}"] = statistics.mean(gain, draws(runs), (-1.0, 1.0))
    return found


def plot(summary: Summary) -> Figure:
    """For each task the error of each image over four measures; the correlations; pictures ranked by error."""
    tasks = distinct(summary["panels"], "task")
    ranked = where(summary["panels"], dynamics="standard") or summary["panels"]
    heights = [2.3 * len(tasks), 2.6, 0.9 * len(ranked)]
    figure = new_figure(9.5, sum(heights))
    clouds, middle, pictures = parts(figure, *heights)
    names = [name for name in MEASURES if name != "loss_initial"]
    grid = clouds.subplots(len(tasks), len(names), squeeze=False, sharey="row")
    for row, task in zip(grid, tasks, strict=True):
        mine = where(summary["panels"], task=task)
        for axes, name in zip(row, names, strict=True):
            for p in mine:
                label = f"{p['dynamics']}, N = {p['n']}, W = {p['width']}"
                x, y = p["columns"][name], p["columns"]["distance"]
                axes.plot(x, y, "o", markersize=3, alpha=0.7, color=COLOURS[p["dynamics"]], label=label)
            axes.set(xlabel=MEASURES[name])
            if name in ("dual_norm", "loss_path"):
                axes.set(xscale="log")
                log_ticks(axes.xaxis)
        row[0].set_title(mine[0]["title"], loc="left")
        row[0].set_ylabel("L2 distance")
        row[-1].legend(fontsize=6)
    _forest(middle, summary["rho"])
    for axes, p in stack(pictures, ranked):
        show_pair(axes, p, EACH)
    return figure


def _forest(figure: Any, rho: dict[str, dict[str, statistics.Estimate]]) -> None:
    """Correlations with each measure on the left; on the right |α|'s given another, and another's given |α|."""
    others = [name for name in MEASURES if name != "dual_norm"]
    left = dict(MEASURES)
    right = {f"dual_norm given {n}": f"|α|, given {MEASURES[n]}" for n in others}
    right |= {f"{n} given dual_norm": f"{MEASURES[n]}, given |α|" for n in others}
    titles = ("Spearman's ρ with error", "partial ρ with error")
    for axes, kinds, title in zip(figure.subplots(1, 2), (left, right), titles, strict=True):
        for offset, rule in zip((0.12, -0.12), RULES, strict=True):
            for i, kind in enumerate(reversed(kinds)):
                interval(axes, i + offset, rho[rule].get(kind), COLOURS[rule])
            groups = max((e["groups"] for e in rho[rule].values()), default=0)
            axes.plot([], [], "o-", color=COLOURS[rule], markersize=3, label=f"{LABELS[rule]}, {groups} draws")
        axes.axvline(0, color="#444444", linewidth=0.6)
        axes.set_yticks(range(len(kinds)), reversed(list(kinds.values())), fontsize=6.5)
        axes.set(xlim=(-1, 1), title=title, xlabel="mean over networks, 95 % interval over draws")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper right", ncols=2, fontsize=7)


def table(summary: Summary) -> Table:
    """All correlations, a column for each dynamics."""
    kinds = list(dict.fromkeys(kind for rule in RULES for kind in summary["rho"][rule]))
    rows = [
        [kind, *(statistics.text(e) if (e := summary["rho"][rule].get(kind)) else "" for rule in RULES)]
        for kind in kinds
    ]
    title = f"Rank correlations with an image's error ({sources(summary['runs'])})"
    return title, ["measure", *(LABELS[r] for r in RULES)], rows


def _correlations(summary: Summary, kinds: Mapping[str, str], rule: str = "standard", beside: str = "") -> Effect:
    """Correlations under one rule, by their labels; that called `beside` does not decide."""
    found = summary["rho"][rule]
    return [correlation(label, found.get(kind, NOTHING), kind != beside) for kind, label in kinds.items()]


GIVEN = {
    "dual_norm given loss_path": "Rho of error and |α| given the path's loss",
    "loss_path given dual_norm": "of error and the path's loss given |α|",
}
GAINS = {f"dual_norm over {name}": f"|rho| of |α| over that of the {MEASURES[name]}" for name in PIXELS}

CLAIMS = (
    *(
        Claim(f"large-duals-leak-{rule}", f"Under {rule} dynamics images with large |α| come back with smaller errors.",
              partial(_correlations, kinds={"dual_norm": "Mean rho of error and |α|"}, rule=rule), *NEGATIVE_RHO)
        for rule in RULES
    ),
    Claim("alpha-over-pixels",
          "|α| tells more about an image's error than its pixel distances to the class mean and to its neighbour do.",
          partial(_correlations, kinds=GAINS), *RHO),
    Claim("alpha-over-loss",
          "|α| tells something about an image's error that its training loss along the path does not.",
          partial(_correlations, kinds=GIVEN, beside="loss_path given dual_norm"), *NEGATIVE_RHO),
)  # fmt: skip
