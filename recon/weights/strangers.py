"""What stands beside plain layers and changes what they compute: adapters, reparametrised kernels, normalisations."""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from recon.errors import ReconError
from recon.weights.names import BIAS, COLLECTIONS, Shape, called, module, natural, parts

# Of PEFT, LoRA's own library, Diffusers and Keras: low-rank and other small changes of layers that stay as they are.
ADAPTER = re.compile(
    r"(lora|loha|hada|lokr|oft|boft|ia3|vera|dora|fourierft|adapters?|prompt_(encoder|embeddings))([_A-Z].*)?"
)
SCALE_OF = re.compile(r"(weight|kernel)_scale(_inv|_\d)?|scale_weight")  # of FP8 and integers
RECURRENT = re.compile(r"weight_h[hr](_l\d+.*)?|recurrent_kernel")  # of PyTorch and Keras
# Sets of a module's last words, by what they tell of its kernel, with what brings it back.
REPARAMETRISED = (
    ({"weight_g", "weight_v"}, "weight normalisation", "torch.nn.utils.remove_weight_norm"),
    ({"weight_orig", "weight_mask"}, "pruning", "torch.nn.utils.prune.remove"),
    ({"weight_orig", "weight_u"}, "spectral normalisation", "torch.nn.utils.remove_spectral_norm"),
)
SCALE, SHIFT = ("gamma", "scale", "alpha"), ("beta", "offset", "shift")
MEAN, VARIANCE = ("mean",), ("var", "variance")
SLOPE = ("negative_slope", "alpha")
LOSS = re.compile(r"(criterion|loss|class_weight|pos_weight).*|.*_loss", re.IGNORECASE)  # weights of classes
IDENTICAL = {"scale": 1.0, "shift": 0.0, "mean": 0.0, "variance": 1.0}  # of a normalisation that does nothing,
IDENTITY = 1e-5  # to such a deviation: PyTorch's eps, which is added to a variance
DEFAULT_SLOPE = 0.25  # of PReLU, before training


def refuse_adapters(names: Iterable[str], where: str) -> None:
    """Refuse adapters, with or without the layers that they change."""
    for name in names:
        if any(ADAPTER.fullmatch(part) for part in parts(name)):
            raise ReconError(
                f"{where} holds an adapter ({name}), which is no layer of its own but changes one: give the base model "
                "by --init and one of PEFT's LoRA by --adapter, or merge the adapter into the base model and audit the "
                "base before and after."
            )


def refuse_scaled(names: Iterable[str], where: str) -> None:
    """Refuse numbers of a few bits, as FP8 is, that are weights only times a scale beside them."""
    for name in names:
        if SCALE_OF.fullmatch(parts(name)[-1]):
            raise ReconError(
                f"{where} holds scaled numbers and their scale ({name}): multiply them, as a library's dequantize "
                "does, and save the weights as float32."
            )


class NoNetwork(ReconError):
    """Arrays that are no network together, while some of them may be one."""


def refuse_other_layers(shapes: Mapping[str, Shape], where: str) -> None:
    """Refuse arrays that only layers of other kinds have."""
    axes = [name for name, shape in shapes.items() if len(shape) > 2]
    if axes:
        raise NoNetwork(
            f"{where} is of no plain MLP: {axes[0]} has {len(shapes[axes[0]])} axes; if it belongs to a frozen feature "
            f"extractor, say --features to audit the trained head, or name the head's --layers; if it is a "
            "convolution before hidden dense layers, say --network conv."
        )
    recurrent = [name for name in shapes if any(RECURRENT.fullmatch(part) for part in parts(name))]
    if recurrent:
        raise NoNetwork(
            f"{where} is of no plain MLP: {recurrent[0]} is a recurrent layer's, whose units also take their own "
            f"output and have two biases; if only a head behind it was trained, name the head's --layers."
        )
    owned: dict[tuple[str, ...], set[str]] = {}
    for name in shapes:
        own = parts(name)
        if "parametrizations" in own:
            raise ReconError(
                f"{where} holds a reparametrised kernel ({name}): fold it, as by "
                "torch.nn.utils.parametrize.remove_parametrizations, before you save the weights."
            )
        owned.setdefault(own[:-1], set()).add(own[-1])
    for path, words in owned.items():
        for known, kind, cure in REPARAMETRISED:
            if known <= words:
                raise ReconError(
                    f"{where} holds the {kind} of {'.'.join(path) or 'a layer'} ({', '.join(sorted(known))}) and not "
                    f"its kernel: fold it by {cure} before you save the weights."
                )


class Normalisation(NamedTuple):
    """A normalisation layer, or the slopes of a PReLU.

    Attributes:
      path: its module.
      arrays: their names, by role: scale, shift, mean, variance. Without a mean and a variance it normalises each input
        by itself, or a PReLU's slopes are its scale.
    """

    path: tuple[str, ...]
    arrays: dict[str, str]


def place(name: str) -> tuple[str, ...]:
    """An array's module, whatever collection it stands in; of flat names what is left without the word, 'bn1_'."""
    above = module(name)
    if not above:
        return (re.sub(r"(running_|moving_)?[A-Za-z]+(?=[_\d]*$)", "", name, count=1),)
    return tuple(part for part in above if part not in COLLECTIONS) or above


def normalisations(shapes: Mapping[str, Shape]) -> list[Normalisation]:
    """Normalisation layers and PReLUs: modules of vectors that are no bias alone."""
    modules: dict[tuple[str, ...], list[str]] = {}
    for name in sorted(shapes, key=natural):
        if not any(LOSS.fullmatch(part) for part in parts(name)):
            modules.setdefault(place(name), []).append(name)
    found = []
    for path, names in modules.items():
        alone = all(len(shapes[name]) < 2 for name in names)  # beside a kernel, `weight` and `bias` are its own
        scale, shift = (("weight", *SCALE), (*BIAS, *SHIFT)) if alone else (SCALE, SHIFT)
        words = {"mean": MEAN, "variance": VARIANCE, "scale": (*scale, *SLOPE), "shift": shift}
        arrays: dict[str, str] = {}
        for name in names:
            # Single numbers are counters, temperatures and the like.
            if len(shapes[name]) == 1 or (shapes[name] == () and sloped(name) and not called(name, ("alpha",))):
                role = next((role for role in words if called(name, words[role])), None)
                if role is not None:
                    arrays.setdefault(role, name)
        # A mean with a standard deviation is of the inputs: what comes back are the inputs it made.
        if "scale" in arrays or {"mean", "variance"} <= arrays.keys():
            found.append(Normalisation(path, {role: arrays[role] for role in IDENTICAL if role in arrays}))
    return found


def sloped(name: str) -> bool:
    """Whether a name is of a PReLU's slopes."""
    return called(name, SLOPE) or any("prelu" in part.lower() for part in parts(name))


def between(found: Iterable[Normalisation], shapes: Mapping[str, Shape], kernels: Iterable[str]) -> list[Normalisation]:
    """Those that stand among a network's layers, not elsewhere, as in an extractor before it.

    Args:
      shapes: of all arrays.
      kernels: of the network's layers.
    """

    def above(names: Iterable[str]) -> set[tuple[str, ...]]:
        places = [() if not module(name) else place(name) for name in names]
        return {path[:length] for path in places for length in range(len(path) + 1)}

    kernels = tuple(kernels)
    every, own = above(name for name, shape in shapes.items() if len(shape) > 1), above(kernels)
    sizes = {size for kernel in kernels for size in shapes[kernel]}

    def near(normalisation: Normalisation) -> bool:
        size = {int(np.prod(shapes[name])) for name in normalisation.arrays.values()}
        around = normalisation.path[:-1]
        while around not in every:
            around = around[:-1]
        return around in own and bool(size & sizes or size <= {1})

    return [normalisation for normalisation in found if near(normalisation)]


def works(
    first: Normalisation, last: Normalisation, before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray]
) -> bool:
    """Whether a normalisation does anything; then it is a frozen one, to be folded into the layers beside it.

    Args:
      first, last: the same one, as the initial and as the final weights name its arrays.

    Raises:
      ReconError: it cannot be folded exactly.
    """
    values, later = (
        {role: np.asarray(arrays[name], np.float64) for role, name in one.arrays.items()}
        for one, arrays in ((first, before), (last, after))
    )
    name = next(iter(first.arrays.values()))
    if values.keys() != later.keys():
        raise ReconError(f"{name} has not the same arrays beside it in both files: save both in the same way.")
    if values.keys() == {"scale"} and slopes(name, values["scale"]):
        if values["scale"].any() or later["scale"].any():
            raise ReconError(f"{name} is the slope of a PReLU: only networks of plain ReLU units can be audited.")
        return False
    if not {"mean", "variance"} <= values.keys():
        kinds = "a layer normalisation, or a batch normalisation of which they were not saved"
        kinds += ", or the slopes of a PReLU" if values.keys() == {"scale"} else ""
        raise ReconError(
            f"{name} is of a normalisation without a mean and a variance of its own ({kinds}): it divides each image "
            "by a number of the image's own, which no layer can take over, so that such a network cannot be audited; "
            "train one without."
        )
    if all(np.abs(now[role] - IDENTICAL[role]).max() <= IDENTITY for now in (values, later) for role in now):
        return False
    moved = {role for role in values if not np.array_equal(values[role], later[role])}
    if "scale" in moved:
        raise ReconError(
            f"{first.arrays['scale']} was trained: a normalisation's scale makes a multiplicative change, which cannot "
            "be audited; train with a frozen scale, or without the normalisation."
        )
    if {"mean", "variance"} & moved:
        raise ReconError(
            f"{first.arrays['mean']} changed in training: a normalisation by each batch's own mean and variance cannot "
            "be audited; train with it in evaluation mode, or without it."
        )
    return True


def slopes(name: str, values: np.ndarray) -> bool:
    """Whether a module's only vector is a PReLU's slopes: by its name, its one number, or how these begin."""
    return sloped(name) or (called(name, ("weight",)) and (values.size == 1 or bool((values == DEFAULT_SLOPE).all())))
