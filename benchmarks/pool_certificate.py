"""Certificate pool: what exact recovery certifies on fresh networks, from easy to impossible, narrow ones and none.

No figure of the paper. Three groups of networks on seeds that no threshold was chosen on: a pool from wide to narrow
over tasks and training rules; narrow ones, where wrong vectors pass for right ones; and null instances, whose change
no images made.

    make reproduce-pool                 quick: 20 images a network: five minutes, offline
    make reproduce-pool PRESET=full     20 to 80 images, 30 draws of each narrow size: an hour on a core

Expected: no false certificate, and all that comes back is certified where there are units enough. The images of one
network share its errors, so that intervals are over networks. Cells run one at a time: a search ends after 20 seconds.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import cycle, product
from typing import Any

from benchmarks._estimates import average, share_of
from benchmarks._presets import CIFAR, MNIST, MNIST10
from benchmarks._rows import Row, facts, where
from benchmarks._tables import Table, count, tabulate
from recon.cells.instances import Null, Plain
from recon.cells.recovery import RecoveryCell
from recon.claims import Claim, Effect, Part, Summary, share
from recon.dynamics import Descent, Dynamics, GradientFlow, Linearised
from recon.plots import COLOURS, Figure, new_figure
from recon.records import Stored

SEARCH = (("seconds", 20.0),)
POOL_SEED, NULL_SEEDS, NARROW_SEED = 1000, (2000, 2001, 2002), 3000
GROUPS = {"pool": "wide to narrow", "narrow": "narrow", "null": "no images"}

PRESETS: dict[str, dict[str, Any]] = {
    "quick": {"tasks": (MNIST,), "n": (20,), "others": False, "nulls": 20, "narrow": ((MNIST, 20, 120),), "draws": 5},
    "full": {
        "tasks": (MNIST, CIFAR),
        "n": (20, 40, 60, 80),
        "others": True,
        "nulls": 40,
        "narrow": (
            *((MNIST, 20, width) for width in (90, 100, 120, 160)),
            (MNIST, 40, 200), (CIFAR, 20, 120), (MNIST10, 20, 120),
        ),
        "draws": 30,
    },
}  # fmt: skip


def cells(preset: dict[str, Any]) -> list[RecoveryCell]:
    """A cell for each network."""
    ratios = cycle((20, 6, 12, 4, 8, 2.5))  # units of a layer for each image
    rules: tuple[Dynamics, ...] = (Linearised(), GradientFlow())
    kinds: list[tuple[str, int, Plain]] = [
        (task, n, Plain(round(n * next(ratios)), rule))
        for task, rule, n, _ in product(preset["tasks"], rules, preset["n"], range(2))
    ]
    batches = Descent(rate=0.05, momentum=0.9, batch_size=10, loss=1e-6)
    adam = Descent(optimiser="adam", learning_rate=1e-4, loss=1e-6)
    if preset["others"]:
        kinds += [(MNIST, n, Plain(width, rule)) for rule in (batches, adam) for n, width in ((40, 640), (60, 480))]
    pool = [
        RecoveryCell(task, n, setting, options=SEARCH, seed=POOL_SEED + i) for i, (task, n, setting) in enumerate(kinds)
    ]
    nulls = [
        RecoveryCell(MNIST, preset["nulls"], Null(512, change), options=SEARCH, seed=seed)
        for change in ("random", "permuted units")
        for seed in NULL_SEEDS
    ]
    narrow = [
        RecoveryCell(task, n, Plain(width), options=SEARCH, seed=NARROW_SEED + i)
        for task, n, width in preset["narrow"]
        for i in range(preset["draws"])
    ]
    return [*pool, *nulls, *narrow]


def group_of(cell: dict[str, Any]) -> str:
    """A network's group, from its cell's settings."""
    return "null" if cell["setting"]["by"] == "Null" else "narrow" if cell["seed"] >= NARROW_SEED else "pool"


def summarise(results: Sequence[Stored]) -> Summary:
    """A row for each network."""
    rows = []
    for record in (s.record for s in results):
        cell, train = record["cell"], record["scores"]["train"]
        rows.append(
            {
                "group": group_of(cell),
                **facts(record, "title", "source", "n", "seed"),
                "rule": record["training"]["rule"],
                "width": cell["setting"]["width"],
                **{k: record["attack"][k] for k in ("found", "certified", "why")},
                **{k: train[k] for k in ("within", "certified_within")},
                "seconds": record["attack"]["seconds"]["run"],
            }
        )
    return {"rows": rows}


def plot(summary: Summary) -> Figure:
    """Share of each network's images that came back, and that were certified, over its units for each image."""
    figure = new_figure(8.0, 3.2)
    for axes, group in zip(figure.subplots(1, 2, sharey=True), ("pool", "narrow"), strict=True):
        mine = where(summary["rows"], group=group)
        units = [r["width"] / r["n"] for r in mine]
        back = [r["within"] / r["n"] for r in mine]
        axes.plot(units, back, "o", fillstyle="none", color="#222222", label="came back")
        right = [r["certified_within"] / r["n"] for r in mine]
        axes.plot(units, right, ".", color=COLOURS["standard"], label="certified, and right")
        false = [(u, r) for u, r in zip(units, mine) if r["certified"] > r["certified_within"]]
        shares = [(r["certified"] - r["certified_within"]) / r["n"] for _, r in false]
        axes.plot([u for u, _ in false], shares, "x", color="#cc0000", label="certified, and wrong")
        axes.set(title=GROUPS[group], xlabel="units of a hidden layer for each image", ylim=(-0.05, 1.05))
    figure.axes[0].set_ylabel("share of a network's images")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def table(summary: Summary) -> Table:
    """A line for each kind of network: sums over its draws."""

    def total(key: str) -> Callable[[Sequence[Row]], str]:
        return lambda rows: str(sum(r[key] for r in rows))

    columns = {"networks": count, "images": total("n"), "came back": total("within"), "certified": total("certified")}
    columns |= {"of these wrong": lambda rows: str(sum(r["certified"] - r["certified_within"] for r in rows))}
    rows = [r | {"group": GROUPS[r["group"]], "training": r["rule"]} for r in summary["rows"]]
    keys = ("group", "title", "training", "n", "width")
    return tabulate("What is certified on fresh networks", rows, keys, columns)


def _networks(summary: Summary, group: str, key: str = "group") -> list[Row]:
    """Those of a group that have any of `key`. Each has its own seed or width: networks are what is independent."""
    return [r | {"draw": i} for i, r in enumerate(where(summary["rows"], group=group)) if r[key]]


def _right(summary: Summary, group: str) -> Effect:
    rows = _networks(summary, group, "certified")
    images, right = (sum(r[k] for r in rows) for k in ("certified", "certified_within"))
    whole = share("Networks right in whole", share_of(rows, lambda r: r["certified"] == r["certified_within"]))
    mean = average(rows, lambda r: r["certified_within"] / r["certified"])
    return [whole, Part(f"images certified ({right} of {images} right)", mean, ".4f", decides=False)] if rows else []


def _all(summary: Summary) -> Effect:
    rows = _networks(summary, "pool", "within")
    found = share_of(rows, lambda r: r["certified_within"] >= RECALL * r["within"])
    return [share("Networks", found)] if rows else []


def _nothing(summary: Summary) -> Effect:
    rows = _networks(summary, "null")
    return [share("Null instances", share_of(rows, lambda r: r["certified"] == 0))] if rows else []


RECALL = 0.95  # of what came back: one image of 20 may lack a certificate
SURE = 0.9
REASON = "one network in ten with a false certificate would make it worthless for a single audit"
CLAIMS = (
    Claim("right-pool", "Where it certifies an image, all that it certifies of the network is right.",
          partial(_right, group="pool"), SURE, REASON),
    Claim("right-narrow", "So it is where a layer has few units for each image.",
          partial(_right, group="narrow"), SURE, REASON),
    Claim("all-that-came-back", "Nineteen in twenty images that come back are certified, on most networks.",
          _all, 0.5, "most networks"),
    Claim("nothing-without-images", "It certifies nothing where no images made the change.",
          _nothing, 0.5, "most instances; six allow no more"),
)  # fmt: skip
