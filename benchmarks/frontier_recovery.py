"""Recovery frontier: images that the exact attack finds, over their number and the width of the network.

No figure of the paper. A network of two hidden layers of W units is trained on N images; how many of these come back,
certified, and in what time? By activation and training rule; for ReLU also with the search by the first layer's
patterns alone, which is all that the attack had before it searched by the whole network's gradients.

    make reproduce-frontier                 quick: 20 to 100 package pictures: four minutes
    make reproduce-frontier PRESET=full     50 to 200 images, MNIST and CIFAR-10: hours on a core; needs prepared data

Expected: nothing at two units an image, where the attack does not begin; nearly all images from 2.56 on after
linearised training, and from 3.84 on after standard training. Cells run one at a time, as their times are judged.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import product
from typing import Any

import numpy as np

from benchmarks._estimates import share_of
from benchmarks._presets import CIFAR, MNIST, NAMES
from benchmarks._rows import Row, distinct, facts, grouped, sources, where
from benchmarks._tables import Table, each
from recon.cells.instances import FLOW, Plain
from recon.cells.recovery import RecoveryCell
from recon.claims import Claim, Effect, Summary, share
from recon.dynamics import Linearised
from recon.plots import Figure, new_figure
from recon.records import Stored

RATIOS = LEAST, NEAR, NARROW, SOME, WIDE, WIDEST = 2.0, 2.2, 2.56, 3.84, 5.12, 10.24  # units an image: W/N
RELU, LEAKY, GELU, OTHERS = "relu", "leaky_relu:0.2", "gelu", ("silu", "elu", "tanh")
MANY = 50  # images; of 20 fewer came back after standard training
GRID = LEAST, NEAR, NARROW, SOME, WIDE
# Of each preset: (task, activation, linearised, by patterns alone), ratios W/N, numbers of images N.
PRESETS: dict[str, dict[str, Any]] = {
    "quick": {
        "networks": (
            ((MNIST, RELU, True, False), (LEAST, NEAR, NARROW, WIDE), (20, 50)),
            ((MNIST, RELU, True, True), (NARROW, WIDE), (20, 50)),
            ((MNIST, RELU, False, False), (NARROW, SOME, WIDE), (50, 100)),
            ((MNIST, LEAKY, True, False), (WIDE,), (20, 50)),
            ((MNIST, GELU, True, False), (NARROW, WIDEST), (20, 50)),
            ((MNIST, "tanh", True, False), (WIDEST,), (20, 50)),
        ),
        "seeds": (0, 1, 2),
        "seconds": 60.0,
    },
    "full": {
        "networks": (
            *(((MNIST, RELU, linearised, False), GRID, (50, 100)) for linearised in (True, False)),
            ((MNIST, RELU, True, False), (NARROW,), (200,)),
            ((MNIST, LEAKY, True, False), (LEAST, NARROW, WIDE), (50, 100)),
            *(((MNIST, other, True, False), (LEAST, NARROW, WIDEST), (50, 100)) for other in (GELU, *OTHERS)),
            ((CIFAR, RELU, True, False), (LEAST, NARROW, WIDE), (50, 100, 200)),
            *(((MNIST, RELU, linearised, True), GRID, (50, 100)) for linearised in (True, False)),
        ),
        "seeds": (40_000, 40_001, 40_002),
        "seconds": 300.0,
    },
}  # fmt: skip


def cells(preset: dict[str, Any]) -> list[RecoveryCell]:
    """A cell for each network."""
    seconds = ("seconds", preset["seconds"])
    return [
        RecoveryCell(
            task,
            n,
            Plain(round(ratio * n), Linearised() if linearised else FLOW, activation=activation),
            options=(seconds, ("tangent", False)) if alone else (seconds,),
            seed=seed,
        )
        for (task, activation, linearised, alone), ratios, numbers in preset["networks"]
        for n, ratio, seed in product(numbers, ratios, preset["seeds"])
    ]


def summarise(results: Sequence[Stored]) -> Summary:
    """A row for each network; what is *right* is certified and within the limit of a training image."""
    rows = []
    for record in (s.record for s in results):
        setting, options = record["cell"]["setting"], record["cell"]["options"]
        attack, train = record["attack"], record["scores"]["train"]
        rows.append(
            {
                **facts(record, "task", "n", "seed", "source", "draw"),
                "width": setting["width"],
                "ratio": min(RATIOS, key=lambda r: abs(r - setting["width"] / record["cell"]["n_train"])),
                "activation": setting.get("activation", RELU),
                "rule": "linearised" if "dynamics" in setting else "standard",
                "search": "patterns" if options.get("tangent") is False else "all",
                "found": train["within"],
                "certified": attack["certified"],
                "right": train["certified_within"],
                "held_out": record["scores"]["held_out"]["mean"],
                "seconds": attack["seconds"]["run"],
            }
        )
    return {"rows": rows}


def title_of(row: Mapping[str, Any]) -> str:
    """A panel's networks in words."""
    alone = ", patterns alone" if row["search"] == "patterns" else ""
    return f"{NAMES[row['task']]}, {row['activation']}, {row['rule']}{alone}"


PANEL = "task", "activation", "rule", "search"


def plot(summary: Summary) -> Figure:
    """A panel for each kind of network: share certified and right by N and W/N, with the mean time."""
    panels = grouped(summary["rows"], *PANEL)
    columns = 3
    lines = -(-len(panels) // columns)
    deep = max(len(distinct(rows, "n")) for rows in panels.values())
    figure = new_figure(9.0, 0.6 + lines * (0.75 + 0.4 * deep))
    grid = figure.subplots(lines, columns, squeeze=False).ravel()
    for axes, rows in zip(grid, panels.values(), strict=False):
        ratios, numbers = sorted(distinct(summary["rows"], "ratio")), sorted(distinct(rows, "n"))
        shares = np.full((len(numbers), len(ratios)), np.nan)
        for (ratio, n), mine in grouped(rows, "ratio", "n").items():
            x, y = ratios.index(ratio), numbers.index(n)
            shares[y, x] = part = np.mean([r["right"] / r["n"] for r in mine])
            text = f"{100 * part:.0f} %\n{np.mean([r['seconds'] for r in mine]):.2g} s"
            axes.text(x, y, text, ha="center", va="center", fontsize=6, color="white" if part < 0.6 else "black")
        shown = axes.imshow(shares, vmin=0, vmax=1, cmap="viridis", origin="lower", aspect="auto")
        axes.set_xticks(range(len(ratios)), [f"{r:g}" for r in ratios])
        axes.set_yticks(range(len(numbers)), map(str, numbers))
        axes.grid(visible=False)
        axes.set_title(title_of(rows[0]), fontsize=7, loc="left")
        axes.set(xlabel="units an image, W/N", ylabel="images N")
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    figure.colorbar(shown, ax=grid.tolist(), label="share certified and right", shrink=0.8)
    return figure


def table(summary: Summary) -> Table:
    """A line for each kind and size, a number for each network."""
    columns = ["networks", "N", "W", "W/N", "found", "certified", "right", "seconds"]
    forms = {"found": "d", "certified": "d", "right": "d", "seconds": ".1f"}
    lines = [
        [title_of(mine[0]), str(mine[0]["n"]), str(mine[0]["width"]), f"{mine[0]['ratio']:g}",
         *(each(key, form)(mine) for key, form in forms.items())]
        for mine in grouped(summary["rows"], *PANEL, "n", "ratio").values()
    ]  # fmt: skip
    return (
        f"Images found, and certified and right, a number for each network ({sources(summary['rows'])})",
        columns,
        lines,
    )


def _searched(summary: Summary, ratio: float, **kind: Any) -> list[Row]:
    return where(summary["rows"], search="all", ratio=ratio, **kind)


def _come_back(summary: Summary, least: float, ratios: Mapping[str, float], fewest: int = 0, **kind: Any) -> Effect:
    rows = [r for name, ratio in ratios.items() for r in _searched(summary, ratio, activation=name, **kind)]
    rows = [r for r in rows if r["n"] >= fewest]
    label = f"Draws of images of whose {len(rows)} networks each gives back {100 * least:.0f} % or more, certified"
    return [share(label, share_of(rows, lambda r: r["right"] >= least * r["n"]))] if rows else []


def _nothing(summary: Summary) -> Effect:
    rows = _searched(summary, LEAST)
    label = f"Draws of images of whose networks none gives back any ({len(rows)} networks)"
    return [share(label, share_of(rows, lambda r: not r["found"]))] if rows else []


TENTH = 0.1  # of the images: more than luck makes


def _gained(summary: Summary) -> Effect:
    rows = where(summary["rows"], activation=RELU, rule="linearised", ratio=NARROW)
    key = "task", "width", "seed"
    before = {tuple(r[k] for k in key): r["right"] for r in rows if r["search"] == "patterns"}
    pairs = [r for r in where(rows, search="all") if tuple(r[k] for k in key) in before]
    more = share_of(pairs, lambda r: r["right"] - before[tuple(r[k] for k in key)] > TENTH * r["n"])
    label = f"Draws of images of which it gives back a tenth more on each of {len(pairs)} networks"
    return [share(label, more)] if pairs else []


MOST = 0.5, "most draws; six draws of which all hold allow no more"
CLAIMS = (
    Claim("relu-linearised", f"Of linearised ReLU networks 95 % of the images come back at {NARROW} units an image.",
          partial(_come_back, least=0.95, ratios={RELU: NARROW}, rule="linearised"), *MOST),
    Claim("relu-standard", f"After standard training on {MANY} images or more 90 % do at {SOME} units an image.",
          partial(_come_back, least=0.90, ratios={RELU: SOME}, fewest=MANY, rule="standard"), *MOST),
    Claim("other-activations",
          f"So do 96 % of the images of networks of other activations, at {WIDEST} units an image (LeakyReLU: {WIDE}).",
          partial(_come_back, least=0.96, ratios={LEAKY: WIDE, **dict.fromkeys((GELU, *OTHERS), WIDEST)}), *MOST),
    Claim("gelu-narrow", f"Of linearised GELU networks 95 % come back at {NARROW} units an image.",
          partial(_come_back, least=0.95, ratios={GELU: NARROW}), *MOST),
    Claim("limit", f"At {LEAST:g} units an image nothing comes back of any network.", _nothing, *MOST),
    Claim("beyond-patterns",
          f"Of linearised ReLU networks the search by the whole network's gradients gives back a tenth of the images "
          f"or more beyond what patterns alone do at {NARROW} units an image.", _gained, *MOST),
)  # fmt: skip
