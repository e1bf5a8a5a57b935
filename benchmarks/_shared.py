"""What modules of this folder share: names, training rules, attacks by preset, rows into tables and pairs, axes."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from recon import statistics
from recon.dynamics import Descent, GradientFlow
from recon.plots import COLOURS, LABELS, Axes, strips
from recon.records import Stored
from recon.statistics import Estimate

Row = dict[str, Any]

MNIST, CIFAR, MNIST10, CIFAR10 = "mnist_odd_even", "cifar10_animal_vehicle", "mnist_10way", "cifar10_10way"
NAMES = {MNIST: "MNIST", CIFAR: "CIFAR-10"}
RULES = ("linearised", "standard")

# The published training rule.
PAPER_RULE = Descent(learning_rate=4e-5, momentum=0.9)
# The loss to retrain to: test accuracy is that of a fitted network long before the attacked one's 1e-10.
FITTED = GradientFlow(loss=1e-4, tol=1e-2)
# How most figures train and attack, so that they compute the networks they share once: the published objective with its
# options, and the training rule for standard dynamics.
SETTINGS: dict[str, dict[str, Any]] = {
    "quick": {"attack": "ntk-fast", "options": (("steps", 800), ("snapshots", 20)), "standard": GradientFlow()},
    "full": {"attack": "ntk-fast", "options": (), "standard": GradientFlow()},
    "paper": {"attack": "ntk", "options": (), "standard": PAPER_RULE},
}

HALF = 1.0  # log₂ of a factor of two
HALF_REASON = "an error of half the control's is no chance likeness of two pictures"

# Of accuracy: a smaller difference does not show in any one network that can be tested on the package pictures.
POINT, POINT_REASON = 0.01, "one point is the standard error of one network's accuracy near 88 % on 1,000 test images"

# How often a certificate has to be right, and what right is: a promise of the solver, not a fit to a run.
MOST, MOST_REASON = 0.9, "a certificate that misleads on more than one draw in ten is none"
HONEST_SHARE = 0.99
HONEST = "at least 99 % of the certified images lie within L2 0.1 of a training image"


def attacks(preset: Mapping[str, Any], exact: bool) -> list[tuple[str, Any]]:
    """A preset's attack with its options; with `exact`, the exact recovery beside it."""
    return [(preset["attack"], preset["options"]), *([("exact", ())] if exact else [])]


def published(rows: Iterable[Row], **fixed: Any) -> list[Row]:
    """Rows of the paper's attack, the exact recovery left out; with `fixed`, those that have these values."""
    return [r for r in rows if r["attack"] != "exact" and all(r[k] == v for k, v in fixed.items())]


def grouped(rows: Iterable[Row], *keys: str) -> dict[tuple[Any, ...], list[Row]]:
    """Rows by their values of `keys`, in order of appearance."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for r in rows:
        groups.setdefault(tuple(r[k] for k in keys), []).append(r)
    return groups


def sources(rows: Iterable[Row]) -> str:
    """Where the rows' pictures came from, each source once."""
    return "; ".join(dict.fromkeys(r["source"] for r in rows))


def means(rows: Sequence[Row], *keys: str, spec: str = ".2g") -> list[str]:
    """The rows' mean of each of `keys`, as text."""
    return [f"{np.mean([r[k] for r in rows]):{spec}}" for k in keys]


def percent(shares: Sequence[float]) -> str:
    """The mean of shares in per cent, and the standard deviation of several; a dash for none."""
    if not shares:
        return "–"
    spread = f" ± {100 * np.std(shares, ddof=1):.1f}" if len(shares) > 1 else ""
    return f"{100 * np.mean(shares):.1f}{spread}"


def draws(rows: Iterable[Row]) -> np.ndarray:
    """The draw of images of each row: the groups that intervals go by."""
    return np.array([r["draw"] for r in rows])


def over(rows: Sequence[Row], above: str, below: str) -> Estimate:
    """log₂ of one column over another, averaged over draws."""
    return statistics.mean(np.array([np.log2(r[above] / r[below]) for r in rows], float), draws(rows))


def compared(
    above: Iterable[Row], below: Iterable[Row], *keys: str, column: str = "error", group: str = "draw"
) -> Estimate:
    """log₂ of a column of the rows `above` over that of the rows `below` with the same `keys`, averaged over draws."""
    one, other = ({tuple(r[k] for k in keys): r for r in rows} for rows in (above, below))
    shared = sorted(one.keys() & other.keys())
    a, b = (np.log2(np.array([rows[k][column] for k in shared], float)) for rows in (one, other))
    return statistics.paired(a, b, np.array([one[k][group] for k in shared]))


def along(rows: Iterable[Row], x: str, y: str) -> Estimate:
    """Rank correlation of y and x inside each draw, averaged over draws by Fisher's z."""
    runs = grouped(rows, "draw")
    rho = [statistics.spearman(*(np.array([r[k] for r in run], float) for k in (x, y))) for run in runs.values()]
    sizes = np.array([len(run) for run in runs.values()], int)
    return statistics.mean_correlation(np.array(rho, float), np.array([draw for (draw,) in runs]), sizes)


def certified_right(rows: Sequence[Row]) -> Estimate:
    """The share of draws all of whose networks are right on `HONEST_SHARE` of what they certify."""
    right = np.array([r["certified_near"] >= HONEST_SHARE * r["certified"] for r in rows], bool)
    return statistics.share(right, draws(rows))


def growth(rows: Sequence[Row], x: str, y: str = "error", run: str = "draw") -> Estimate:
    """log₂ of the factor by which y grows as x doubles, along each run, averaged over draws."""
    xs, ys = (np.array([r[k] for r in rows], float) for k in (x, y))
    return statistics.growth(xs, ys, np.array([r[run] for r in rows]), draws(rows))


def heading(row: Mapping[str, Any]) -> str:
    """A network in words."""
    return f"{row['title']}, {row['dynamics']}, N = {row['n']}, W = {row['width']}"


def choose_pair(stored: Stored, each: int) -> dict[str, Any]:
    """Pictures of a cell for `show_pair`: `each` of the best, middle and worst, or all where there are no more."""
    distance = np.array(stored.record["images"]["distance"])
    index = strips.choose(distance, each)
    return {"thirds": len(index) == 3 * each < len(distance), **strips.pair(stored, index)}


def show_pair(axes: Axes, panel: Mapping[str, Any], each: int = 0, name: str = "training", **title: Any) -> None:
    """A panel's training images above what its attack found; with `thirds`, `each` of the best, middle and worst."""
    gaps = (each, 2 * each) if panel.get("thirds") else ()
    strips.draw(axes, [panel["train"], panel["found"]], [name, panel["attack"]], gaps)
    axes.set_title(heading(panel), loc="left", pad=11, **title)


def draw_means(
    axes: Axes, rows: Sequence[Row], x: str, colour: str, fmt: str = "o-", y: str = "error", **style: Any
) -> None:
    """Means of y over x on a line, a small marker each."""
    at = sorted({r[x] for r in rows})
    means = [np.mean([r[y] for r in rows if r[x] == v]) for v in at]
    axes.plot(at, means, fmt, color=colour, markersize=style.pop("markersize", 3), **style)


def draw_points(
    axes: Axes, rows: Sequence[Row], x: str, colour: str, fmt: str = ".", y: str = "error", **style: Any
) -> None:
    """A point for each row, faint if nothing else is said."""
    axes.plot([r[x] for r in rows], [r[y] for r in rows], fmt, color=colour, alpha=style.pop("alpha", 0.4), **style)


def draw_controls(axes: Axes, rows: Sequence[Row]) -> None:
    """Lines at the rows' mean distances of held-out images and of the attack's start."""
    for control in ("held_out", "start"):
        level = float(np.mean([r[control] for r in rows]))
        axes.axhline(level, color=COLOURS[control], linewidth=1, label=LABELS[control])


def width_axis(axes: Axes, widths: Iterable[int]) -> None:
    """A logarithmic axis labelled at the widths."""
    ticks = sorted(set(widths))
    axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, [str(w) for w in ticks])
    axes.set_xlabel("width W")
