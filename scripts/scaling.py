"""What the paper's full grid costs on GPUs: writes the tables in docs/scaling.md from the records in results/.

    python scripts/scaling.py [--check]

The cells are those that the presets `paper` in benchmarks/ list, each setting once however many figures ask for it,
with ten seeds. FLOPs a step, times of gradient flow and seconds on a core come from stored records, carried to the
sizes of the paper by the rules that the page names. The speed of a GPU is an assumption.
"""

import argparse
import heapq
import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from recon.attacks import with_options
from recon.benchmark import benchmarks, project_root
from recon.distillation import with_options as with_method_options
from recon.publish import markdown_table
from recon.records import read_json

SEEDS, GPUS = 10, (1, 8, 64)
PEAK = 19.5e12  # FLOP/s of an A100 in float32, by its data sheet
SUSTAINED = (0.3, 0.15, 0.6)  # the part of it that cells are taken to reach: first the plan's, then for comparison
STEP = 2e-4  # seconds that a step takes at least on a GPU, however small: some forty kernels to launch
FEWEST = 40  # images: smaller cells spend their seconds on compiling, and their flows follow other laws
PASS = 6  # FLOPs of a training step for each image and weight: two products forward, four backward
# Pixels, channels, network outputs.
TASKS = {
    "mnist_odd_even": (784, 1, 1),
    "mnist_10way": (784, 1, 10),
    "cifar10_animal_vehicle": (1024, 3, 1),
    "cifar10_10way": (1024, 3, 10),
    "tiny_imagenet_animal_object": (4096, 3, 1),
    "tiny_imagenet_5way": (4096, 3, 5),
}
ON_A_CORE = ("exact", "exact-patches", "hybrid")  # float64 in small batches: a GPU would not help
# Rules that train by a few float64 products and factorisations, and whose stored seconds stand for them.
CLOSED = {"Linearised": "Linearised", "NoisedLinearised": "Linearised", "GradientFlow": "GradientFlow"}

Settings = Mapping[str, Any]


@dataclass
class Cost:
    """Of a cell: its steps on a GPU as (FLOPs a step, steps), and seconds on a core beside it."""

    steps: list[tuple[float, float]] = field(default_factory=list)
    core: float = 0.0

    def gpu(self, sustained: float = SUSTAINED[0]) -> float:
        """Seconds on a GPU."""
        return sum(n * max(flops / (sustained * PEAK), STEP) for flops, n in self.steps)


def weights(network: Settings, cell: Settings) -> float:
    """Multiplications of a forward pass for an image: an MLP's weights, those of a convolution at every position."""
    pixels, channels, outputs = TASKS[cell["task"]]
    pixels = cell.get("side", 0) ** 2 or pixels
    widths = list(network["widths"])
    if network.get("architecture") == "CNN":
        total, positions = 0.0, float(pixels)
        for before, after in pairwise([channels, *widths]):
            whole = network["patch"] is not None and not total  # disjoint patches see every pixel once
            positions /= (network["patch"] if whole else network["stride"]) ** 2
            total += positions * (network["patch"] if whole else network["size"]) ** 2 * before * after
        return total
    sizes = [pixels * channels, *widths, outputs]
    return float(sum(a * b for a, b in pairwise(sizes)))


def size(cell: Settings) -> float:
    """What the FLOPs of a step grow with: images × weights in an attack, pairs of images × pixels in a distillation."""
    options = cell["options"]
    if cell["kind"] == "distillation":
        pixels, channels, outputs = TASKS[cell["task"]]
        small = cell["n_per_class"] * max(2, outputs)
        finite = options.get("network")
        return small * (weights(finite, cell) if finite else cell["n_train"] * pixels * channels)
    images = options.get("batch", max(1, round(cell["m_ratio"] * cell["n_train"])))
    return float(images * len(options.get("points", (1.0,))) * weights(cell["network"], cell))


@dataclass(frozen=True)
class Law:
    """A product of powers, fitted to measurements by least squares in the logarithms.

    Attributes:
      powers: of each quantity; last the logarithm of the factor.
      misses: typical factor by which it misses a measurement.
      n: measurements.
    """

    powers: np.ndarray
    misses: float
    n: int

    @classmethod
    def fitted(cls, rows: Sequence[tuple[tuple[float, ...], float]]) -> "Law":
        """The law of rows (quantities, value)."""
        x = np.array([[*np.log(quantities), 1.0] for quantities, _ in rows])
        y = np.log([value for _, value in rows])
        powers = np.linalg.lstsq(x, y, rcond=None)[0]
        return cls(powers, float(np.exp(np.sqrt(np.mean((x @ powers - y) ** 2)))), len(rows))

    def __call__(self, *quantities: float) -> float:
        """Its value."""
        return float(np.exp(np.array([*np.log(quantities), 1.0]) @ self.powers))


@dataclass(frozen=True)
class Measured:
    """What the stored cells tell.

    Attributes:
      per_step: by attack or method, FLOPs of a step over `size`, at the largest stored size, and that cell.
      flow: time of gradient flow to a loss of 1e-10, by images and width.
      closed: seconds of training in closed form and by gradient flow, by images and weights.
      exact: seconds of the exact attack, by images and weights.
      patches: how many times as long it takes by patches.
      other: by attack or kind, seconds over images, weights and steps, where no FLOPs are stored.
      speed: FLOP/s of the core that all seconds were measured on, in the published attack.
    """

    per_step: dict[str, tuple[float, Settings]]
    flow: Law
    closed: dict[str, Law]
    exact: Law
    patches: float
    other: dict[str, float]
    speed: float


def measured(results: Path) -> Measured:
    """Read the records of all figures."""
    files = sorted(results.glob("*/*-tfds.json"))
    found = [c for f in files if f.parent.name != "baselines" for c in read_json(f)["cells"]]
    cells = [c for c in found if "set" in c or "attack" in c]  # others stand for no run of the paper's grid
    largest: dict[str, tuple[float, float, Settings]] = {}
    flow, closed, exact = {}, defaultdict(list), defaultdict(list)
    other, speed = defaultdict(list), []
    for made in cells:
        cell, training = made["cell"], made.get("training", {})
        ran = made.get("set") or made["attack"]
        name, work = cell.get("attack") or cell.get("method") or cell["kind"], ran.get("work", {})
        if work.get("flops_per_step") and not cell["options"].get("span"):
            largest[name] = max(
                largest.get(name, (0.0, 0.0, {})), (size(cell), work["flops_per_step"], cell), key=first
            )
            if name == "ntk":
                speed.append(work["flops"] / ran["seconds"]["run"])
        if cell["kind"] == "noised-state":
            other[name].append(made["seconds"] / (cell["n_train"] ** 2 * cell["steps"]))
        if "network" not in cell:
            continue
        many = cell["n_train"], weights(cell["network"], cell)
        rule, large = cell["dynamics"], cell["n_train"] >= FEWEST
        if large and rule["rule"] in CLOSED.values() and training["seconds"]:
            closed[rule["rule"]].append((many, training["seconds"]))
        if large and rule["rule"] == "GradientFlow" and rule["loss"] == 1e-10:
            of = json.dumps([cell["task"], cell["network"], cell["n_train"], cell["seed"], cell.get("side")])
            flow[of] = (cell["n_train"], cell["network"]["widths"][0]), training["time"]
        if name in ("exact", "exact-patches") and (large or name != "exact"):
            exact[name].append((many, ran["seconds"]["run"]))
        if name == "dlg":
            other[name].append(ran["seconds"]["run"] / (many[0] * many[1] * ran["steps"]))
    law = Law.fitted(exact["exact"])
    return Measured(
        per_step={name: (flops / of, cell) for name, (of, flops, cell) in largest.items()},
        flow=Law.fitted(list(flow.values())),
        closed={rule: Law.fitted(rows) for rule, rows in closed.items()},
        exact=law,
        patches=median(seconds / law(*many) for many, seconds in exact["exact-patches"]),
        other={name: median(values) for name, values in other.items()},
        speed=median(speed),
    )


def first(row: tuple[Any, ...]) -> Any:
    return row[0]


def training(known: Measured, rule: Settings, n: float, network: Settings, cell: Settings) -> tuple[float, float]:
    """(FLOPs a step, steps) of training n images."""
    many = n, weights(network, cell)
    if rule["rule"] in CLOSED:
        return known.closed[CLOSED[rule["rule"]]](*many) * known.speed, 1
    steps = rule.get("steps") or min(rule["max_steps"], descent_steps(known, rule, n, network))
    return PASS * many[0] * many[1], steps


def descent_steps(known: Measured, rule: Settings, n: float, network: Settings) -> float:
    """Steps that descent needs for the way of gradient flow; as many as it may take where its rate is not set."""
    if not rule.get("learning_rate"):
        return float(rule["max_steps"])
    return known.flow(n, network["widths"][0]) * (1 - rule["momentum"]) / rule["learning_rate"]


def trainings(known: Measured, cell: Settings) -> Iterator[tuple[float, float]]:
    """All trainings of a cell."""
    if cell["kind"] == "distillation":
        n = cell["n_train"] if cell["method"] == "all" else cell["n_per_class"] * max(2, TASKS[cell["task"]][2])
        for net in cell["networks"]:
            yield training(known, net["dynamics"], n, net["network"], cell)
        if "network" in cell["options"]:
            yield training(known, cell["options"]["dynamics"], cell["n_train"], cell["options"]["network"], cell)
    if "network" not in cell:
        return
    yield training(known, cell["dynamics"], cell["n_train"], cell["network"], cell)
    if cell["kind"] == "pruning":  # five orders, some of them reversed too, and random ones, at each size
        for kept in cell["kept"]:
            flops, steps = training(known, cell["retrain"], kept * cell["n_train"], cell["network"], cell)
            yield flops, steps * (5 + len(cell["reverse"]) + cell["draws"])
    if cell["kind"] == "finetune" and cell["n_public"]:
        yield training(known, cell["pretraining"], cell["n_public"], cell["network"], cell)


def cost(known: Measured, cell: Settings) -> Cost:
    """What a cell takes."""
    spent = Cost(list(trainings(known, cell)))
    if cell["kind"] == "distillation":
        if cell["method"] in known.per_step:
            settings = with_method_options(cell["method"], dict(cell["options"]))[1]
            inner = cell["options"].get("options")  # of the attack that rkip-finite distils by
            schedule = getattr(settings, "schedule", settings) if inner is None else with_options("ntk", inner)[1]
            spent.steps.append((known.per_step[cell["method"]][0] * size(cell), schedule.steps))
        return spent
    if cell["kind"] == "noised-state":
        spent.steps.append((known.other[cell["kind"]] * cell["n_train"] ** 2 * known.speed, cell["steps"]))
        return spent
    name = cell["attack"]
    many = cell["n_train"], weights(cell["network"], cell)
    steps = getattr(with_options(name, dict(cell["options"]))[1], "steps", 0)
    if name in ON_A_CORE:
        slower = known.patches if name == "exact-patches" else 1.0
        spent.core = min(slower * known.exact(*many), cell["options"].get("seconds", float("inf")))
    if name == "dlg":
        spent.steps.append((known.other[name] * many[0] * many[1] * known.speed, steps))
    elif name == "hybrid" or name not in ON_A_CORE:
        spent.steps.append((known.per_step["ntk-fast" if name == "hybrid" else name][0] * size(cell), steps))
    return spent


def grid(root: Path) -> dict[str, dict[str, Settings]]:
    """Each figure's settings under the preset `paper`, by themselves without seeds."""

    def seedless(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {k: seedless(v) for k, v in value.items() if k != "seed"}
        return [seedless(v) for v in value] if isinstance(value, list | tuple) else value

    def keyed(cells: Sequence[Any]) -> dict[str, Settings]:
        plain = [seedless(c.settings()) for c in cells]
        return {json.dumps(settings, sort_keys=True): settings for settings in plain}

    known = {name: figure for name, figure in benchmarks(root).items() if "paper" in figure.module().PRESETS}
    return {name: keyed(figure.cells("paper")) for name, figure in known.items()}


def packed(seconds: Sequence[float], machines: int) -> float:
    """Seconds until the last machine is done, if each takes the longest cell that is left when it is free."""
    ends = [0.0] * machines
    for took in sorted(seconds, reverse=True):
        heapq.heappush(ends, heapq.heappop(ends) + took)
    return max(ends)


def tables(root: Path) -> dict[str, str]:
    """The page's tables, by the names in its marks."""
    known, figures = measured(root / "results"), grid(root)
    every = {key: cell for cells in figures.values() for key, cell in cells.items()}
    costs: dict[str, Cost] = {}
    rows = []
    for name, cells in figures.items():
        new = [key for key in cells if key not in costs]
        costs |= {key: cost(known, every[key]) for key in new}
        of = [costs[key] for key in cells]
        rows.append(
            [
                name,
                str(SEEDS * len(cells)),
                str(SEEDS * len(new)),
                hours(SEEDS * sum(costs[key].gpu() for key in new)),
                hours(max((c.gpu() for c in of), default=0.0)),
                hours(SEEDS * sum(costs[key].core for key in new)),
            ]
        )
    gpu = {part: [c.gpu(part) for c in costs.values() for _ in range(SEEDS) if c.steps] for part in SUSTAINED}
    core = SEEDS * sum(c.core for c in costs.values())
    flops = SEEDS * sum(f * n for c in costs.values() for f, n in c.steps)
    seconds = gpu[SUSTAINED[0]]
    least = [max(sum(seconds) / n, max(seconds)) for n in GPUS]
    plan = [
        [str(n), days(packed(seconds, n)), days(low), *(days(packed(gpu[part], n)) for part in SUSTAINED[1:])]
        for n, low in zip(GPUS, least, strict=True)
    ]
    descents = [c for c in every.values() if c.get("dynamics", {}).get("rule") == "Descent"]
    over = sum(
        descent_steps(known, c["dynamics"], c["n_train"], c["network"]) > c["dynamics"]["max_steps"] for c in descents
    )
    heads = ["figure", "cells", "not in a figure above", "GPU hours of these", "longest cell, GPU hours"]
    per_step = [
        [name, f"{c:.1f}", f"N = {cell['n_train']}, {of_network(cell)}, {cell['task']}"]
        for name, (c, cell) in sorted(known.per_step.items())
    ]
    laws = {"time of gradient flow to loss 1e-10": known.flow}
    laws |= {f"seconds of training, {rule}": law for rule, law in sorted(known.closed.items())}
    laws |= {"seconds of `exact`": known.exact}
    return {
        "plan": markdown_table(
            ["GPUs", "days", "no packing takes less than", *(f"days at {part:.0%}" for part in SUSTAINED[1:])], plan
        ),
        "sum": f"In all {SEEDS * len(costs):,} cells, {flops:.2g} FLOPs, {sum(seconds) / 3600:,.0f} GPU hours and, "
        f"beside them, {core / 3600:,.0f} hours of a core. The longest cell takes {max(seconds) / 3600:.1f} GPU hours. "
        f"{SEEDS * over:,} cells would need more steps of training than `Descent` takes before it gives up, by the law "
        "of its times; they are counted with that many.",
        "figures": markdown_table([*heads, "core hours"], rows),
        "steps": markdown_table(["attack or method", "FLOPs / size", "measured at"], per_step),
        "laws": markdown_table(
            ["quantity", "measurements", "power of N", "power of W or of the weights", "misses by a factor of"],
            [
                [name, str(law.n), f"{law.powers[0]:.2f}", f"{law.powers[1]:.2f}", f"{law.misses:.1f}"]
                for name, law in laws.items()
            ],
        ),
        "speed": f"The core that all seconds were measured on does {known.speed / 1e9:.0f} GFLOP/s in the published "
        "attack, the median of the stored runs; the GPU is taken to be "
        f"{SUSTAINED[0] * PEAK / known.speed:.0f} times as fast.",
    }


def hours(seconds: float) -> str:
    return f"{seconds / 3600:,.1f}"


def days(seconds: float) -> str:
    return f"{seconds / 86400:,.1f}"


def of_network(cell: Settings) -> str:
    """A stored cell's widths, or that it has none."""
    network = cell.get("network") or cell["options"].get("network")
    return "W = " + "×".join(map(str, network["widths"])) if network else "infinite width"


def written(text: str, made: Mapping[str, str]) -> str:
    """The page with what stands between its marks replaced."""
    for name, table in made.items():
        start, end = f"<!-- {name}: written by scripts/scaling.py -->", f"<!-- /{name} -->"
        before, rest = text.split(start)
        text = f"{before}{start}\n\n{table}\n\n{end}{rest.split(end)[1]}"
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="only say whether the page is that of the records")
    parser.add_argument("--root", type=Path, default=project_root())
    args = parser.parse_args()
    page = args.root / "docs" / "scaling.md"
    text = page.read_text(encoding="utf-8")
    wanted = written(text, tables(args.root))
    if args.check:
        sys.exit(None if wanted == text else f"{page} differs from the records in results/: run `make scaling`.")
    page.write_text(wanted, encoding="utf-8")


if __name__ == "__main__":
    main()
