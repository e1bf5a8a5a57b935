"""Exact recovery: how many images come back from one network, and in what time.

No figure of the paper: what the solver `exact` promises. A row is a kind of network over draws of images; most have a
bar, counts that each network and a time that all of them together have to reach.

    make reproduce-recovery                 quick: 50 images and fewer, plain and foreign networks: five minutes
    make reproduce-recovery PRESET=full     up to 500 images, MNIST and CIFAR-10: an hour on a core; needs prepared data

Expected: plain networks of 20 units an image and more give back all of their images within seconds; so do networks of
scikit-learn and NumPy, weight decay up to 0.01, Adam's state, and heads on features of a frozen extractor. Rows without
a bar are reported as measured. Cells run one at a time, as their times are judged.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import numpy as np

from benchmarks._estimates import over, share_of
from benchmarks._panels import shares_and_seconds
from benchmarks._presets import CIFAR, MNIST, MNIST10
from benchmarks._rows import by_kind, sources, where
from benchmarks._tables import Table, each
from recon.cells.foreign import NumpyDescent, ScikitLearn
from recon.cells.instances import Head, Plain, Setting
from recon.cells.recovery import RecoveryCell
from recon.claims import Claim, Effect, Summary, ratio, share
from recon.dynamics import Descent, Linearised
from recon.plots import Figure
from recon.records import Stored
from recon.regression.measures import group_name

FAMILIES = {
    "plain": "plain networks",
    "other": "networks of other code, with weight decay, of Adam's state, on features",
}


@dataclass(frozen=True)
class Bar:
    """What a row has to reach.

    Attributes:
      certified, certified_within, within: least counts of each network.
      worst: upper bound of each network's largest distance.
      seconds: upper bound of the mean time of the attack (geometric, over draws).
    """

    certified: int = 0
    certified_within: int = 0
    within: int = 0
    worst: float = np.inf
    seconds: float = np.inf

    @property
    def text(self) -> str:
        """In words."""
        parts = (
            (self.certified, f"≥ {self.certified} certified"),
            (self.certified_within, f"≥ {self.certified_within} certified within"),
            (self.within, f"≥ {self.within} within"),
            (self.worst < np.inf, f"max < {self.worst:g}"),
            (self.seconds < np.inf, f"time < {self.seconds:g} s"),
        )
        return ", ".join(text for asked, text in parts if asked)

    def reached(self, run: Mapping[str, Any]) -> bool:
        """Whether one network reaches the counts and the bound."""
        counts = all((run[k] or 0) >= getattr(self, k) for k in ("certified", "certified_within", "within"))
        return counts and (self.worst == np.inf or (run["worst"] is not None and run["worst"] < self.worst))


@dataclass(frozen=True)
class Kind:
    """A named kind of network over seeds; without a bar it is reported as measured."""

    name: str
    cells: Sequence[RecoveryCell]
    bar: Bar | None
    family: str


def kind(
    name: str,
    n: int,
    setting: Setting,
    bar: Bar | None = None,
    seeds: Sequence[int] = (0, 1, 2),
    family: str = "other",
    task: str = MNIST,
    attack: str = "exact",
    **options: float,
) -> Kind:
    """A kind of network, each attacked with `options`."""
    cell = RecoveryCell(task, n, setting, attack, tuple(options.items()))
    return Kind(name, [cell.with_seed(seed) for seed in seeds], bar, family)


def adam(loss: float) -> Descent:
    """Adam at the rate that suits these networks."""
    return Descent(optimiser="adam", learning_rate=1e-4, loss=loss)


plain, beyond = partial(kind, family="plain"), partial(kind, seeds=(0, 1), seconds=60.0)
ORDINARY = Descent(learning_rate=0.04, momentum=0.9, loss=1e-8)
LINEAR, FOREIGN = Linearised(), Bar(certified=60, worst=0.01, seconds=5)
FULL = (
    # What the solver is for.
    plain("50/1024 MNIST standard", 50, Plain(1024), Bar(certified=50, worst=0.01, seconds=3)),
    plain("200/2048 MNIST standard", 200, Plain(2048), Bar(certified_within=199, seconds=25), range(5), seconds=180.0),
    plain("300/4096 MNIST linearised", 300, Plain(4096, LINEAR), Bar(certified_within=300, seconds=180), (0,),
          seconds=600.0),
    plain("500/4096 MNIST linearised, 900 s", 500, Plain(4096, LINEAR), None, (0,), seconds=900.0, starts=10**6,
          patience=10**6),
    plain("200/2048 CIFAR-10 standard", 200, Plain(2048), Bar(certified_within=199, seconds=40), task=CIFAR,
          seconds=180.0),
    plain("100/512 MNIST standard", 100, Plain(512), Bar(certified_within=99, seconds=15), seconds=60.0),
    plain("100/512 MNIST linearised", 100, Plain(512, LINEAR), Bar(certified_within=99, seconds=15), seconds=60.0),
    # Networks that other code has trained.
    kind("60/1024 scikit-learn", 60, ScikitLearn(1024), FOREIGN),
    kind("60/1024 NumPy, batches of 10", 60, NumpyDescent(1024), FOREIGN),
    # With a weight decay of λ descent reaches a loss of λ, but not much less.
    *(kind(f"50/1024 weight decay {decay:g}", 50, Plain(1024, Descent(weight_decay=decay, loss=decay)),
           Bar(certified_within=50)) for decay in (1e-4, 1e-3, 1e-2)),
    # The optimiser's state in place of the weights' change.
    *(kind(f"{n}/{width} {name}'s state, loss {loss:g}", n, Plain(width, rule, with_state=True), bar)
      for (n, width, least), loss in product(((20, 512, 20), (50, 1024, 48)), (1e-2, 1e-6))
      for name, rule, bar in (("Adam", adam(loss), Bar(within=least, seconds=10)),
                              ("momentum", Descent(momentum=0.9, rate=0.3, loss=loss), None))),
    # Heads on a frozen extractor.
    kind("100/1024 random ReLU features", 100, Head(1024, "random ReLU"), Bar(certified_within=100)),
    kind("100/1024 PCA features", 100, Head(1024, "PCA"), Bar(certified_within=100)),
    # Other attacks on one of the networks.
    *(plain(f"100/512 MNIST standard, {attack}", 100, Plain(512), None, (0,), attack=attack)
      for attack in ("exact", "ntk-fast", "hybrid")),
    # At an ordinary rate units are active for a while: PyTorch's of 0.02, whose loss is twice this one, for 200 steps.
    *(plain(f"20/256 rate 0.02, {words}, {depth} hidden", 20, Plain(256, ORDINARY, depth, init_rule=rule),
            Bar(certified_within=19), range(10)) for depth in (1, 2)
      for rule, words in (("he", "He"), ("uniform", "PyTorch's initialisation"))),
    plain("100/384 MNIST standard", 100, Plain(384), Bar(certified_within=90), seconds=60.0),
    # What nobody promises: reported as measured.
    beyond("50/1024 no biases", 50, Plain(1024, bias=False)),
    beyond("60/1024 10 outputs", 60, Plain(1024), task=MNIST10),
    *(beyond(f"60/1024 {depth} hidden", 60, Plain(1024, depth=depth)) for depth in (1, 3)),
    *(beyond(f"60/1024 {rule}", 60, Plain(1024, init_rule=rule)) for rule in ("he", "glorot", "uniform")),
    beyond("100/400 linearised", 100, Plain(400, LINEAR)),
    beyond("100/256 linearised", 100, Plain(256, LINEAR)),
    beyond("100/512 CIFAR-10", 100, Plain(512), task=CIFAR),
    *(beyond(f"50/1024 noise {sigma:g}", 50, Plain(1024, noise=sigma)) for sigma in (1e-6, 1e-5, 1e-4)),
    beyond("50/1024 descent at 1.8/L", 50, Plain(1024, Descent(rate=1.8))),
    beyond("50/1024 initial weights × 0.3", 50, Plain(1024, scale=0.3)),
    beyond("50/1024 decay 1e-3, momentum 0.9", 50,
           Plain(1024, Descent(rate=0.3, momentum=0.9, weight_decay=1e-3, loss=1e-3))),
    beyond("50/1024 Adam without its state", 50, Plain(1024, adam(1e-6))),
    beyond("60/1024 7 × 7 pixels, N ≥ d", 60, Plain(1024, block=4)),
)  # fmt: skip
QUICK = ("50/1024 MNIST standard", "60/1024 scikit-learn", "60/1024 NumPy, batches of 10", "50/1024 weight decay 0.001",
         "20/512 Adam's state, loss 0.01", "50/1024 no biases")  # fmt: skip
PRESETS: dict[str, dict[str, Any]] = {"quick": {"names": QUICK}, "full": {"names": tuple(row.name for row in FULL)}}
KIND_OF = {group_name(cell.settings()): row for row in FULL for cell in row.cells}


def cells(preset: dict[str, Any]) -> list[RecoveryCell]:
    """A cell for each network."""
    return [cell for row in FULL if row.name in preset["names"] for cell in row.cells]


def summarise(results: Sequence[Stored]) -> Summary:
    """A row for each kind of network, an entry in it for each network."""
    return {
        "rows": [
            {
                "name": name,
                "family": known.family if known else "unknown",
                "bar": known.bar.text if known and known.bar else None,
                "seconds": known.bar.seconds if known and known.bar and known.bar.seconds < np.inf else None,
                "n": records[0]["cell"]["n_train"],
                "source": records[0]["data"]["source"],
                "runs": [_run(record, known) for record in records],
            }
            for name, known, records in by_kind(results, KIND_OF)
        ]
    }


def _run(record: Mapping[str, Any], known: Kind | None) -> dict[str, Any]:
    train, attack = record["scores"]["train"], record["attack"]
    run = {
        "seed": record["cell"]["seed"],
        "draw": record["data"]["fingerprints"]["train"],
        **{k: train[k] for k in ("within", "certified_within", "worst")},
        **{k: attack[k] for k in ("found", "certified", "why")},
        "held_out": record["scores"]["held_out"]["mean"],
        "seconds": attack["seconds"]["run"],
    }
    return run | {"reached": known.bar.reached(run) if known and known.bar else None}


def plot(summary: Summary) -> Figure:
    """A line for each kind of network: share of its images recovered, certified ones filled; seconds, and their bar."""
    rows = summary["rows"]
    figure, counts, times = shares_and_seconds(
        rows, 0.9 + 0.19 * len(rows), barred="bar", found="within", share=lambda row, run: run["within"] / row["n"]
    )
    for y, row in enumerate(rows):
        if row["seconds"]:
            times.plot(row["seconds"], y, "|", color="#222222", markersize=9)
    counts.set(xlabel="share of images recovered")
    times.set(xlabel="seconds of the attack; |: bar")
    figure.suptitle("Orange: with a bar. Filled: as many certified as recovered.", fontsize=8, x=0.02, ha="left")
    return figure


def table(summary: Summary) -> Table:
    """A number for each network."""
    columns = ["instance", "found", "certified", "within", "largest error", "held-out", "seconds", "bar", ""]
    forms = {"found": "d", "certified": "d", "within": "d", "worst": ".0e", "held_out": ".1f", "seconds": ".1f"}
    rows = []
    for row in summary["rows"]:
        numbers = (each(key, form)(row["runs"]) for key, form in forms.items())
        reached = [run["reached"] for run in row["runs"]]
        counted = f"{sum(reached)} of {len(reached)}" if row["bar"] else ""
        rows.append([row["name"], *numbers, row["bar"] or "", counted])
    return f"Exact recovery, a number for each network ({sources(summary['rows'])})", columns, rows


def _runs(summary: Summary, family: str, key: str) -> list[dict[str, Any]]:
    rows = [row for row in where(summary["rows"], family=family) if row[key]]
    return [run | {"allowed": row["seconds"]} for row in rows for run in row["runs"]]


def _reached(summary: Summary, family: str) -> Effect:
    runs = _runs(summary, family, "bar")
    label = f"Draws of images of which all {len(runs)} networks reach their counts"
    return [share(label, share_of(runs, lambda run: run["reached"]))] if runs else []


def _in_time(summary: Summary, family: str) -> Effect:
    runs = _runs(summary, family, "seconds")
    label = "Seconds of the attack over those that its row allows"
    return [ratio(label, over(runs, "seconds", "allowed"))] if runs else []


CLAIMS = tuple(
    claim
    for family, networks in FAMILIES.items()
    for claim in (
        Claim(f"recovered-{family}",
              f"The exact recovery gives back the images of {networks}: on most draws every network reaches its "
              "counts.",
              partial(_reached, family=family), 0.5, "most draws; three to five networks of a row allow no more"),
        Claim(f"in-time-{family}", f"It does so in the seconds that each row allows, on {networks}.",
              partial(_in_time, family=family), 0.0, "the row's own limit", "below"),
    )
)  # fmt: skip
