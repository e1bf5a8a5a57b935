"""Differential privacy: reconstruction error and test accuracy against ε, with the known bound on reconstruction.

Not in the paper: its reviewers asked what noise does to the attack, at finite and at infinite width.

    make reproduce-dp                 quick: minutes, offline
    make reproduce-dp PRESET=full     N up to 50, widths up to 512, five draws: hours on two cores
    make reproduce-dp PRESET=paper    N = 200, W = 2048, published schedule: a GPU's work

DP-SGD trains networks under standard dynamics with full batches (`recon.dynamics.dp`), so that ε is known exactly
(Balle & Wang 2018) and the accountant's, a few per cent above, is a second opinion. Closed-form states are released
with noise on every weight, and at infinite width with a Gaussian process (`recon.distillation.mmd_noised`); their ε is
that of the one set (it counts leaving out each of its images), no promise for all. δ = 1e-5, neighbours differ by one
image.

The bound is on any attacker, one who knows every other image too (Hayes et al. 2023, Kaissis et al. 2023; see
`recon.metrics.privacy`), for the prior that an image is one of the 1,000 test images; an image counts as recovered if
any of 2N guesses is recognisable.

Expected: at the ε that are usually called private (10 or less) nothing comes back and little accuracy is left. From ε
of about 1,000 on the network is as accurate as without noise while these attacks still find nothing. They fail at far
less noise than the bound needs to promise anything: at ε = 10 it is above nine tenths already. That gap is a statement
about these attacks, no protection against others. The series named "exact" goes beyond the paper; it fails at every
finite ε.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from operator import itemgetter
from typing import Any

import numpy as np

from benchmarks._estimates import A_TENTH, along, average, compared
from benchmarks._panels import draw_control_means, draw_means, draw_points
from benchmarks._presets import MNIST
from benchmarks._rows import Row, facts, grouped, published, sources, where
from benchmarks._tables import Table, count, error, mean, tabulate
from recon.cells import AttackCell
from recon.cells.base import Cell
from recon.cells.dp import DPCell
from recon.cells.noised_state import NoisedStateCell
from recon.claims import EYE, TENTH, Claim, Effect, Part, Summary, correlation, points, ratio
from recon.dynamics.dp import PrivateDescent
from recon.dynamics.noised_linearised import NoisedLinearised
from recon.kernels.infinite import InfiniteMLP
from recon.metrics.privacy import DELTA, epsilon, gaussian_epsilon, noise_multiplier, reconstruction_bound
from recon.networks import MLP
from recon.plots import COLOURS, LABELS, Axes, Figure, new_figure, shades
from recon.records import Stored
from recon.statistics import Estimate

KERNEL = InfiniteMLP(b_std=0.1)  # figure theorem1's
INFINITE = math.inf
USUAL = 10.0  # the largest ε in common use

# One rate and clip for all: chosen without noise, as those that train to a loss below 0.01 in 100 steps.
PRESETS: dict[str, dict[str, Any]] = {
    "quick": {
        "trained": (20, 256, (0, 1, 2)),
        "rule": {"clip": 1.0, "steps": 100, "learning_rate": 0.1},
        "epsilons": (1.0, 10.0, 1e3, 1e4, 1e5, 1e6, INFINITE),
        "attack": ("ntk-fast", (("steps", 400),)),
        "exact": (0,),
        "released": (10, (128, 256), (0, 1, 2)),
        "released_epsilons": (10.0, 1e3, 1e5, INFINITE),
        "infinite_steps": 500,
    },
    "full": {
        "trained": (50, 512, (0, 1, 2, 3, 4)),
        "rule": {"clip": 1.0, "steps": 200, "learning_rate": 0.05},
        "epsilons": (1.0, 10.0, 100.0, 1e3, 1e4, 1e5, 1e6, 1e8, INFINITE),
        "attack": ("ntk-fast", ()),
        "exact": (0, 1, 2, 3, 4),
        "released": (20, (128, 256, 512), (0, 1, 2, 3, 4)),
        "released_epsilons": (10.0, 100.0, 1e3, 1e4, 1e5, 1e6, INFINITE),
        "infinite_steps": 3000,
    },
    "paper": {
        "trained": (200, 2048, (0, 1, 2)),
        "rule": {"clip": 1.0, "steps": 2000, "learning_rate": 0.01},
        "epsilons": (1.0, 10.0, 100.0, 1e3, 1e4, 1e5, 1e6, 1e8, INFINITE),
        "attack": ("ntk", ()),
        "exact": (0, 1, 2),
        "released": (100, (1024, 2048, 4096), (0, 1, 2)),
        "released_epsilons": (10.0, 100.0, 1e3, 1e4, 1e5, 1e6, INFINITE),
        "infinite_steps": 10_000,
    },
}


def cells(preset: dict[str, Any]) -> list[Cell]:
    """Private networks by ε and one without even a clip, attacked; then noised closed forms by width."""
    n, width, seeds = preset["trained"]
    attack, options = preset["attack"]
    steps = preset["rule"]["steps"]
    private = [
        DPCell(MNIST, n, MLP((width, width)), PrivateDescent(**rule, seed=seed), name, own, seed=seed)
        for seed in seeds
        for rule in (
            *(preset["rule"] | {"noise_multiplier": noise_multiplier(e, steps)} for e in preset["epsilons"]),
            preset["rule"] | {"clip": None},
        )
        for name, own in ((attack, options), *([("exact", (("seconds", 5.0),))] if seed in preset["exact"] else []))
    ]
    n, widths, seeds = preset["released"]
    released: list[Cell] = []
    for e in preset["released_epsilons"]:
        sigma = noise_multiplier(e)
        for seed in seeds:
            rule = NoisedLinearised(sigma, seed)
            released += [AttackCell(MNIST, n, MLP((w, w)), rule, attack, options, seed=seed) for w in widths]
            released.append(NoisedStateCell(MNIST, n, KERNEL, sigma, preset["infinite_steps"], seed=seed))
    return [*private, *released]


def summarise(results: Sequence[Stored]) -> Summary:
    """A row for each attacked state; infinite ε is None, the width of an infinite network too."""
    rows = []
    for record in (s.record for s in results):
        cell, training = record["cell"], record["training"]
        infinite, rule = cell["kind"] == "noised-state", cell.get("dynamics", cell)
        sigma, steps = rule["noise_multiplier"], rule.get("steps", 1) if not infinite else 1
        mu = math.sqrt(steps) / sigma if sigma else None
        limit = record["data"]["recognisable"]
        rows.append(
            {
                "released": cell["kind"] != "private",
                **facts(record, "n", "seed", "source"),
                "width": None if infinite else cell["network"]["widths"][0],
                "attack": "kernels" if infinite else cell["attack"],
                "draw": f"N={cell['n_train']} seed {cell['seed']}",
                "clip": rule.get("clip"),
                "sigma": sigma,
                "steps": steps,
                "mu": mu,
                "epsilon": None if mu is None else float(f"{gaussian_epsilon(mu):.3g}"),
                "epsilon_accountant": None if mu is None else epsilon(sigma, steps),
                **{"error" if k == "train" else k: score["mean"] for k, score in record["scores"].items()},
                "recovered": float(np.mean(np.array(record["images"]["distance"]) < limit)),
                "certified": record["attack"].get("certified"),
                "accuracy": training["test_accuracy"],
                "loss": training.get("loss"),
                "kappa": record.get("prior", {}).get("kappa"),
                "seconds": sum(record["attack"]["seconds"].values()),
            }
        )
    return {"rows": rows, "delta": DELTA}


def _trained(summary: Summary, exact: bool = False) -> list[Row]:
    """Rows of DP-SGD with a clip."""
    mine = where(summary["rows"], released=False)
    return [r for r in mine if r["clip"] is not None and (r["attack"] == "exact") == exact]


def _widths(summary: Summary) -> list[int | None]:
    finite = sorted({r["width"] for r in summary["rows"] if r["released"] and r["width"]})
    return [*finite, None]


def plot(summary: Summary) -> Figure:
    """DP-SGD: error, share recovered with its bound, and accuracy; then the error of released closed forms."""
    figure = new_figure(9.5, 6.2)
    (error, share), (accuracy, released) = figure.subplots(2, 2)
    last = max(r["epsilon"] or 0.0 for r in summary["rows"])
    # An infinite ε is drawn beyond the last that is not.
    placed = {"rows": [r | {"place": r["epsilon"] or 30 * last} for r in summary["rows"]]}
    mine, exact = _trained(placed), _trained(placed, exact=True)
    top = max(r[k] for r in mine for k in ("error", "held_out", "start"))
    colour = COLOURS["standard"]

    draw_means(error, mine, "place", colour, label="training images")
    draw_points(error, mine, "place", colour)
    if exact:
        # Where nothing is found the exact recovery's images can be anywhere.
        near = [r | {"error": min(r["error"], 1.1 * top)} for r in exact]
        draw_means(error, near, "place", colour, "s:", label="exact (beyond the paper)")
    draw_control_means(error, mine, "place", "-")
    aside = [r | {"place": 3 * r["place"]} for r in published(placed["rows"], released=False, clip=None)]
    draw_points(error, aside, "place", colour, "x", alpha=1, markersize=3, label="no clip")
    error.set(ylim=(0, 1.15 * top), ylabel="mean L2 distance")
    error.set_title(f"DP-SGD, N = {mine[0]['n']}, W = {mine[0]['width']}", loc="left")

    draw_means(share, mine, "place", colour, y="recovered", label="recognisable, of N")
    draw_points(share, mine, "place", colour, y="recovered")
    if exact:
        draw_means(share, exact, "place", colour, "s:", "recovered", label="exact")
    kappa = _kappa(summary)
    if kappa is not None:
        grid = np.geomspace(0.3, last, 200)
        bounds = [reconstruction_bound(kappa, 1 / noise_multiplier(float(e))) for e in grid]
        share.plot(grid, bounds, color="#222222", label="bound on any attack")
        share.axhline(kappa, color="#222222", linewidth=0.6, linestyle=":", label="bound on guesses alone")
    share.set(ylim=(-0.03, 1.05), ylabel="share of images")
    share.set_title("share recovered, and the bound on it", loc="left")

    draw_means(accuracy, mine, "place", colour, y="accuracy", label="DP-SGD")
    draw_points(accuracy, mine, "place", colour, y="accuracy")
    accuracy.axhline(0.5, color=COLOURS["held_out"], linewidth=1, label="chance")
    accuracy.set(ylabel="test accuracy")
    accuracy.set_title("test accuracy", loc="left")

    widths = _widths(summary)
    colours = shades(range(len(widths)))
    for i, w in enumerate(widths):
        rows, tint = where(placed["rows"], released=True, width=w), colours[i]
        label = f"W = {w}" if w else "infinite width"
        draw_means(released, rows, "place", tint, label=label)
        draw_points(released, rows, "place", tint)
        draw_means(released, rows, "place", tint, ":", "held_out", linewidth=0.8)
        draw_means(accuracy, rows, "place", tint, "--", "accuracy", label=f"closed form, {label}", linewidth=0.9)
    released.plot([], [], ":", color="#444444", linewidth=0.8, label=LABELS["held_out"])
    released.set(ylabel="mean L2 distance")
    released.set_ylim(bottom=0)
    released.set_title(f"closed form released with noise, N = {rows[0]['n']}", loc="left")
    for axes in (error, share, accuracy, released):
        _epsilon_axis(axes, last)
        axes.legend(fontsize=6.5)
    return figure


def _epsilon_axis(axes: Axes, last: float) -> None:
    """A logarithmic axis with a place for infinity."""
    decades = range(0, round(math.log10(last)) + 1, 2)
    axes.set_xscale("log")
    axes.set_xticks([*(10.0**d for d in decades), 30 * last], [*(f"$10^{d}$" for d in decades), "∞"])
    axes.set_xlim(0.3, 200 * last)
    axes.minorticks_off()
    axes.set_xlabel(f"ε at δ = {DELTA:g}")


def _kappa(summary: Summary) -> float | None:
    """The largest of the draws' κ; None where no prior was measured."""
    found = [r["kappa"] for r in summary["rows"] if r["kappa"] is not None]
    return max(found) if found else None


def table(summary: Summary) -> Table:
    """Error, controls, bound and accuracy by mechanism and ε, averaged over draws."""
    kappa = _kappa(summary)

    def bound(rows: Sequence[Row]) -> str:
        if kappa is None or rows[0]["released"] or rows[0]["mu"] is None:
            return "–"
        return f"{100 * reconstruction_bound(kappa, rows[0]['mu']):.0f} %"

    def in_percent(key: str) -> Callable[[Sequence[Row]], str]:
        return lambda rows: f"{100 * np.mean([r[key] for r in rows]):.0f} %"

    columns = {"ε (accountant)": lambda rows: _epsilon(rows[0]["epsilon_accountant"], ".4g")}
    columns |= {"σ": lambda rows: f"{rows[0]['sigma']:g}", "mean L2": error, "held-out": mean("held_out")}
    columns |= {"start": mean("start"), "recognisable": in_percent("recovered"), "bound": bound}
    columns |= {"test accuracy": in_percent("accuracy"), "draws": count, "s": mean("seconds", ".1f")}
    rows = [
        r | {"state": _state(r), "width": r["width"] or "∞", "ε": _epsilon(r["epsilon"], "g")} for r in summary["rows"]
    ]
    _, heads, lines = tabulate("", rows, ("state", "n", "width", "attack", "ε"), columns)
    told = f"MNIST odd/even, δ = {DELTA:g}, {sources(summary['rows'])}"
    return f"Reconstruction and accuracy by ε ({told})", heads, lines


def _state(row: Row) -> str:
    return "closed form" if row["released"] else "DP-SGD" if row["clip"] is not None else "no clip"


def _epsilon(value: float | None, spec: str) -> str:
    return "∞" if value is None else f"{value:{spec}}"


def _order(row: Row) -> float:
    return float(row["epsilon"] or 1e300)  # beyond any


def _by_draw(rows: list[Row]) -> list[list[Row]]:
    """Rows of each draw by rising ε."""
    return list(grouped(sorted(rows, key=_order), "draw").values())


def _against_held_out(row: Row) -> float:
    """log₂ of the error over that of held-out images."""
    return float(np.log2(row["error"] / row["held_out"]))


def _of_draws(values: list[tuple[str, float]]) -> Estimate:
    """The mean of one value for each draw."""
    return average([{"draw": draw, "value": value} for draw, value in values], itemgetter("value"))


def _error_along_epsilon(summary: Summary, of: str) -> Effect:
    width = _widths(summary)[-1 if of == "infinite" else -2]
    rows = _trained(summary) if of == "trained" else where(summary["rows"], released=True, width=width)
    rows = [r | {"order": _order(r), "ratio": _against_held_out(r)} for r in rows]
    return [
        correlation("Rho of ε and error over held-out images' along a draw", along(rows, "order", "ratio")),
        correlation("of the error alone", along(rows, "order", "error"), decides=False),
    ]


def _least_error(summary: Summary) -> Effect:
    rows = [r for r in _trained(summary) if r["epsilon"] is not None and r["epsilon"] <= USUAL]
    least = [(mine[0]["draw"], min(map(_against_held_out, mine))) for mine in _by_draw(rows)]
    return [ratio(f"Least error over the held-out images' at ε ≤ {USUAL:g}", _of_draws(least))]


def _defended(mine: list[Row]) -> Row | None:
    """The row of the largest ε up to which all errors of a draw are within a tenth of the held-out images'."""
    last = None
    for row in mine:
        if _against_held_out(row) < -TENTH:
            break
        last = row
    return last


def _cost_of_defence(summary: Summary) -> Effect:
    lost, places = [], []
    for mine in _by_draw(_trained(summary)):
        row, plain = _defended(mine), mine[-1]
        if row is not None and plain["epsilon"] is None:
            places.append(f"{_order(row):g} ({100 * row['accuracy']:.0f} % of {100 * plain['accuracy']:.0f} %)")
            lost.append((row["draw"], plain["accuracy"] - row["accuracy"]))
    label = f"with test accuracy there and without noise: {', '.join(places) or 'none'}"
    return [points(f"Accuracy lost at the largest such ε of each draw ({label})", _of_draws(lost))]


def _cost_of_usual_privacy(summary: Summary) -> Effect:
    lost = []
    for mine in _by_draw(_trained(summary)):
        usual = [r["accuracy"] for r in mine if r["epsilon"] is not None and r["epsilon"] <= USUAL]
        if usual and mine[-1]["epsilon"] is None:
            lost.append((mine[0]["draw"], mine[-1]["accuracy"] - max(usual)))
    return [points(f"Accuracy lost at best at ε ≤ {USUAL:g}", _of_draws(lost))]


def _room_under_the_bound(summary: Summary) -> Effect:
    kappa = _kappa(summary)
    if kappa is None:
        return []
    draws = _by_draw([r for r in _trained(summary) if r["mu"] is not None])
    room = [(m[0]["draw"], min(reconstruction_bound(kappa, r["mu"]) - r["recovered"] for r in m)) for m in draws]
    label = f"Least room between bound and share recovered, over all ε (guesses alone: at most {kappa:.2f})"
    return [Part(label, _of_draws(room), ".2f", scale="share")]


def _clipped_over_bare(summary: Summary) -> Effect:
    clipped = [r for r in _trained(summary) if r["epsilon"] is None]
    bare = published(summary["rows"], released=False, clip=None)
    return [ratio("Error with the clip over that without, no noise", compared(clipped, bare, "draw"))]


FIVE_POINTS = 0.05, "five points are three standard errors of a difference on 1,000 images, the same for both networks"

CLAIMS = (
    *(
        Claim(f"finding-error-rises-{name}",
              f"{what}: the error rises towards that of held-out images as ε falls (rho below -0.5).",
              partial(_error_along_epsilon, of=rows), -0.5, "at 0.5, ε explains a quarter of the errors' ranks",
              "below")
        for name, what, rows in (
            ("dp-sgd", "DP-SGD", "trained"),
            ("closed-form", "Closed form released with noise, widest network", "finite"),
            ("infinite-width", "Closed form released with noise, infinite width", "infinite"),
        )
    ),
    Claim("finding-nothing-comes-back",
          "Under DP-SGD at ε of 10 or less, errors are within a tenth of held-out images', or above.",
          _least_error, -TENTH, EYE),
    Claim("finding-defence-costs-accuracy",
          "At the largest ε up to which errors are within a tenth of held-out images', five points of test accuracy "
          "or more are lost.",
          _cost_of_defence, *FIVE_POINTS),
    Claim("finding-usual-privacy-costs-accuracy", "At ε of 10 or less, five points of test accuracy or more are lost.",
          _cost_of_usual_privacy, *FIVE_POINTS),
    Claim("finding-bound-holds",
          "The share of images recovered stays below the bound on any attack (Hayes et al. 2023) at every ε.",
          _room_under_the_bound, 0.0, "a bound holds or does not"),
    Claim("finding-clip-is-no-defence", "Clipping without noise raises the error by less than a tenth.",
          _clipped_over_bare, *A_TENTH, "below"),
)  # fmt: skip
