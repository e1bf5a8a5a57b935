"""Initial images: what the attack's result owes to where its descent starts.

Asked by the paper's reviewers. The published attack starts from noise of standard deviation 0.2. Here it also starts
from noise of other scales; from pictures of one class, so that for half of the training images they are of the same
class and for the other half of the other class; from pictures of no class (digits with the pixels of each in a random
order, which keeps brightness and contrast); and from the training images themselves under noise of several scales,
which measures how wide the basin around them is.

    make reproduce-init                 quick: minutes, MNIST, offline
    make reproduce-init PRESET=full     both tasks at N = 20, W = 512, five draws of images, with prepared data
    make reproduce-init PRESET=paper    N = 200, W = 2048, published schedule: a GPU's work

Expected: the class of the start does not matter. Started at the true images the attack leaves them, as far as its loss
is from what training did; started from them under noise it ends nearer than from the noise alone.

All M = 2N start images of a run are of one kind; pictures are of the test split, so that neither the training images
nor the held-out control are among them; the true images enter twice, each under noise of its own. A run is compared
with the same network's runs from other starts. The exact recovery starts from no images.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from benchmarks._estimates import A_TENTH, TENTH_LESS
from benchmarks._panels import parts
from benchmarks._presets import CIFAR, MNIST, attacks, networks, presets, rules
from benchmarks._rows import Row, distinct, grouped, heading, sources, where
from benchmarks._tables import Table, means
from recon import statistics
from recon.cells import AttackCell
from recon.cells.starts import StartCell
from recon.claims import Claim, Effect, Summary, ratio
from recon.plots import COLOURS, LABELS, Axes, Figure, new_figure, strips
from recon.records import Stored, attack_row, mean_and_spread, rounded

RULES = ("standard", "linearised")
USUAL = 0.2  # the published start: noise of this standard deviation, also the noise of the claim on true images

# A start is (kind, scale, group). Starts that are drawn twice over show what the draw of the start alone does.
CLASSES = (("class", 0.0, 0), ("class", 0.0, 1))
NOISE = tuple(("noise", scale, 0) for scale in (0.05, USUAL, 0.8))
TRUE = tuple(("true", scale, 0) for scale in (0.0, USUAL, 0.4))
SHUFFLED = (("shuffled", 0.0, 0),)
AGAIN = (("noise", USUAL, 0), *CLASSES, *SHUFFLED)
FEW = (*AGAIN, ("true", USUAL, 0))
ALL = (*NOISE, *CLASSES, *SHUFFLED, *TRUE, ("true", 0.1, 0), ("true", 0.8, 0))

# Networks as (task, N, widths, seeds, starts by dynamics), those as (starts, draws of each).
PRESETS = presets(
    quick={
        "networks": (
            (MNIST, 10, (256,), (0, 1, 2), {
                "standard": (((*NOISE, *CLASSES, *SHUFFLED, *TRUE), 1), (AGAIN, 2)), "linearised": ((FEW, 1),),
            }),
            # Three draws of images left intervals wider than the margin of the claims.
            (MNIST, 10, (256,), (3, 4, 5), {"standard": ((FEW, 1),)}),
        )
    },
    full={
        "networks": tuple(
            (task, 20, (512,), (0, 1, 2, 3, 4), dict.fromkeys(RULES, ((ALL, 2),))) for task in (MNIST, CIFAR)
        )
    },
    paper={
        "networks": tuple(
            (task, 200, (2048,), (0, 1, 2, 3, 4), dict.fromkeys(RULES, ((ALL, 3),))) for task in (MNIST, CIFAR)
        )
    },
)  # fmt: skip


def cells(preset: dict[str, Any]) -> list[StartCell]:
    """Every network from every start, each as often as it is drawn."""
    made = [
        StartCell(AttackCell(task, n, network, rules(preset)[rule], *attack, seed=seed), kind, scale, group, draw)
        for task, n, network, seed, by_rule in networks(preset["networks"])
        for attack in attacks(preset, exact=False)
        for rule, plans in by_rule.items()
        for starts, draws in plans
        for kind, scale, group in starts
        for draw in range(draws)
    ]
    return list(dict.fromkeys(made))


def _name(cell: dict[str, Any]) -> str:
    if cell["start"] == "class":
        return "class"
    return cell["start"] if cell["start"] == "shuffled" else f"{cell['start']} {cell['scale']:g}"


def summarise(results: Sequence[Stored]) -> Summary:
    """A row for each run; pictures of the first network under standard dynamics, its first images by start."""
    rows, pictures = list[Row](), list[Row]()
    for s in results:
        images, cell = s.record["images"], s.record["cell"]
        row = attack_row(s.record) | {"kind": cell["start"], "scale": cell["scale"], "group": cell["group"]}
        row |= {"name": _name(cell), "start_seed": cell["start_seed"]}
        row |= {"distance": rounded(images["distance"]), "own_class": images["own_class"]}
        shown = (rows[0]["task"], rows[0]["seed"], rows[0]["dynamics"]) if rows else None
        if shown in (None, (row["task"], row["seed"], row["dynamics"])) and cell["start_seed"] == 0:
            index = np.arange(min(10, row["n"]))
            label = f"class {cell['group']}" if row["name"] == "class" else row["name"]
            pictures.append({"name": label, **strips.pair(s, index)})
        rows.append(row)
    return {"rows": rows, "pictures": pictures}


def _errors(row: dict[str, Any], own: bool | None = None) -> float:
    """Mean log₂ error of a run's images; of those that are (not) of the start's class."""
    log = np.log2(np.array(row["distance"]))
    return float(log.mean() if own is None else log[np.array(row["own_class"]) == own].mean())


def _by_network(rows: list[Row], name: str, own: bool | None = None) -> dict[tuple[Any, ...], float]:
    """Mean log₂ error from starts of a name, over their draws and classes, by network."""
    networks = grouped(where(rows, name=name), "draw", "width", "dynamics")
    return {key: float(np.mean([_errors(r, own) for r in mine])) for key, mine in networks.items()}


def _difference(over: dict[tuple[Any, ...], float], under: dict[tuple[Any, ...], float]) -> statistics.Estimate:
    """log₂ of the ratio of two starts' errors, paired by network."""
    shared = sorted(over.keys() & under.keys())
    a, b = (np.array([side[k] for k in shared]) for side in (over, under))
    return statistics.paired(a, b, np.array([k[0] for k in shared]))


def effects(rows: list[Row]) -> dict[str, statistics.Estimate]:
    """log₂ of error ratios: other class over own class; each start over the usual noise."""
    usual = _by_network(rows, f"noise {USUAL:g}")
    found = dict.fromkeys(("class", "shuffled", f"true {USUAL:g}"), statistics.NOTHING)
    found |= {"other class": _difference(_by_network(rows, "class", own=False), _by_network(rows, "class", own=True))}
    for name in distinct(rows, "name"):
        if name != f"noise {USUAL:g}":
            found[name] = _difference(_by_network(rows, name), usual)
    return found


def draw_spread(rows: list[Row]) -> float | None:
    """Standard deviation of log₂ error over draws of the start alone, the network being the same; None: one draw."""
    runs = grouped(rows, "draw", "width", "dynamics", "name", "group").values()
    variances = [np.var([_errors(r) for r in run], ddof=1) for run in runs if len(run) > 1]
    return float(np.sqrt(np.mean(variances))) if variances else None


def _label(name: str) -> str:
    kind, _, scale = name.partition(" ")
    words = {"noise": "noise of scale", "class": "pictures of one class", "shuffled": "shuffled pixels (no class)"}
    return f"true images, noise {scale}" if kind == "true" else f"{words[kind]} {scale}".strip()


def plot(summary: Summary) -> Figure:
    """For each task: errors by start, own against other class, and the basin; below, pictures by start."""
    tasks = distinct(summary["rows"], "task")
    pictures = summary["pictures"]
    heights = [3.1 * len(tasks), 0.62 * (len(pictures) + 1)]
    figure = new_figure(9.5, sum(heights))
    upper, lower = parts(figure, *heights)
    grid = upper.subplots(len(tasks), 3, squeeze=False, width_ratios=(1.5, 1, 1.2))
    for row, task in zip(grid, tasks, strict=True):
        mine = where(summary["rows"], task=task)
        _starts(row[0], mine)
        row[0].set_title(heading(mine[0], dynamics=False), loc="left")
        _classes(row[1], mine)
        _basin(row[2], mine)
    upper.legend(*grid[0, 2].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    strips.draw(
        lower.subplots(),
        [pictures[0]["train"], *(p["found"] for p in pictures)],
        ["training images", *(f"from {p['name']}" for p in pictures)],
        ranked=False,
    )
    return figure


def _starts(axes: Axes, rows: list[Row]) -> None:
    names = distinct(rows, "name")
    for offset, rule in zip((-0.12, 0.12), RULES, strict=True):
        for i, name in enumerate(names):
            errors = [r["error"] for r in where(rows, name=name, dynamics=rule)]
            axes.plot(errors, [i + offset] * len(errors), "o", markersize=3, alpha=0.6, color=COLOURS[rule])
    axes.axvline(np.mean([r["held_out"] for r in rows]), color=COLOURS["held_out"], linewidth=1)
    axes.set_yticks(range(len(names)), [_label(n) for n in names], fontsize=7)
    axes.invert_yaxis()
    axes.set(xlabel="mean L2 distance, a point for each run", xlim=(0, None))


def _classes(axes: Axes, rows: list[Row]) -> None:
    """Each image's error by either kind of start, averaged over draws: the diagonal is no difference."""
    images: dict[tuple[Any, ...], dict[bool, list[float]]] = {}
    for r in rows:
        for i, (d, own) in enumerate(zip(r["distance"], r["own_class"] or (), strict=False)):
            images.setdefault((r["dynamics"], r["seed"], i), {True: [], False: []})[own].append(d)
    top = 0.0
    for (rule, *_), errors in images.items():
        if errors[True] and errors[False]:
            x, y = np.mean(errors[True]), np.mean(errors[False])
            axes.plot(x, y, "o", markersize=3, alpha=0.6, color=COLOURS[rule])
            top = max(top, float(x), float(y))
    axes.plot([0, top], [0, top], color="#444444", linewidth=0.6)
    axes.set(xlabel="L2, start of the image's class", ylabel="L2, start of the other class")


def _basin(axes: Axes, rows: list[Row]) -> None:
    """Error over the distance of the start from the truth, for true images under noise and for noise alone."""
    for kind, style in (("true", "o-"), ("noise", "s")):
        for rule in RULES:
            mine = where(rows, kind=kind, dynamics=rule)
            at = [where(mine, scale=scale) for scale in sorted(distinct(mine, "scale"))]
            x, y = ([np.mean([r[column] for r in each]) for each in at] for column in ("start", "error"))
            name = f"{'true images under noise' if kind == 'true' else 'noise alone'}, {rule}"
            axes.plot(x, y, style, color=COLOURS[rule], markersize=3.5, alpha=1 if kind == "true" else 0.6, label=name)
    control = np.mean([r["held_out"] for r in rows])
    axes.axhline(control, color=COLOURS["held_out"], linewidth=1, label=LABELS["held_out"])
    top = max(r["start"] for r in rows)
    axes.plot([0, top], [0, top], color="#444444", linewidth=0.6, label="no change")
    axes.set(xlabel="start's mean L2 distance (control)", ylabel="mean L2 distance at the end", ylim=(0, None))
    axes.set_ylim(0, 1.15 * max(r["held_out"] for r in rows))


def table(summary: Summary) -> Table:
    """Mean error and controls by task, dynamics and start; its ratio to the error from the usual noise."""
    columns = ["task", "N", "W", "dynamics", "from", "mean L2", "runs", "held-out", "start", "over noise 0.2's"]
    rows = []
    for key, mine in grouped(summary["rows"], "title", "n", "width", "dynamics").items():
        found = effects(mine)
        for name, runs in ((name, where(mine, name=name)) for name in distinct(mine, "name")):
            controls = means(runs, "held_out", "start")
            over = statistics.text(found[name], ".2f", np.exp2) if name in found else ""
            numbers = [mean_and_spread([r["error"] for r in runs]), str(len(runs)), *controls, over]
            rows.append([*map(str, key), _label(name), *numbers])
    spread = draw_spread(summary["rows"])
    note = "" if spread is None else f"; another draw of the start moves it by a factor of {np.exp2(spread):.2f} (SD)"
    return f"Error by start{note} ({sources(summary['rows'])})", columns, rows


def _other_over_own_class(summary: Summary, rule: str) -> Effect:
    label = "Error from starts of the other class over that of the image's own"
    return [ratio(label, _of(summary, rule)["other class"])]


def _over_noise(summary: Summary, rule: str, name: str) -> Effect:
    return [ratio(f"Error over that from noise of scale {USUAL}", _of(summary, rule)[name])]


def _of(summary: Summary, rule: str) -> dict[str, statistics.Estimate]:
    """The effects under one rule."""
    return effects(where(summary["rows"], dynamics=rule))


# A claim for each rule: the errors of linearised dynamics are a fifth of the others', and scatter more.
CLAIMS = tuple(
    claim
    for rule in RULES
    for claim in (
        Claim(f"class-of-start-is-nothing-{rule}",
              f"Under {rule} dynamics an image comes back as well from pictures of the other class as from pictures "
              "of its own (within a tenth).",
              partial(_other_over_own_class, rule=rule), *A_TENTH, "alike"),
        *(
            Claim(f"{name}-as-good-as-noise-{rule}",
                  f"Under {rule} dynamics the attack ends as near from {words} as from noise (within a tenth).",
                  partial(_over_noise, rule=rule, name=name), *A_TENTH, "alike")
            for name, words in (("class", "pictures of one class"), ("shuffled", "pictures of no class"))
        ),
        Claim(f"truth-ends-nearer-{rule}",
              f"Under {rule} dynamics the attack ends nearer (by a tenth or more) from the true images under noise of "
              f"scale {USUAL} than from that noise alone.",
              partial(_over_noise, rule=rule, name=f"true {USUAL:g}"), *TENTH_LESS),
    )
)  # fmt: skip
