"""Figure J.1: convolutional networks.

The paper's appendix J.1 attacks convolutional networks with the same objective. The ones here are two 3 × 3
convolutions of stride 2 with ReLU and a dense layer, attacked by automatic differentiation.

    make reproduce-figJ1                 quick: N = 2 and 4, minutes, offline
    make reproduce-figJ1 PRESET=full     N = 10, channels up to 128 and 256, three draws: hours on two cores
    make reproduce-figJ1 PRESET=paper    N = 100, published schedule: a GPU's work

Expected: images come back under both dynamics where the network has many more weights than the training images have
pixels, less sharp than from an MLP at equal N. Every weight of Δθ is one equation for the pixels, and an MLP of equal
cost has many times the weights. Each task has its own verdicts, on the network with the most weights for each draw.
The widths and N of the paper's networks are not known here.

Beyond the paper: the exact recovery does not apply to 3 × 3 kernels, whose change spans all of their 9·in inputs after
a single image. It does to an embedding of disjoint patches (`exact-patches`), patch by patch; and to a hidden dense
layer behind the convolutions (`exact-features`), whose inputs it gives, and these their images, see `convolutions`.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

from benchmarks._estimates import A_TENTH, HONEST, MOST, certified_right, over
from benchmarks._panels import in_thirds, parts, show_pair
from benchmarks._presets import CIFAR, MNIST, NAMES, RULES, presets, rules
from benchmarks._rows import Row, curves, distinct, grouped, where
from benchmarks._tables import Table, certified, count, error, mean, tabulate
from recon.cells import NEAR, AttackCell
from recon.claims import Claim, Effect, Summary, ratio, share
from recon.networks import MLP, Network
from recon.networks.conv import CNN
from recon.networks.conv_dense import ConvDense
from recon.plots import COLOURS, LABELS, Axes, Figure, log_ticks, new_figure, shades, strips
from recon.records import Stored, attack_row

KINDS = {"ntk-autodiff": "CNN", "exact-patches": "patches", "exact-features": "features"}
WORDS = {"CNN": "3 × 3 kernels", "patches": "patches, exact", "features": "hidden dense layer, exact"}
MARKS = {"CNN": "o", "MLP": "s", "patches": "D", "features": "^"}
EACH = 4  # pictures from each end and from the middle of the ranking

# Convolutional networks as (task, N, channels, seeds); MLPs of two layers beside them, of the same draws, as (task, N,
# width, seeds); embeddings of disjoint patches as (task, N, channels, side, seeds); convolutions before a hidden dense
# layer as (task, N, channels, seeds).
PRESETS = presets(
    quick={
        # An image of CIFAR-10 has four times the pixels, hence half the images; ten take ten times the work.
        "convolutional": (
            (MNIST, 4, (64, 128), (0, 1, 2)),
            (MNIST, 4, (32, 64), (0,)),
            (CIFAR, 2, (64, 128), (0, 1, 2)),
            (CIFAR, 4, (64, 128), (0,)),
        ),
        "dense": ((MNIST, 4, 256, (0, 1, 2)), (CIFAR, 2, 256, (0, 1, 2))),
        "patches": ((MNIST, 10, 256, 14, (0, 1, 2)), (CIFAR, 10, 256, 16, (0,))),
        "features": ((MNIST, 10, (16, 32), (0, 1, 2)),),
        "options": (("steps", 500),),
    },
    full={
        "convolutional": tuple(
            (task, 10, widths, (0, 1, 2)) for task in (MNIST, CIFAR) for widths in ((32, 64), (64, 128), (128, 256))
        ),
        "dense": tuple((task, 10, 256, (0, 1, 2)) for task in (MNIST, CIFAR)),
        "patches": ((MNIST, 40, 1024, 14, (0, 1, 2)), (CIFAR, 40, 1024, 16, (0, 1, 2))),
        "features": ((MNIST, 20, (16, 32), (0, 1, 2)), (CIFAR, 10, (64, 256), (0, 1, 2))),
    },
    paper={
        "convolutional": tuple(
            (task, 100, widths, (0, 1, 2)) for task in (MNIST, CIFAR) for widths in ((256, 512), (512, 1024))
        ),
        "dense": tuple((task, 100, 1024, (0, 1, 2)) for task in (MNIST, CIFAR)),
        "patches": ((MNIST, 40, 1024, 14, (0, 1, 2)), (CIFAR, 100, 2048, 16, (0, 1, 2))),
        "features": ((MNIST, 40, (16, 32), (0, 1, 2)), (CIFAR, 20, (64, 256), (0, 1, 2))),
        "options": (("steps", 80_000), ("learning_rate", 0.02), ("decay", "constant"), ("duals", "free")),
    },
)


def cells(preset: dict[str, Any]) -> list[AttackCell]:
    """Every network under both dynamics."""
    sizes: list[tuple[str, int, Network, str, Any, tuple[int, ...]]] = [
        *((t, n, CNN(w), "ntk-autodiff", preset["options"], seeds) for t, n, w, seeds in preset["convolutional"]),
        *((t, n, MLP((w, w)), preset["attack"], preset["options"], seeds) for t, n, w, seeds in preset["dense"]),
        *((t, n, CNN((w,), patch=side), "exact-patches", (), seeds) for t, n, w, side, seeds in preset["patches"]),
        *((t, n, ConvDense(w), "exact-features", (), seeds) for t, n, w, seeds in preset["features"]),
    ]
    return [
        AttackCell(task, n, network, rule, attack, options, seed=seed)
        for task, n, network, attack, options, seeds in sizes
        for seed in seeds
        for rule in rules(preset).values()
    ]


def summarise(results: Sequence[Stored]) -> Summary:
    """A row for each cell, with its curves; pictures of all draws of the widest networks."""
    rows = []
    groups: dict[tuple[str, ...], list[Stored]] = {}
    for s in results:
        network, images = s.record["cell"]["network"], s.record["images"]
        near = np.array(images["distance"]) < NEAR
        sure = None if images["certified"] is None else np.array(images["certified"])
        r = attack_row(s.record) | {
            "kind": KINDS.get(s.record["cell"]["attack"], "MLP"),
            "network": ", ".join(map(str, network["widths"])),
            "weights_per_pixel": _weights(network, s.arrays["train"].shape[1:]) / s.arrays["train"].size,
            "near": int(near.sum()),
            "certified": None if sure is None else int(sure.sum()),
            "certified_near": None if sure is None else int((sure & near).sum()),
        }
        if r["kind"] == "patches":
            r["network"] += f" on {network['patch']} × {network['patch']}"
        rows.append(r | curves(s, curve="distance", curve_held_out="held_out", curve_start="start"))
        if r["kind"] != "MLP":
            groups.setdefault(tuple(r[k] for k in ("title", "kind", "dynamics", "n", "network", "width")), []).append(s)
    panels = []
    for place in dict.fromkeys(key[:3] for key in groups):
        # The widest network, of the number of images with most draws.
        key = max((k for k in groups if k[:3] == place), key=lambda k: (k[5], len(groups[k])))
        panels.append(dict(zip(("title", "kind", "dynamics", "n", "network"), key, strict=False)) | _panel(groups[key]))
    return {"rows": rows, "panels": panels}


def _panel(cells: Sequence[Stored]) -> dict[str, Any]:
    """Pictures of several draws, best first."""
    distance = np.concatenate([s.record["images"]["distance"] for s in cells])
    index = strips.choose(distance, EACH)
    shown = {
        name: np.concatenate([s.arrays[name] + np.array(s.record["data"]["mean"], np.float32) for s in cells])
        for name in ("train", "found")
    }
    pictures = {name: strips.encode(pixels[index]) for name, pixels in shown.items()}
    return {"thirds": in_thirds(index, EACH, len(distance)), "draws": len(cells)} | pictures


def _weights(settings: dict[str, Any], shape: tuple[int, ...]) -> int:
    """Number of weights of a network."""
    known = {"CNN": CNN, "MLP": MLP, "ConvDense": ConvDense}[settings["architecture"]]
    given = {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items() if k != "architecture"}
    network = known(**given)
    return sum(a.size for a in jax.tree.leaves(jax.eval_shape(lambda key: network.init(key, shape), jax.random.key(0))))


def plot(summary: Summary) -> Figure:
    """Pictures above, linearised dynamics on the left; below curves under either dynamics, and mean errors."""
    rows, panels = summary["rows"], summary["panels"]
    titles = distinct(panels, "title")
    places = list(grouped(sorted(panels, key=lambda p: titles.index(p["title"])), "title", "kind"))
    heights = 0.85 * len(places), 2.9 * len(titles)
    figure = new_figure(9.5, sum(heights))
    pictures, below = parts(figure, *heights)
    grid = pictures.subplots(len(places), 2, squeeze=False)
    for axes in grid.ravel():
        axes.set_axis_off()
    for p in panels:
        axes = grid[places.index((p["title"], p["kind"])), RULES.index(p["dynamics"])]
        axes.set_axis_on()
        what = WORDS[p["kind"]]
        draws = f"{p['draws']} draws of N = {p['n']}" if p["draws"] > 1 else f"N = {p['n']}"
        show_pair(axes, p, EACH, title=f"{p['title']}, {what}, {p['dynamics']}, {draws}", fontsize=6)
    for line, title in zip(below.subplots(len(titles), 3, squeeze=False), titles, strict=True):
        mine = where(rows, title=title)
        for axes, rule in zip(line, RULES, strict=False):
            _curves(axes, where(mine, dynamics=rule))
            axes.set_title(f"{title}, {rule}")
        _means(line[-1], mine)
    return figure


def _curves(axes: Axes, rows: list[Row]) -> None:
    """Curves of all draws, and their controls, of the number of images that most of them have."""
    sizes = [r["n"] for r in rows if r["kind"] == "CNN"]
    if not sizes:
        return
    n = max(sizes, key=sizes.count)
    rows, convolutional = where(rows, n=n), where(rows, n=n, kind="CNN")
    x = range(1, n + 1)
    for control in ("held_out", "start"):
        for i, r in enumerate(convolutional):
            style, label = "-" if control == "held_out" else ":", None if i else LABELS[control]
            axes.plot(x, r[f"curve_{control}"], style, color=COLOURS[control], linewidth=0.8, label=label)
    colours = shades(r["width"] for r in convolutional)
    styles = {"CNN": "o-", "MLP": "s:"}
    named = set()
    for r in (r for r in rows if r["kind"] in styles):
        name = f"{r['kind']} {r['network']}"
        colour = colours[r["width"]] if r["kind"] == "CNN" else "#444444"
        label = None if name in named else name
        axes.plot(x, r["curve"], styles[r["kind"]], markersize=3, linewidth=1, color=colour, label=label)
        named.add(name)
    axes.set(xlabel=f"training images of a draw, N = {n}, best first", ylabel="L2 distance", xticks=list(x))
    axes.set_ylim(0, 1.5 * max(max(r["curve_held_out"]) for r in convolutional))
    axes.legend(fontsize=6, loc="upper left", ncols=2)


def _means(axes: Axes, rows: list[Row]) -> None:
    """Mean error over that of held-out images, by weights for each pixel of the training set: a point for each draw."""
    for r in rows:
        mark = MARKS[r["kind"]]
        colour = COLOURS[r["dynamics"]]
        axes.plot(r["weights_per_pixel"], r["error"] / r["held_out"], mark, color=colour, markersize=4, alpha=0.7)
    for rule in RULES:
        axes.plot([], [], "o", markersize=4, color=COLOURS[rule], label=LABELS[rule])
    for kind, mark in MARKS.items():
        axes.plot([], [], mark, markersize=4, color="#444444", fillstyle="none", label=WORDS.get(kind, kind))
    axes.axhline(1, color=COLOURS["held_out"], linewidth=1)
    axes.set_xscale("log")
    log_ticks(axes.xaxis)
    axes.set(xlabel="weights for each pixel to recover", ylabel="mean error / held-out images'")
    axes.set_title("against the control, a point for each draw")
    axes.set_ylim(-0.05, max(2.2, 1.05 * max(r["error"] / r["held_out"] for r in rows)))
    axes.legend(fontsize=6, loc="upper right")


def table(summary: Summary) -> Table:
    """Mean error and controls by task, network, dynamics and attack, averaged over draws."""

    def near(rows: Sequence[Row]) -> str:
        return f"{sum(r['near'] for r in rows)} of {sum(r['n'] for r in rows)}"

    columns = {"mean L2": error, "draws": count, "held-out": mean("held_out"), "start": mean("start")}
    columns |= {"1 - cos(K0, Kf)": mean("kernel_distance"), "within 0.1": near, "certified": certified}
    rows = [
        r | {"network": f"{r['kind']} {r['network']}", "weights/pixel": f"{r['weights_per_pixel']:.2g}"}
        for r in summary["rows"]
    ]
    keys = ("title", "n", "network", "weights/pixel", "dynamics", "attack")
    return tabulate("Convolutional networks", rows, keys, columns | {"s": mean("seconds")})


def _against_held_out(summary: Summary, task: str, rule: str) -> Effect:
    mine = where(summary["rows"], task=task, dynamics=rule, kind="CNN")
    # The network with the most weights for each draw.
    widest = [max(rows, key=lambda r: r["weights_per_pixel"]) for rows in grouped(mine, "draw").values()]
    label = f"Held-out images' error over training images', {len(widest)} draws"
    return [ratio(label, over(widest, "held_out", "error"))]


def _draws_certified_right(summary: Summary, kind: str) -> Effect:
    sure = [r for r in summary["rows"] if r["kind"] == kind and r["certified"]]
    right, certified = (sum(r[k] for r in sure) for k in ("certified_near", "certified"))
    label = f"Draws whose certificate is right ({right} of {certified} certified images within {NEAR})"
    return [share(label, certified_right(sure))] if sure else []


CLAIMS = (
    *(
        Claim(f"convolutional-{rule}-{task}",
              f"{name}: convolutional networks give images back under {rule} dynamics: training images lie nearer to "
              "what the attack finds than held-out ones, by a tenth or more.",
              partial(_against_held_out, task=task, rule=rule), *A_TENTH)
        for task, name in NAMES.items()
        for rule in RULES
    ),
    *(
        Claim(f"{kind}-exact", f"Beyond the paper: from {what}, in more than nine draws of ten {HONEST}.",
              partial(_draws_certified_right, kind=kind), *MOST)
        for kind, what in (("patches", "an embedding of disjoint patches"),
                           ("features", "a hidden dense layer behind convolutions"))
    ),
)  # fmt: skip
