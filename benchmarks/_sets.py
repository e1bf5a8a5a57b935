"""The sets of table 1 and figure 8 at each preset: said once, so that they compute them once."""

from collections.abc import Mapping
from typing import Any

from benchmarks._presets import CIFAR, CIFAR10, FITTED, MNIST, MNIST10, PAPER_RULE
from recon.cells.distillation import DistillationCell
from recon.dynamics import Descent, Dynamics, Linearised
from recon.networks import MLP

DISTILLED = ("kip", "kip-held-out", "rkip", "rkip-finite")
LABELS = {
    "all": "all images",
    "random": "random",
    "k-means": "k-means",
    "largest-alpha": "largest |α|",
    "kip": "KIP",
    "kip-held-out": "KIP, held-out",
    "rkip": "RKIP",
    "rkip-finite": "RKIP-finite",
}
SETS = tuple(LABELS)
# Images × outputs up to which all images are trained on by gradient flow: each of its steps decomposes a kernel of that
# size. Above, RKIP-finite attacks linearised dynamics, and all images are not scored under standard ones.
LARGEST = 1000

# Tasks as (name, N, images a class, seeds); widths of the networks scored on and of RKIP-finite's attacked one.
PRESETS: dict[str, dict[str, Any]] = {
    "quick": {
        # Ten of the 20 package pictures of CIFAR-10 can be distilled; of its ten classes that would leave one each.
        "tasks": ((MNIST, 500, 10, (0, 1, 2)), (CIFAR, 10, 2, (0, 1, 2)), (MNIST10, 100, 2, (0,))),
        "width": 512,
        "attacked": 512,
        "standard": FITTED,
        "optimiser": "fast",
        "attack": (("steps", 1000),),
    },
    # Fewer seeds of the 10-way tasks and half the attack's own steps, to come nearer to an hour on two cores: a set of
    # 20 random images took 45 (MNIST) and 59 (CIFAR-10) seconds of a core. The whole preset has not been timed.
    "full": {
        "tasks": (
            (MNIST, 500, 10, (0, 1, 2)),
            (CIFAR, 500, 10, (0, 1, 2)),
            (MNIST10, 500, 2, (0, 1)),
            (CIFAR10, 500, 2, (0, 1)),
        ),
        "width": 4096,
        "attacked": 1024,
        "standard": FITTED,
        "optimiser": "fast",
        "attack": (("steps", 1000),),
    },
    "paper": {
        "tasks": tuple(
            (task, 500, each, (0, 1, 2)) for task, each in ((MNIST, 10), (CIFAR, 10), (MNIST10, 2), (CIFAR10, 2))
        ),
        "width": 4096,
        "attacked": 4096,
        "standard": PAPER_RULE,
        "optimiser": "adam",
        "attack": (),
    },
}


def distilled(preset: Mapping[str, Any], sets: tuple[str, ...] = SETS) -> list[DistillationCell]:
    """A cell for each task, seed and set."""
    return [
        _cell(preset, name, task, n, each, seed)
        for task, n, each, seeds in preset["tasks"]
        for seed in seeds
        for name in sets
    ]


def _cell(preset: Mapping[str, Any], name: str, task: str, n: int, each: int, seed: int) -> DistillationCell:
    standard: Dynamics = preset["standard"]
    small = n * (10 if task.endswith("10way") else 1) <= LARGEST or isinstance(standard, Descent)
    network = MLP((preset["width"],) * 2)
    networks: tuple[tuple[str, MLP, Dynamics], ...] = (("linearised", network, Linearised()),)
    if small or name != "all":
        networks = (*networks, ("standard", network, standard))
    options: tuple[tuple[str, Any], ...] = ()
    if name == "rkip-finite":
        options = (
            ("network", MLP((preset["attacked"],) * 2)),
            ("dynamics", standard if small else Linearised()),
            ("optimiser", preset["optimiser"]),
            ("options", preset["attack"]),
        )
    elif name in DISTILLED:
        options = (("optimiser", preset["optimiser"]),)
        options += (("select", "held_out"),) if name == "kip-held-out" else ()
    method = name.removesuffix("-held-out")
    return DistillationCell(task, n, each, method, options, networks, seed)


def name_of(record: Mapping[str, Any]) -> str:
    """Which of `SETS` a cell's record is of."""
    cell = record["cell"]
    held_out = cell["options"].get("select") == "held_out"
    return f"{cell['method']}-held-out" if held_out else str(cell["method"])
