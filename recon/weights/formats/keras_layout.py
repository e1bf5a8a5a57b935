"""How Keras lays a model out in HDF5, and what its configuration tells of the activation.

Keras 3 writes each layer's variables by number below the layer's path: 'layers/dense_1/vars/0'. The older layout lists
layers and variables in attributes: 'model_weights/dense_1/sequential/dense_1/kernel'. (Both as Keras 3.15 writes them.)
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from recon.weights.formats.base import LINEAR, numbered, told
from recon.weights.names import Shape

VARIABLE = re.compile(r"(?:(.*)/)?vars/(\d+)")
SLOT = re.compile(r".*[_/](?:(m|momentum)|v|velocity)(?::0)?")
# Layers with a kernel, by their class; others, such as Flatten and Dropout, do not come between two of them.
KERNELS = re.compile(r"(Einsum)?Dense|(Depthwise|Separable)?Conv\d?D(Transpose)?|Embedding|LSTM|GRU|SimpleRNN")
# Layers that put several together: a network with one is no chain of layers.
MERGES = ("Add", "Average", "Concatenate", "Dot", "Maximum", "Minimum", "Multiply", "Subtract")
# What Keras calls activations and means by them where it says no more.
WORDS = {"swish": "silu", "leaky_relu": "leaky_relu:0.2", "leakyrelu": "leaky_relu:0.3", "identity": LINEAR}
SLOPES = ("negative_slope", "alpha")  # of today's Keras and of Keras 2


def names(shapes: Mapping[str, Shape], layers: Sequence[str], slots: Sequence[str], algorithm: str) -> dict[str, str]:
    """Names that tell what arrays are and, by numbers, in what order, for those of either layout.

    Args:
      shapes: of all arrays, by path.
      layers, slots: paths of the layers' and of the optimiser's arrays, in order, of the older layout.
      algorithm: the optimiser's name, of the layout of Keras 3.
    """
    made = {}
    modules: dict[str, int] = {}
    for path in layers:
        above, _, word = path.partition(":")[0].rpartition("/")
        module = above.removeprefix("model_weights/")
        made[path] = numbered(modules.setdefault(module, len(modules)), f"{module}/{word}")
    made |= {path: f"opt_state/{path}" for path in slots}
    kinds = {path: found[1] is not None for path in slots if (found := SLOT.fullmatch(path))}
    made |= moments([p for p, first in kinds.items() if first], [p for p, first in kinds.items() if not first])
    variables: dict[str, dict[int, str]] = {}
    for path in shapes:
        if (found := VARIABLE.fullmatch(path)) is not None:
            variables.setdefault(found[1] or "", {})[int(found[2])] = path
    for module, own in variables.items():
        paths = [own[i] for i in sorted(own)]
        if module == "optimizer":
            made |= {path: f"opt_state/{path}" for path in paths}
            made |= by_algorithm([path for path in paths if shapes[path]], shapes, algorithm)
        else:
            words = roles(module.rpartition("/")[2], [shapes[path] for path in paths])
            made |= {path: f"{module}/{word}".lstrip("/") for path, word in zip(paths, words, strict=False)}
    return made


def roles(layer: str, shapes: Sequence[Shape]) -> Sequence[str]:
    """What a layer's variables are, by their shapes, in the order in which Keras makes them; none where unclear.

    Args:
      layer: its own part of the path: its class in snake case, or what a model's own class calls it.
    """
    axes = [len(shape) for shape in shapes]
    if layer.startswith("normalization"):
        return ("mean", "variance", "count")
    if len(shapes) == 3 and axes[:2] == [2, 2]:
        return ("kernel", "recurrent_kernel", "bias")
    if axes[:1] > [1]:
        one = len(shapes) == 1
        if one and layer.startswith("embedding"):
            return ("embeddings",)
        return ("kernel", "bias") if one or (len(shapes) == 2 and shapes[1] == shapes[0][-1:]) else ()
    if set(axes) == {1} and len({*shapes}) == 1:
        by_count = {1: ("scale",), 2: ("gamma", "beta"), 4: ("gamma", "beta", "moving_mean", "moving_variance")}
        return ("alpha",) if layer.startswith("p_re_lu") else by_count.get(len(shapes), ())
    return ()


def by_algorithm(paths: Sequence[str], shapes: Mapping[str, Shape], algorithm: str) -> dict[str, str]:
    """Names of the optimiser's moments in the layout of Keras 3; Adam's two stand in turns."""
    plain = re.sub(r"_\d+$", "", algorithm)
    if plain == "sgd":
        return moments(paths, [])
    first, second = paths[::2], paths[1::2]
    alike = [shapes[path] for path in first] == [shapes[path] for path in second]
    return moments(first, second) if plain in ("adam", "adamw") and alike else {}


def moments(first: Sequence[str], second: Sequence[str]) -> dict[str, str]:
    """Names of an optimiser's moments, as Optax calls them, numbered as the variables are."""
    word = "mu" if second else "trace"
    made = {path: f"opt_state/{word}/{i}" for i, path in enumerate(first)}
    return made | {path: f"opt_state/nu/{i}" for i, path in enumerate(second)}


def activation(config: Mapping[str, Any]) -> str | None:
    """The activation of the hidden layers, see `recon.weights.formats.base.told`; of a model class of one's own, none.

    Args:
      config: a model's, with its class's name.
    """
    return told(steps(config))


def steps(layer: Mapping[str, Any]) -> Iterator[str | None]:
    """What a layer, or each of a model's, computes, as `told` takes it."""
    kind, config = str(layer.get("class_name")), layer.get("config") or {}
    if "layers" in config:
        for one in config["layers"]:
            yield from steps(one)
        return
    if KERNELS.fullmatch(kind):
        yield None
    if kind in MERGES:
        yield kind
    elif kind in ("ReLU", "LeakyReLU", "ELU", "PReLU", "Softmax"):
        yield word(kind, config)
    elif (one := config.get("activation")) is not None:
        yield word(one["class_name"], one.get("config") or {}) if isinstance(one, Mapping) else word(one, {})


def word(kind: object, config: object) -> str:
    """The name of an activation, as `recon.networks.activations.named` takes it where that is one of its."""
    options = config if isinstance(config, Mapping) else {}
    name = str(config if isinstance(config, str) else kind).lower()  # a function is told by its name alone
    slope = next((options[key] for key in SLOPES if options.get(key)), None)
    if options.get("max_value") is not None or options.get("threshold"):
        return f"{name} with a bound"
    if name in ("relu", "leakyrelu", "leaky_relu") and slope is not None:
        return f"leaky_relu:{float(slope):g}"
    if name == "elu" and slope not in (None, 1):
        return f"elu:{float(slope):g}"
    return WORDS.get(name, name)
