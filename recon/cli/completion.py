"""What the shell completes after TAB. Names are read from files: importing what they stand for takes seconds."""

from collections.abc import Callable

from recon.errors import ReconError
from recon.registry import names


def one_of(*words: str) -> Callable[[], list[str]]:
    """Completes words that do not depend on anything."""
    return lambda: list(words)


def figures() -> list[str]:
    """Names of the checkout's figures; none outside of one."""
    from recon.benchmark import benchmarks, project_root

    try:
        return list(benchmarks(project_root()))
    except ReconError:
        return []


def tasks() -> list[str]:
    """Names of tasks."""
    return names("recon.tasks", "TASK")


def attacks() -> list[str]:
    """Names of attacks."""
    return names("recon.attacks", "ATTACK")


def audits() -> list[str]:
    """What `recon audit --attack` takes."""
    return ["auto", *attacks()]


def methods() -> list[str]:
    """Names of distillation methods."""
    return names("recon.distillation", "METHOD")


presets = one_of("quick", "full", "paper")
activations = one_of("relu", "leaky_relu", "gelu", "silu", "tanh", "elu", "softplus", "sigmoid")
dynamics = one_of("linearised", "standard", "descent", "momentum")
sources = one_of("auto", "tfds", "samples")
