"""Certificate: how often what the audit vouches for is right, kind by kind of training.

No figure of the paper. Networks whose training leaves what the exact attack takes for granted (`recon.cells.kinds`);
plain ones, from tiny to small, of few units for each image; and patch embeddings, also of digits that were moved into a
corner each, so that they share blank patches. All on seeds that no threshold was chosen on, and each attacked with the
box of its pixels and without. The attack on plain layers is the audit's: the best of up to four searches.

    make reproduce-certificate                 quick: a draw of each kind on MNIST: five minutes, offline
    make reproduce-certificate PRESET=full     MNIST and CIFAR-10, three to six draws: an hour on a core

Expected: no false certificate; confidence of 0.9 and more is held to its word. An image counts by its nearest training
image; one that is vouched for up to its scale, by its best multiple. Of a flip-augmented network the flipped images
count, too. The images of one network share its errors, so that intervals are over networks.
"""

from collections.abc import Sequence
from functools import partial
from itertools import product
from typing import Any

import numpy as np

from benchmarks._estimates import area, share_of
from benchmarks._presets import CIFAR, MNIST
from benchmarks._rows import sources, where
from benchmarks._tables import Table
from recon.cells.certificate import CertificateCell
from recon.cells.kinds import KINDS, PATCHES, PLAIN, SHARED, SHORT
from recon.claims import Claim, Effect, Summary, share
from recon.plots import COLOURS, Figure, new_figure
from recon.records import Stored

WITHIN, CONFIDENT = 0.1, 0.9  # L2 distance of a right image, and the confidence that is held to its word
FIRST = 34_000  # seed
N, WIDTH, CHANNELS = 8, 128, 300  # of the kinds, and units of a patch embedding
# Hidden layers, images, units.
TINY = ((1, 10, 56), (1, 8, 40), (1, 12, 72), (2, 6, 32), (2, 8, 40), (2, 4, 24))
SMALL = ((2, 12, 64), (2, 16, 128), (2, 20, 80), (2, 20, 100), (2, 20, 120), (2, 30, 150))
RULES = {"linearised": (PLAIN, True), "flow": (PLAIN, False), "descent": (SHORT, False)}
EMBEDDINGS = {MNIST: (PATCHES, SHARED), CIFAR: (PATCHES,)}

# Draws of each kind (of patches twice as many) and of each size.
PRESETS: dict[str, dict[str, Any]] = {
    "quick": {"tasks": (MNIST,), "kinds": 1, "shapes": TINY[:2], "sizes": 1},
    "full": {"tasks": (MNIST, CIFAR), "kinds": 3, "shapes": (*TINY, *SMALL), "sizes": 5},
}


def cells(preset: dict[str, Any]) -> list[CertificateCell]:
    """A cell for each network."""
    tasks, kinds = preset["tasks"], range(FIRST, FIRST + preset["kinds"])
    made = [
        CertificateCell(task, N, kind.name, linearised, 2, WIDTH, seed)
        for kind, task, linearised, seed in product(KINDS, tasks, (True, False), kinds)
    ]
    made += [
        CertificateCell(task, n, kind, linearised, depth, width, seed)
        for seed, task, (kind, linearised), (depth, n, width) in product(
            range(FIRST, FIRST + preset["sizes"]), tasks, RULES.values(), preset["shapes"]
        )
    ]
    made += [
        CertificateCell(task, N, kind, linearised, 1, CHANNELS, seed)
        for task, linearised, seed in product(tasks, (True, False), range(FIRST, FIRST + 2 * preset["kinds"]))
        for kind in EMBEDDINGS[task]
    ]
    return made


def group_of(cell: dict[str, Any]) -> str:
    """A network's line in the table, from its cell's settings."""
    kind, linearised = cell["training"], cell["linearised"]
    rule = next((name for name, of in RULES.items() if of == (kind, linearised)), None)
    if rule is None:
        return str(kind)
    small = (cell["depth"], cell["n_train"], cell["width"]) in SMALL
    return f"{'small' if small else 'tiny'}, {rule}"


def summarise(results: Sequence[Stored]) -> Summary:
    """Counts of each network, with the box and without, and a line for each group of them."""
    networks, runs = list[dict[str, Any]](), list[dict[str, Any]]()
    for i, record in enumerate(s.record for s in results):
        cell = record["cell"]
        mine = [{"group": group_of(cell), "network": i, "n": cell["n_train"], **run} for run in record["runs"]]
        runs += mine
        networks.append({"group": group_of(cell), "source": record["data"]["source"], **counted(mine)})
    places = dict.fromkeys((box, run["group"]) for box in (True, False) for run in runs)
    lines = []
    for group, box in [(group, box) for box, group in places]:
        mine = where(runs, group=group, box=box)
        each = [counted([run]) for run in mine]
        lines.append(
            {
                "group": group,
                "box": box,
                "networks": len(mine),
                "images": sum(run["n"] for run in mine),
                **counted(mine),
                "certifying": sum(c["certified"] > 0 for c in each),
                "right_in_whole": sum(c["certified"] > 0 and not c["false"] for c in each),
                "auc": area(_joined(mine, "distance") < WITHIN, _joined(mine, "confidence")),
            }
        )
    return {"networks": networks, "lines": sorted(lines, key=lambda line: not line["box"]), "within": WITHIN}


def counted(runs: Sequence[dict[str, Any]]) -> dict[str, int]:
    """Images vouched for in some audits, and how many of them are wrong."""
    near, scaled = _joined(runs, "distance") < WITHIN, _joined(runs, "scaled_distance") < WITHIN
    certified, vouched = (_joined(runs, k).astype(bool) for k in ("certified", "up_to_scale"))
    confident = _joined(runs, "confidence") >= CONFIDENT
    return {
        "certified": int(certified.sum()),
        "false": int((certified & ~near).sum()),
        "up_to_scale": int((vouched & ~certified).sum()),
        "false_up_to_scale": int((vouched & ~scaled).sum()),
        "confident": int(confident.sum()),
        "confident_right": int((confident & near).sum()),
    }


def _joined(runs: Sequence[dict[str, Any]], key: str) -> np.ndarray:
    return np.array([value for run in runs for value in run[key]], float)


def plot(summary: Summary) -> Figure:
    """A line for each group: images certified, vouched for up to their scale, and the wrong ones among them."""
    lines = summary["lines"]
    figure = new_figure(9.0, 1.1 + 0.19 * len(lines) / 2)
    for axes, box in zip(figure.subplots(1, 2, sharex=True), (True, False), strict=True):
        mine = where(lines, box=box)
        for y, line in enumerate(mine):
            sure, more = line["certified"] / line["images"], line["up_to_scale"] / line["images"]
            axes.barh(y, sure, color=COLOURS["standard"], label=None if y else "certified")
            axes.barh(y, more, left=sure, color="#cccccc", label=None if y else "but for their size")
            wrong = (line["false"] + line["false_up_to_scale"]) / line["images"]
            if wrong:
                axes.plot(wrong, y, "x", color="#cc0000", label="wrong")
        names = [f"{line['group']} ({line['networks']})" for line in mine] if box else []
        axes.set_yticks(range(len(mine)), names or [""] * len(mine), fontsize=6)
        title = f"the box of the pixels is {'known' if box else 'not known'}"
        axes.set(title=title, xlabel="images, for each training image", ylim=(len(mine) - 0.5, -0.5))
    found = {label: handle for axes in figure.axes for handle, label in zip(*axes.get_legend_handles_labels())}
    figure.legend(found.values(), found.keys(), loc="outside lower center", ncols=3)
    return figure


def table(summary: Summary) -> Table:
    """A line for each group, with the box and without."""
    columns = ["training", "box", "networks", "images", "certified", "false", "up to scale", "false up to scale",
               "right in whole", "sure and right", "AUC"]  # fmt: skip
    keys = ("networks", "images", "certified", "false", "up_to_scale", "false_up_to_scale")
    rows = [
        [line["group"], "yes" if line["box"] else "no", *(str(line[k]) for k in keys),
         f"{line['right_in_whole']} of {line['certifying']}", f"{line['confident_right']} of {line['confident']}",
         "–" if line["auc"] is None else f"{line['auc']:.2f}"]
        for line in summary["lines"]
    ]  # fmt: skip
    source = sources(summary["networks"])
    within = f"false: farther than L2 {summary['within']} from every training image"
    return f"What a certificate is worth; {within} ({source})", columns, rows


def _networks(summary: Summary, certificate: str) -> list[dict[str, Any]]:
    """Those with a certificate of a sort; each is a draw of its own."""
    return [r | {"draw": i} for i, r in enumerate(summary["networks"]) if r[certificate]]


def _right(summary: Summary, certificate: str, label: str, wrong: str) -> Effect:
    """Of the networks with a certificate of a sort, those without a false one in either audit."""
    mine = _networks(summary, certificate)
    total, false = sum(r[certificate] for r in mine), sum(r[wrong] for r in mine)
    label = f"Networks right in whole ({false} of {total} {label} wrong)"
    return [share(label, share_of(mine, lambda r: not r[wrong]))] if mine else []


def _confident(summary: Summary) -> Effect:
    mine = _networks(summary, "confident")
    label = f"Networks right in all images of confidence {CONFIDENT:g} or more"
    return [share(label, share_of(mine, lambda r: r["confident"] == r["confident_right"]))] if mine else []


REASON = "one network in twenty with a false certificate is the most that an audit's reader could shrug off"
CLAIMS = (
    Claim("certificates-are-right",
          "Every certified image of a network is a training image, on at least nineteen networks in twenty.",
          partial(_right, certificate="certified", label="certified images", wrong="false"), 0.95, REASON),
    Claim("right-up-to-scale", "So is every image that is vouched for but for its size, at its best multiple.",
          partial(_right, certificate="up_to_scale", label="images vouched for but for their size",
                  wrong="false_up_to_scale"), 0.95, REASON),
    Claim("confidence-keeps-its-word",
          f"Every image of confidence {CONFIDENT:g} or more is a training image, on at least nine networks in ten.",
          _confident, CONFIDENT, "the confidence itself"),
)  # fmt: skip
