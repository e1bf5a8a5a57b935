"""How figures 2 to 5 train and attack at each preset: said once, so that they compute the networks they share once."""

from collections.abc import Mapping
from typing import Any

from recon.dynamics import Descent, GradientFlow

# The published objective with its options, and the training rule for standard dynamics.
SETTINGS: dict[str, dict[str, Any]] = {
    "quick": {"attack": "ntk-fast", "options": (("steps", 800), ("snapshots", 20)), "standard": GradientFlow()},
    "full": {"attack": "ntk-fast", "options": (), "standard": GradientFlow()},
    "paper": {"attack": "ntk", "options": (), "standard": Descent(learning_rate=4e-5, momentum=0.9)},
}


def attacks(preset: Mapping[str, Any], exact: bool) -> list[tuple[str, Any]]:
    """A preset's attack with its options; with `exact`, the exact recovery beside it."""
    return [(preset["attack"], preset["options"]), *([("exact", ())] if exact else [])]
