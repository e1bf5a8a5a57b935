"""Foreign audits: networks that scikit-learn, PyTorch and federated averaging trained, audited from their files.

No figure of the paper. Networks of two hidden layers of 1,024 ReLU units on 60 MNIST digits, audited by the command
line from the files of arrays that their library writes: scikit-learn's MLPRegressor, full batch, without names;
PyTorch's default layers, and ten times the rate beside; a round of federated averaging, as the server sees one client's
weights after its local steps, and, beside it, the clients' average only.

    make reproduce-foreign                 quick: scikit-learn and federated averaging: three minutes, offline
    make reproduce-foreign PRESET=full     all five; PyTorch is no dependency: .venv/bin/pip install torch==2.13.0

Expected: the audit tells N, certifies all 60 images and is right, in seconds. Of the clients' average it is reported as
measured. Times are the whole command's, by the clock and by the processor; the machine's load before it stands beside.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks._estimates import average, share_of
from benchmarks._presets import MNIST
from benchmarks._rows import distinct, facts, where
from benchmarks._tables import Table, each, tabulate
from recon.cells.audit import EXACT, AuditCell
from recon.cells.foreign import FederatedAveraging, Foreign, ScikitLearn
from recon.cells.foreign_torch import Torch
from recon.claims import Claim, Effect, Summary, ratio, share
from recon.plots import COLOURS, Figure, new_figure
from recon.records import Stored
from recon.regression.measures import group_name

N, W, SECONDS = 60, 1024, 30.0
# Name, code that trains, images drawn (three clients share them), whether the claims are on it.
KINDS: tuple[tuple[str, Foreign, int, bool], ...] = (
    ("scikit-learn", ScikitLearn(W, loss=1e-4), N, True),
    ("PyTorch", Torch(W), N, True),
    ("PyTorch, ten times the rate", Torch(W, rate=1e-2), N, False),
    ("FedAvg, a client's update", FederatedAveraging(W), 3 * N, True),
    ("FedAvg, the clients' average", FederatedAveraging(W, average=True), N, False),
)
QUICK = ("scikit-learn", "FedAvg, a client's update", "FedAvg, the clients' average")
PRESETS: dict[str, dict[str, Any]] = {
    "quick": {"names": QUICK, "seeds": (0, 1, 2)},
    "full": {"names": tuple(name for name, *_ in KINDS), "seeds": (0, 1, 2)},
}
COLUMNS = {
    "N": ("n",), "N found": ("n_estimated",), "certified": ("certified",), "largest error": ("worst", ".0e"),
    "nearest held-out": ("held_out", ".1f"), "seconds": ("run", ".0f"), "of a core": ("processor", ".1f"),
    "load": ("load_before", ".0f"),
}  # fmt: skip
KIND_OF = {group_name(AuditCell(MNIST, n, code).settings()): (name, claimed) for name, code, n, claimed in KINDS}


def cells(preset: dict[str, Any]) -> list[AuditCell]:
    """A cell for each network."""
    return [
        AuditCell(MNIST, n, code, seed)
        for name, code, n, _ in KINDS
        if name in preset["names"]
        for seed in preset["seeds"]
    ]


def summarise(results: Sequence[Stored]) -> Summary:
    """A row for each network."""
    rows = []
    for record in (s.record for s in results):
        attack, train, held_out = record["attack"], record["scores"]["train"], record["scores"]["held_out"]
        name, claimed = KIND_OF.get(group_name(record["cell"]), (record["cell"]["setting"]["by"], True))
        n = attack["images"]
        rows.append(
            {
                "name": name,
                "claimed": claimed,
                **facts(record, "source", "draw", "seed"),
                "n": n,
                **{k: attack[k] for k in ("n_estimated", "certified")},
                **{k: train[k] for k in ("exact", "worst")},
                "held_out": held_out["nearest"],
                **{k: attack["seconds"][k] for k in ("run", "processor", "load_before")},
                "whole": attack["n_estimated"] == n == attack["certified"] == train["exact"],
            }
        )
    return {"rows": rows}


def plot(summary: Summary) -> Figure:
    """A line for each kind of network: images certified, and seconds of the command."""
    names = distinct(summary["rows"], "name")
    figure = new_figure(8.0, 1.2 + 0.3 * len(names))
    counts, times = figure.subplots(1, 2, sharey=True)
    for r in summary["rows"]:
        style = {"color": COLOURS["standard"] if r["claimed"] else "#888888", "markersize": 4}
        counts.plot(r["certified"] / r["n"], names.index(r["name"]), "o", **style)
        times.plot(r["run"], names.index(r["name"]), "o", **style)
    counts.set_yticks(range(len(names)), names, fontsize=7)
    counts.set(xlabel="share of training images certified", xlim=(-0.05, 1.05), ylim=(len(names) - 0.5, -0.5))
    times.axvline(SECONDS, color="#222222", linewidth=0.8)
    times.set(xlabel="seconds of the whole command; line: its bar", xlim=(0, None))
    return figure


def table(summary: Summary) -> Table:
    """A number for each network of a kind."""
    columns = {head: each(*of) for head, of in COLUMNS.items()}
    title = "Audits of networks that other code has trained, a number for each network"
    return tabulate(title, [r | {"network": r["name"]} for r in summary["rows"]], ("network",), columns)


def _whole(summary: Summary) -> Effect:
    mine = where(summary["rows"], claimed=True)
    label = f"Draws of images of which all {len(mine)} networks are given away whole"
    return [share(label, share_of(mine, lambda r: r["whole"]))] if mine else []


def _in_time(summary: Summary) -> Effect:
    mine = where(summary["rows"], claimed=True)
    found = average(mine, lambda r: float(np.log2(r["run"] / SECONDS)))
    return [ratio(f"Seconds of the command over {SECONDS:g}", found)] if mine else []


CLAIMS = (
    Claim("given-away-whole",
          f"The audit of a foreign network tells N, certifies all of its images, and all are within L2 {EXACT:g}: on "
          "most draws of images, whichever code trained.",
          _whole, 0.5, "most draws; three of each kind allow no more"),
    Claim("in-seconds", f"It takes less than {SECONDS:g} seconds.",
          _in_time, 0.0, "the limit itself", "below"),
)  # fmt: skip
