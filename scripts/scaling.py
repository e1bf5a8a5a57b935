"""What the paper's full grid costs on GPUs: the tables in docs/scaling.md.

The cells are those that the presets `paper` in benchmarks/ list, each setting once however many figures ask for it,
with ten seeds. FLOPs a step and times of gradient flow come from stored records, carried to the sizes of the paper by
the rules that the page names. The speed of a GPU is an assumption.
"""

import heapq
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from recon.attacks import with_options
from recon.benchmark import benchmarks, project_root
from recon.distillation import with_options as with_method_options
from recon.publish import markdown_table
from recon.records import read_json

SEEDS, GPUS = 10, (1, 8, 64)
PEAK = 19.5e12  # FLOP/s of an A100 in float32, by its data sheet
SUSTAINED = (0.3, 0.15, 0.6)  # the part of it that cells are taken to reach: first the plan's, then for comparison
STEP = 2e-4  # seconds that a step takes at least on a GPU, however small: some forty kernels to launch
FEWEST = 40  # images: flows of fewer follow other laws
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
CLOSED = ("Linearised", "NoisedLinearised", "GradientFlow")  # train in seconds, by some products and factorisations

Settings = Mapping[str, Any]
Steps = Sequence[tuple[float, float]]
"""Of a cell: FLOPs of a step and number of such steps, of each training and attack in it."""


def gpu_seconds(steps: Steps, sustained: float = SUSTAINED[0]) -> float:
    """Seconds on a GPU."""
    return sum(n * max(flops / (sustained * PEAK), STEP) for flops, n in steps)


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
class Measured:
    """What the stored cells tell.

    Attributes:
      per_step: by attack or method, FLOPs of a step over `size`, at the largest stored size, and that cell.
      flow: time of gradient flow to a loss of 1e-10 over the number of images, their median.
    """

    per_step: dict[str, tuple[float, Settings]]
    flow: float


def measured(results: Path) -> Measured:
    """Read the records of all figures."""
    files = sorted(results.glob("*/*-tfds.json"))
    cells = [c for f in files if f.parent.name != "baselines" for c in read_json(f)["cells"]]
    largest: dict[str, tuple[float, float, Settings]] = {}
    flows = {}
    for made in cells:
        ran, cell = made.get("set") or made.get("attack", {}), made["cell"]
        flops = ran.get("work", {}).get("flops_per_step")
        if flops and not cell["options"].get("span"):
            name = cell.get("attack") or cell["method"]
            largest[name] = max(largest.get(name, (0.0, 0.0, {})), (size(cell), flops, cell), key=lambda row: row[0])
        rule = cell.get("dynamics", {})
        if rule.get("rule") == "GradientFlow" and rule["loss"] == 1e-10 and cell["n_train"] >= FEWEST:
            network = json.dumps([cell["task"], cell["network"], cell["n_train"], cell["seed"], cell.get("side")])
            flows[network] = made["training"]["time"] / cell["n_train"]
    return Measured({name: (flops / of, cell) for name, (of, flops, cell) in largest.items()}, median(flows.values()))


def training(known: Measured, rule: Settings, n: float, network: Settings, cell: Settings) -> tuple[float, float]:
    """(FLOPs a step, steps) of training n images."""
    if rule["rule"] in CLOSED:
        return 0.0, 0.0
    steps = rule.get("steps") or min(rule["max_steps"], descent_steps(known, rule, n))
    return PASS * n * weights(network, cell), steps


def descent_steps(known: Measured, rule: Settings, n: float) -> float:
    """Steps that descent needs for the way of gradient flow; as many as it may take where its rate is not set."""
    if not rule.get("learning_rate"):
        return float(rule["max_steps"])
    return known.flow * n * (1 - rule["momentum"]) / rule["learning_rate"]


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


def cost(known: Measured, cell: Settings) -> Steps:
    """What a cell takes."""
    steps, options = list(trainings(known, cell)), dict(cell.get("options", {}))
    name = cell.get("attack") or cell.get("method")
    measured_as = "ntk-fast" if name == "hybrid" else name
    if measured_as not in known.per_step:
        return steps
    if "attack" in cell or "options" in options:  # those of the attack that rkip-finite distils by
        settings = with_options(cell.get("attack", "ntk"), options.get("options", options))[1]
    else:
        settings = with_method_options(name, options)[1]
    schedule = getattr(settings, "schedule", settings)
    return [*steps, (known.per_step[measured_as][0] * size(cell), schedule.steps)]


def grid() -> dict[str, dict[str, Settings]]:
    """Each figure's settings under the preset `paper`, by themselves without seeds."""

    def seedless(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {k: seedless(v) for k, v in value.items() if k != "seed"}
        return [seedless(v) for v in value] if isinstance(value, list | tuple) else value

    def keyed(cells: Sequence[Any]) -> dict[str, Settings]:
        plain = [seedless(c.settings()) for c in cells]
        return {json.dumps(settings, sort_keys=True): settings for settings in plain}

    known = {name: figure for name, figure in benchmarks(project_root()).items() if "paper" in figure.module().PRESETS}
    return {name: keyed(figure.cells("paper")) for name, figure in known.items()}


def packed(seconds: Sequence[float], machines: int) -> float:
    """Seconds until the last machine is done, if each takes the longest cell that is left when it is free."""
    ends = [0.0] * machines
    for took in sorted(seconds, reverse=True):
        heapq.heappush(ends, heapq.heappop(ends) + took)
    return max(ends)


def tables(results: Path) -> dict[str, str]:
    """The page's tables, by the names in its marks."""
    known, figures = measured(results), grid()
    every = {key: cell for cells in figures.values() for key, cell in cells.items()}
    costs = {key: cost(known, cell) for key, cell in every.items()}
    rows, counted = [], set[str]()
    for name, cells in figures.items():
        new = cells.keys() - counted
        counted |= new
        spent = SEEDS * sum(gpu_seconds(costs[key]) for key in new)
        longest = max((gpu_seconds(costs[key]) for key in cells), default=0.0)
        rows.append([name, str(SEEDS * len(cells)), str(SEEDS * len(new)), hours(spent), hours(longest)])
    gpu = {part: SEEDS * [gpu_seconds(c, part) for c in costs.values() if c] for part in SUSTAINED}
    seconds = gpu[SUSTAINED[0]]
    least = [max(sum(seconds) / n, max(seconds)) for n in GPUS]
    plan = [
        [str(n), days(packed(seconds, n)), days(low), *(days(packed(gpu[part], n)) for part in SUSTAINED[1:])]
        for n, low in zip(GPUS, least, strict=True)
    ]
    descents = [(c["dynamics"], c["n_train"]) for c in every.values() if c.get("dynamics", {}).get("rule") == "Descent"]
    over = sum(descent_steps(known, rule, n) > rule["max_steps"] for rule, n in descents)
    per_step = [
        [name, f"{c:.1f}", f"N = {cell['n_train']}, {of_network(cell)}, {cell['task']}"]
        for name, (c, cell) in sorted(known.per_step.items())
    ]
    flops = SEEDS * sum(f * n for c in costs.values() for f, n in c)
    return {
        "plan": markdown_table(
            ["GPUs", "days", "least possible", *(f"days at {part:.0%}" for part in SUSTAINED[1:])], plan
        ),
        "sum": f"In all {SEEDS * len(costs):,} cells, {flops:.2g} FLOPs, {sum(seconds) / 3600:,.0f} GPU hours. The "
        f"longest cell takes {max(seconds) / 3600:.1f} GPU hours. {SEEDS * over:,} cells would need more "
        "training steps than `Descent` allows; they are counted with the most that it allows.",
        "figures": markdown_table(
            ["figure", "cells", "not in a figure above", "GPU hours of these", "longest cell, GPU hours"], rows
        ),
        "steps": markdown_table(["attack or method", "FLOPs / size", "measured at"], per_step),
    }


def hours(seconds: float) -> str:
    return f"{seconds / 3600:,.1f}"


def days(seconds: float) -> str:
    return f"{seconds / 86400:,.1f}"


def of_network(cell: Settings) -> str:
    """A stored cell's widths, or that it has none."""
    network = cell.get("network") or cell["options"].get("network")
    return "W = " + "×".join(map(str, network["widths"])) if network else "infinite width"
