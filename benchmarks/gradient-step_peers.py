"""Gradient step: how many images of a batch come back from one gradient, on the terms of published attacks.

No figure of the paper. Peers invert one gradient of a ReLU network exactly: SPEAR (Dimitrov et al. 2024, 20 photographs
of 224 × 224 pixels, 200 units) and the peeling of sparse codes (Shariati & Meybodi 2026, 1,000 units, W ~ N(0, 0.5²),
pixels in [0, 1], cross-entropy). Here the solver `exact` is run on their terms, and after a step in float32 weights;
the last rows add the noise of DP-SGD to the gradient.

    make reproduce-gradient-step                 quick: MNIST and photographs: two to three minutes, offline
    make reproduce-gradient-step PRESET=full     to 256 images, MNIST and CIFAR-10: ten minutes; needs prepared data

Expected: every image that is in the gradient comes back, and is certified. An image that the network fits so well that
its dual weight is below 1e-12 of the largest is in no number of the gradient, and counts as that, not as missed. Cells
run one at a time, as their times are judged. The peers' figures are as reported by them, not measured here.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks._estimates import HALF, MOST, average, over, share_of
from benchmarks._panels import shares_and_seconds
from benchmarks._presets import CIFAR10, MNIST10
from benchmarks._rows import by_kind, sources
from benchmarks._tables import Table, each
from recon.cells.gradient import PHOTOGRAPHS, GradientCell
from recon.claims import Claim, Effect, Summary, points, ratio, share
from recon.plots import Figure
from recon.records import Stored
from recon.regression.measures import group_name

SEEDS = (0, 1, 2)
# Recall of all images of a batch, as the peeling's authors report it: recalled, not checked.
PEELING = {
    (MNIST10, 64): 0.484, (MNIST10, 128): 0.017, (MNIST10, 256): 0.002,
    (CIFAR10, 64): 0.994, (CIFAR10, 128): 0.666, (CIFAR10, 256): 0.215,
}  # fmt: skip
NAMES = {MNIST10: "MNIST", CIFAR10: "CIFAR-10"}
NOISE = (1e-7, 1e-5, 1e-4, 1e-3)
SPEAR_SECONDS = 60.0


@dataclass(frozen=True)
class Kind:
    """A named kind of batch over seeds.

    Attributes:
      least: share of the images in the gradient that has to come back (None: as measured).
      reported: recall of a published attack, and whose.
      seconds: bound of the attack's mean time (geometric, over seeds).
    """

    name: str
    cells: Sequence[GradientCell]
    least: float | None = None
    reported: tuple[float, str] | None = None
    seconds: float | None = None


def kind(name: str, task: str, batch: int, *more: Any, **options: Any) -> Kind:
    """A kind of batch of a task's images, from draws of equal shares of ten classes."""
    draw = batch if task == PHOTOGRAPHS else -(-batch // 10) * 10
    return Kind(name, [GradientCell(task, draw, batch, seed=seed, **options) for seed in SEEDS], *more)


SPEAR = kind("SPEAR's: 20 photographs, 224 × 224, width 200", PHOTOGRAPHS, 20, 1.0, (1.0, "SPEAR"), SPEAR_SECONDS,
             width=200, weights="lecun")  # fmt: skip
PEERS = {
    (task, batch): kind(f"peeling's: {NAMES[task]}, batch {batch}", task, batch, 0.9 if batch == 256 else 0.99,
                        (recall, "peeling"))
    for (task, batch), recall in PEELING.items()
}  # fmt: skip
STEPS = {
    (task, raw): kind(f"float32 weights after a step: {NAMES[task]}, batch 128, {'raw' if raw else 'centred'}", task,
                      128, 0.99, weights="lecun", raw=raw, form="step")
    for task in NAMES for raw in (False, True)
}  # fmt: skip
NOISY = [kind(f"noise multiplier {z:g}: MNIST, batch 64", MNIST10, 64, weights="lecun", noise=z) for z in NOISE]
FULL = (SPEAR, *PEERS.values(), *STEPS.values(), *NOISY)
QUICK = (SPEAR, PEERS[MNIST10, 64], PEERS[MNIST10, 128], NOISY[1], NOISY[2])
PRESETS: dict[str, dict[str, Any]] = {
    name: {"names": tuple(k.name for k in kinds)} for name, kinds in (("quick", QUICK), ("full", FULL))
}
KIND_OF = {group_name(cell.settings()): k for k in FULL for cell in k.cells}


def cells(preset: dict[str, Any]) -> list[GradientCell]:
    """A cell for each batch."""
    return [cell for k in FULL if k.name in preset["names"] for cell in k.cells]


def summarise(results: Sequence[Stored]) -> Summary:
    """A row for each kind of batch, an entry in it for each one."""
    return {
        "rows": [
            {
                "name": name,
                "least": known.least if known else None,
                "reported": known.reported[0] if known and known.reported else None,
                "peer": known.reported[1] if known and known.reported else None,
                "seconds": known.seconds if known else None,
                "batch": records[0]["cell"]["batch"],
                "source": records[0]["data"]["source"],
                "runs": [_run(record, known.least if known else None) for record in records],
            }
            for name, known, records in by_kind(results, KIND_OF)
        ]
    }


def _run(record: Mapping[str, Any], least: float | None) -> dict[str, Any]:
    cell, train, attack = record["cell"], record["scores"]["train"], record["attack"]
    share = train["inside_within"] / train["inside"]
    return {
        "seed": cell["seed"],
        # Of the photographs there is one draw; networks differ.
        "draw": f"{record['data']['fingerprints']['train']} {cell['seed']}",
        **{k: train[k] for k in ("inside", "inside_within", "false", "labels_told", "labels_right")},
        **{k: train[k] for k in ("mean", "worst")},
        **{k: attack[k] for k in ("found", "certified", "n_estimated", "absent", "why", "starts")},
        "share": share,
        "recall": train["within"] / cell["batch"],
        "reached": None if least is None else share >= least,
        "held_out": record["scores"]["held_out"]["mean"],
        "start": record["scores"]["start"]["mean"],
        "seconds": attack["seconds"]["run"],
    }


def plot(summary: Summary) -> Figure:
    """A line for each kind of batch: share of the images in the gradient that came back, and seconds."""
    rows = summary["rows"]
    figure, counts, times = shares_and_seconds(
        rows, 1.0 + 0.24 * len(rows), barred="least", found="inside_within", share=lambda _, run: run["share"]
    )
    for y, row in enumerate(rows):
        if row["reported"] is not None:
            counts.plot(row["reported"], y, "|", color="#222222", markersize=9)
    counts.set(xlabel="share of images in the gradient; |: reported recall")
    times.set(xlabel="seconds of the attack")
    figure.suptitle("Orange: with a bar. Filled: as many certified as came back.", fontsize=8, x=0.02, ha="left")
    return figure


def table(summary: Summary) -> Table:
    """A number for each batch."""
    columns = ["batch", "in the gradient", "of them back", "certified", "false", "labels right", "largest error",
               "held-out", "start", "seconds", "recall", "recall reported", "bar", ""]  # fmt: skip
    forms = {"inside": "d", "inside_within": "d", "certified": "d", "false": "d", "labels_right": "d", "worst": ".0e",
             "held_out": ".1f", "start": ".1f", "seconds": ".1f", "recall": ".3f"}  # fmt: skip
    rows = []
    for row in summary["rows"]:
        numbers = (each(key, form)(row["runs"]) for key, form in forms.items())
        peer = "" if row["reported"] is None else f"{row['reported']:g} ({row['peer']})"
        bar = "" if row["least"] is None else f"≥ {100 * row['least']:g} %"
        bar += "" if row["seconds"] is None else f", time < {row['seconds']:g} s"
        reached = [run["reached"] for run in row["runs"]]
        counted = f"{sum(reached)} of {len(reached)}" if row["least"] else ""
        rows.append([row["name"], *numbers, peer, bar, counted])
    title = (
        f"One gradient, a number for each batch; published recall as its authors report it ({sources(summary['rows'])})"
    )
    return title, columns, rows


def _runs(summary: Summary, wanted: Callable[[dict[str, Any]], Any]) -> list[dict[str, Any]]:
    """The batches of the rows that are wanted, with what their row says."""
    return [{**run, "reported": row["reported"], "allowed": row["seconds"]}
            for row in summary["rows"] if wanted(row) for run in row["runs"]]  # fmt: skip


def _reached(summary: Summary) -> Effect:
    runs = _runs(summary, lambda row: row["least"])
    return (
        [share(f"Batches of {len(runs)} that reach their bar", share_of(runs, lambda r: r["reached"]))] if runs else []
    )


def _beyond(summary: Summary) -> Effect:
    runs = _runs(summary, lambda row: row["peer"] == "peeling")
    made = average(runs, lambda r: r["recall"] - r["reported"], (-1.0, 1.0)) if runs else None
    return [points("Recall of all images of a batch less the reported one", made)] if made else []


def _in_time(summary: Summary) -> Effect:
    runs = _runs(summary, lambda row: row["seconds"])
    return [ratio("Seconds of the attack over those allowed", over(runs, "seconds", "allowed"))] if runs else []


def _right(summary: Summary) -> Effect:
    runs = [r for r in _runs(summary, lambda _: True) if r["certified"]]
    total, false = (sum(r[k] for r in runs) for k in ("certified", "false"))
    label = f"Batches without a false certificate ({false} of {total} certified images wrong)"
    return [share(label, share_of(runs, lambda r: not r["false"]))] if runs else []


def _labels(summary: Summary) -> Effect:
    runs = [r for r in _runs(summary, lambda _: True) if r["labels_told"]]
    total, right = (sum(r[k] for r in runs) for k in ("labels_told", "labels_right"))
    label = f"Batches all of whose labels are right ({right} of {total})"
    return [share(label, share_of(runs, lambda r: r["labels_told"] == r["labels_right"]))] if runs else []


def _nearer(summary: Summary) -> Effect:
    runs = [r for r in _runs(summary, lambda row: row["least"]) if r["mean"] and r["held_out"]]
    return (
        [ratio("Distance of held-out images over that of the batch's", over(runs, "held_out", "mean"))] if runs else []
    )


MOST_BATCHES = 0.5, "most batches; three of a row allow no more"
CLAIMS = (
    Claim("recovered", "Of the images that are in a gradient, the share its row asks for comes back, on most batches.",
          _reached, *MOST_BATCHES),
    Claim("beyond-peeling", "More of a batch comes back than the peeling's authors report, by five points or more.",
          _beyond, 0.05, "three images of a batch of 64"),
    Claim("in-time", "SPEAR's 20 photographs come back in under a minute.", _in_time, 0.0, "a minute", "below"),
    Claim("certified-right", "No certified image is wrong, on nine batches in ten.", _right, *MOST),
    Claim("labels-right", "No label that is told is wrong, on nine batches in ten.", _labels, *MOST),
    Claim("nearer-than-control", "Images of the batch lie nearer than half the distance of held-out ones.", _nearer,
          *HALF),
)  # fmt: skip
