"""Averages of weights over training, as programs keep them beside the weights: exponential moving ones, SWA's."""

from collections import Counter, defaultdict
from collections.abc import Mapping

import numpy as np

from recon.weights.layout import Layout
from recon.weights.names import Shape, few, parts
from recon.weights.states import mirrored

# What they are called: by torch_ema, timm, Diffusers, ema-pytorch, PyTorch's AveragedModel and its users, Flax's users.
WORDS = (
    "ema", "ema_model", "model_ema", "ema_params", "params_ema", "ema_weights", "ema_state_dict", "state_dict_ema",
    "shadow", "shadow_params", "averaged_model", "swa_model", "avg_model", "ema_average", "average", "averages",
)  # fmt: skip
LISTS = ("shadow_params",)  # of torch_ema: arrays in the order of the weights, without their names
COUNTER = "n_averaged"  # of AveragedModel


def averages(shapes: Mapping[str, Shape]) -> set[str]:
    """Arrays that are an average of others, which stand under the same names elsewhere, or of all others in a list.

    A layer may be called `ema`, so that the word is not enough.
    """
    groups: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for name in shapes:
        own = parts(name)
        at = next((i for i, part in enumerate(own[:-1]) if part in WORDS), None)
        if at is not None:
            groups[own[: at + 1]].append(name)
    every = {name for names in groups.values() for name in names}
    rest = {name: shape for name, shape in shapes.items() if name not in every}
    found: set[str] = set()
    for path, names in groups.items():
        mine = {name: shapes[name] for name in names}
        listed = path[-1] in LISTS and not Counter(mine.values()) - Counter(rest.values())
        if sum(len(shape) == 2 for shape in mine.values()) > 1 and (listed or mirrored(path, names, rest | mine)):
            found |= mine.keys()
    return found


def said_of_averages(arrays: Mapping[str, np.ndarray], layout: Layout) -> str:
    """What to know of averages among final weights, a sentence; nothing where there are none."""
    taken = [name for name in layout.names if {*WORDS} & {*parts(name)}]
    beside = [name for name in layout.left_out if {*WORDS} & {*parts(name)}]
    if taken or (not beside and any(parts(name)[-1] == COUNTER for name in arrays)):
        return (
            f"The final weights ({few(taken or layout.names, 1)}) are an average over training: it changed as the "
            "weights did, but its outputs are not the trained network's."
        )
    return (
        f"Averages of the weights are in the file, too ({few(beside, 1)}); the weights themselves were audited."
        if beside
        else ""
    )
