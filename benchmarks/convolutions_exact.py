"""Exact recovery through convolutions: how many images come back from networks with a hidden dense layer.

Beyond the paper, whose convolutional networks (figure J.1) have no hidden dense layer. `exact-features` recovers the
dense layers' inputs exactly, then the images that have them as features.

    make reproduce-convolutions                 quick: one gradient step, ten images, a minute
    make reproduce-convolutions PRESET=full     LeNet-5 and a small VGG, other kinds of training, CIFAR-10: half an hour

Expected: after one gradient step, as of a linearised model, nearly all images, to rounding, where a network has more
features that are not zero than images have pixels that nothing else tells; none after full training, as features move.
Cells run one at a time, as their times are judged.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from benchmarks._estimates import HONEST, MOST, average, certified_right, share_of
from benchmarks._presets import CIFAR, MNIST, NAMES
from benchmarks._rows import Row, distinct, facts, where
from benchmarks._tables import Table, count, each, mean, tabulate
from recon.cells import NEAR
from recon.cells.convolutional import Convolutional
from recon.cells.recovery import RecoveryCell
from recon.claims import Claim, Effect, Summary, share
from recon.plots import COLOURS, Figure, new_figure
from recon.records import Stored

SEEDS = (0, 1, 2)
GOOD_PSNR, GOOD_SHARE = 30.0, 0.95  # dB from which an image counts as right in CIFAR-10; share of images asked for
SECONDS = 120.0  # that an attack may take

# (task, N, network, training, steps, learning rate)
ONE_STEP = (
    (MNIST, 40, "LeNet-like", "steps", 1, 1.0),
    (CIFAR, 20, "wide LeNet-like", "steps", 1, 1.0),
)
OTHERS = (
    (MNIST, 20, "LeNet-like", "linearised", 1, 1.0),
    (MNIST, 20, "LeNet-like", "frozen", 100, 0.1),
    (MNIST, 20, "LeNet-like", "steps", 2, 1e-3),
    (MNIST, 20, "LeNet-like", "steps", 5, 1e-3),
    (MNIST, 20, "LeNet-like", "standard", 1, 1.0),
    (MNIST, 20, "LeNet-5", "steps", 1, 1.0),
    (MNIST, 10, "VGG", "steps", 1, 1.0),
)
PRESETS: dict[str, dict[str, Any]] = {
    "quick": {"networks": ((MNIST, 10, "LeNet-like", "steps", 1, 1.0),)},
    "full": {"networks": ONE_STEP + OTHERS},
}


def cells(preset: dict[str, Any]) -> list[RecoveryCell]:
    """A cell for each network and draw."""
    return [
        RecoveryCell(task, n, Convolutional(*setting), "exact-features", seed=seed)
        for task, n, *setting in preset["networks"]
        for seed in SEEDS
    ]


def summarise(results: Sequence[Stored]) -> Summary:
    """A row for each network."""
    rows = []
    for s in results:
        record = s.record
        setting, attack, train = record["cell"]["setting"], record["attack"], record["scores"]["train"]
        steps, rate = setting.get("steps", 1), setting.get("rate", 1.0)
        training = setting.get("training", "steps")
        words = {"steps": f"{steps} steps of {rate:g}" if steps > 1 else "one step", "frozen": "frozen convolutions"}
        distance = np.array(record["images"]["distance"], float)
        psnr = -20 * np.log10(np.maximum(distance, 1e-9) / np.sqrt(s.arrays["train"][0].size))
        rows.append(
            {
                **facts(record, "task", "n", "seed", "title", "source", "draw"),
                "network": setting["network"],
                "training": words.get(training, training),
                "near": train["within"],
                "good": int((psnr >= GOOD_PSNR).sum()),
                "found": attack["found"],
                "certified": attack["certified"],
                "certified_near": train["certified_within"],
                "error": train["median"],
                "held_out": record["scores"]["held_out"]["mean"],
                "start": record["scores"]["start"]["mean"],
                "seconds": attack["seconds"]["run"],
            }
        )
    return {"rows": rows}


def _name(row: Row) -> str:
    return f"{NAMES.get(row['task'], row['title'])} {row['n']}, {row['network']}, {row['training']}"


def plot(summary: Summary) -> Figure:
    """A line for each kind of network: share of its images recovered, and certified, a point for each draw."""
    rows = [row | {"name": _name(row)} for row in summary["rows"]]
    names = distinct(rows, "name")
    figure = new_figure(8.0, 1.1 + 0.28 * len(names))
    axes = figure.subplots()
    for row in rows:
        y = names.index(row["name"])
        for key, shift, colour in (("good", -0.2, COLOURS["held_out"]), ("near", 0.0, COLOURS["standard"]),
                                   ("certified", 0.2, COLOURS["linearised"])):  # fmt: skip
            axes.plot(row[key] / row["n"], y + shift, "o", color=colour, markersize=4, alpha=0.7)
    for label, colour in ((f"PSNR ≥ {GOOD_PSNR:g} dB", "held_out"), (f"within {NEAR}", "standard"),
                          ("certified", "linearised")):  # fmt: skip
        axes.plot([], [], "o", color=COLOURS[colour], label=label)
    axes.set_yticks(range(len(names)), names, fontsize=6)
    axes.set(xlabel="share of the training images", xlim=(-0.03, 1.03), ylim=(len(names) - 0.5, -0.5))
    figure.legend(fontsize=6, loc="outside lower center", ncols=3)
    return figure


def table(summary: Summary) -> Table:
    """Counts over draws."""

    def of(key: str) -> Any:
        return lambda rows: f"{sum(row[key] or 0 for row in rows)} of {sum(row['n'] for row in rows)}"

    columns = {"draws": count, f"within {NEAR}": of("near"), f"PSNR ≥ {GOOD_PSNR:g}": of("good")}
    columns |= {"certified": of("certified"), "of these within": of("certified_near")}
    columns |= {"held-out": each("held_out", ".1f"), "s": mean("seconds", ".0f")}
    keys = "title", "n", "network", "training"
    return tabulate("Exact recovery through convolutions", summary["rows"], keys, columns)


def _one_step(summary: Summary, task: str) -> list[Row]:
    return [row for row in where(summary["rows"], task=task, training="one step") if row["network"].endswith("-like")]


def _recovered(summary: Summary, task: str, key: str) -> Effect:
    rows = _one_step(summary, task)
    label = f"Share of the images recovered, {len(rows)} draws"
    return [share(label, average(rows, lambda row: row[key] / row["n"], (0.0, 1.0)))] if rows else []


def _in_time(summary: Summary) -> Effect:
    rows = [row for task in NAMES for row in _one_step(summary, task)]
    return [share(f"Draws attacked in under {SECONDS:g} s", share_of(rows, lambda row: row["seconds"] < SECONDS))]


def _right(summary: Summary) -> Effect:
    sure = [row for row in summary["rows"] if row["certified"]]
    right, certified = (sum(row[key] for row in sure) for key in ("certified_near", "certified"))
    label = f"Draws whose certificate is right ({right} of {certified} certified images within {NEAR})"
    return [share(label, certified_right(sure))] if sure else []


CLAIMS = (
    *(
        Claim(f"one-step-{task}",
              f"{NAMES[task]}: one gradient step through convolutions gives back at least {GOOD_SHARE:.0%} of the "
              f"images, {what}.",
              partial(_recovered, task=task, key=key), GOOD_SHARE, "one image in twenty")
        for task, key, what in ((MNIST, "near", f"within L2 {NEAR}"), (CIFAR, "good", f"at {GOOD_PSNR:g} dB"))
    ),
    Claim("convolutions-in-time", "It does so in two minutes.", _in_time, *MOST),
    Claim("convolutions-certified", f"In more than nine draws of ten {HONEST}.", _right, *MOST),
)  # fmt: skip
