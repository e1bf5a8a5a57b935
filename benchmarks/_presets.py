"""What presets share: names of tasks, training rules, the sizes that figures have in common."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from recon.cells import AttackCell
from recon.dynamics import Descent, Dynamics, GradientFlow, Linearised
from recon.networks import MLP

MNIST, CIFAR, MNIST10, CIFAR10 = "mnist_odd_even", "cifar10_animal_vehicle", "mnist_10way", "cifar10_10way"
NAMES = {MNIST: "MNIST", CIFAR: "CIFAR-10"}
RULES = ("linearised", "standard")

# The published training rule.
PAPER_RULE = Descent(learning_rate=4e-5, momentum=0.9)
# The loss to retrain to: test accuracy is that of a fitted network long before the attacked one's 1e-10.
FITTED = GradientFlow(loss=1e-4, tol=1e-2)
# How most figures train and attack, so that they compute the networks they share once: the published objective with its
# options, and the training rule for standard dynamics.
SETTINGS: dict[str, dict[str, Any]] = {
    "quick": {"attack": "ntk-fast", "options": (("steps", 800), ("snapshots", 20)), "standard": GradientFlow()},
    "full": {"attack": "ntk-fast", "options": (), "standard": GradientFlow()},
    "paper": {"attack": "ntk", "options": (), "standard": PAPER_RULE},
}


def presets(**own: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """`SETTINGS` by preset, with what a figure adds to each or has in its place."""
    return {name: {**SETTINGS[name], **settings} for name, settings in own.items()}


def rules(preset: Mapping[str, Any]) -> dict[str, Dynamics]:
    """A preset's training rules, by `RULES`."""
    return {"linearised": Linearised(), "standard": preset["standard"]}


def networks(sizes: Iterable[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    """(task, N, network, seed, ...) for each width and seed of (task, N, widths, seeds, ...)."""
    for task, n, widths, seeds, *more in sizes:
        for width in widths:
            for seed in seeds:
                yield task, n, MLP((width, width)), seed, *more


def cells_by_rule(preset: Mapping[str, Any]) -> list[AttackCell]:
    """Every network of (task, N, widths, seeds, rules), attacked as published."""
    return [
        AttackCell(task, n, network, rules(preset)[name], preset["attack"], preset["options"], seed=seed)
        for task, n, network, seed, names in networks(preset["networks"])
        for name in names
    ]


def attacks(preset: Mapping[str, Any], exact: bool) -> list[tuple[str, Any]]:
    """A preset's attack with its options; with `exact`, the exact recovery beside it."""
    return [(preset["attack"], preset["options"]), *([("exact", ())] if exact else [])]
