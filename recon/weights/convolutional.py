"""Arrays of convolutions with hidden dense layers behind them, of any program, as `ConvDense` takes them.

Shapes tell channels, kernel sizes and dense layers. How the resolution falls (stride, pooling, padding) they do not:
that is said as in 'conv:6,16:size=5,down=average,valid=1:dense=120x84', of which everything but `conv` may be left out
where shapes tell it or one way alone fits the image's shape and the number of features.
"""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeGuard

import jax
import numpy as np

from recon.errors import ReconError
from recon.networks.conv_dense import ConvDense, folded
from recon.weights.arrange import MOST_ARRAYS, arranged_both
from recon.weights.candidates import considered
from recon.weights.layout import Layout, Tree, numbers
from recon.weights.names import few, natural, stem, word
from recon.weights.standing import EPSILON, USUAL_EPSILON, numbered
from recon.weights.strangers import Normalisation, normalisations

HOW = "write conv:6,16:size=5,down=average,valid=1:dense=120x84, or a part of it"
COUNTS = ("size", "stride", "every")  # whole numbers
DOWN: tuple[Literal["stride", "average", "max"], ...] = ("stride", "average", "max")
STRIDES = (1, 2, 3)  # that are tried where none is told
CHANNELS_FIRST = (
    "The features were taken as flattened channels first, as PyTorch exports them; a network that TensorFlow exported "
    "may flatten them last, which its kernels do not tell."
)
MOST_SUBSETS = 6  # convolutions up to which any may be the ones without padding; of more all or none


def is_convolutional(network: object) -> TypeGuard[str | ConvDense]:
    """Whether a network is told as one of convolutions."""
    return isinstance(network, ConvDense) or (isinstance(network, str) and network.partition(":")[0] == "conv")


def parsed(text: str) -> dict[str, Any]:
    """What is told of a network in the module's syntax; 'valid' is None for all convolutions.

    Raises:
      ReconError: it is not in that syntax.
    """
    told: dict[str, Any] = {}
    for part in (part for parts in text.split(":")[1:] for part in parts.split(",") if part):
        name, _, value = part.partition("=")
        if re.fullmatch(r"[1-9]\d{0,5}", part, re.ASCII):
            told["widths"] = (*told.get("widths", ()), int(part))
        elif name in COUNTS and re.fullmatch(r"[1-9]\d{0,2}", value, re.ASCII):
            told[name] = int(value)
        elif name == "down" and value in DOWN:
            told[name] = value
        elif name == "valid" and re.fullmatch(r"all|none|\d{1,3}(\+\d{1,3})*", value, re.ASCII):
            told[name] = None if value == "all" else () if value == "none" else tuple(map(int, value.split("+")))
        elif name == "dense" and re.fullmatch(r"[1-9]\d{0,8}(x[1-9]\d{0,8})*", value, re.ASCII):
            told[name] = tuple(map(int, value.split("x")))
        else:
            raise ReconError(f"{part!r} says nothing of a convolutional network: {HOW}.")
    return told


@dataclass(frozen=True)
class Convolved:
    """A network of convolutions among arrays.

    Attributes:
      network: its architecture.
      first, last: which arrays its layers are, before and after; convolutions come first.
      params0, params1: in Flax layout; of a gradient its arrays.
      mirrored: the network takes images with both axes reversed: PyTorch pads a strided convolution of an even number
        of pixels at the start where `ConvDense` pads the end, which is the same of mirrored images and kernels.
      notes: what was taken for granted of the arrays, in sentences.
      update: what training added, in float64, where arrays tell it more precisely than float32.
    """

    network: ConvDense
    first: Layout
    last: Layout
    params0: Tree
    params1: Tree
    mirrored: bool
    notes: tuple[str, ...] = ()
    update: Tree | None = None


def convolved(
    before: Mapping[str, np.ndarray],
    after: Mapping[str, np.ndarray],
    network: str | ConvDense,
    image_shape: tuple[int, int, int],
    activation: str,
    *,
    where: tuple[str, str],
    kernels: str | None = None,
    gradient: bool = False,
    change: Mapping[str, np.ndarray] | None = None,
) -> Convolved:
    """Find the convolutions and dense layers among arrays from before and after training, or among a gradient's.

    Args:
      network: as told.
      image_shape: (h, w, c).
      activation: of all hidden units.
      where: the arrays' places, for messages.
      kernels: how dense kernels are stored, as `arranged` takes it.
      gradient: `after` is one.
      change: what training added, under the names of `before`, where it is known by itself.

    Raises:
      ReconError: they are no such network, or several geometries fit: says what settles it.
    """
    for arrays, place in zip((before, after), where, strict=True):
        refuse_many(arrays, place)
    names = kernels_of(before, where[0])
    pairs = tuple((name, bias_of(name, before)) for name in names)
    after = with_frozen(after, before, pairs) if gradient else after
    if deep(after) != names or any(before[n].shape != after[n].shape for n in names):
        raise ReconError(f"{where[1]} has not the convolutions of {where[0]}: give both of one network.")
    if other := [name for name, bias in pairs if bias_of(name, after) != bias]:
        raise ReconError(f"The bias of {other[0]} is in one of the two files only: save both in the same way.")
    shapes = considered(before)
    norms = normalisations(shapes)
    beside = {*names, *(bias for _, bias in pairs), *(name for one in norms for name in one.arrays.values())}
    ends = [{name: a for name, a in arrays.items() if name not in beside} for arrays in (before, after)]
    first, last = arranged_both(*ends, kernels=kernels, where=where)
    out_in = stored_out_in([before[name].shape for name in names], first.transposed, where[0])

    def filters(arrays: Mapping[str, np.ndarray]) -> Tree:
        made: Tree = {}
        for i, (name, bias) in enumerate(pairs):
            kernel = numbers(arrays, name)
            kernel = kernel.transpose(2, 3, 1, 0) if out_in else kernel
            given = np.zeros(kernel.shape[3], kernel.dtype) if bias is None else numbers(arrays, bias)
            made[f"Conv_{i}"] = {"kernel": kernel, "bias": given}
        return made

    convolutions = [filters(before), filters(after)]
    convolutions[0] = with_norms(convolutions[0], norms, before, after, gradient)
    refuse_behind_units(norms, names, before)
    if not gradient:
        convolutions[1] = with_norms(convolutions[1], norms, after, before, gradient)
    dense = [first.tree(ends[0]), last.tree(ends[1])]
    made = fitting(network, convolutions[0], dense[0], image_shape, activation)
    graph = out_in and not first.transposed  # as ONNX has them, of any program
    mirrored = is_mirrored(made, image_shape, graph) if out_in else False
    grid = grid_of(made, image_shape)
    order = rows(grid, out_in, mirrored)

    def whole(c: Tree, d: Tree) -> Tree:
        c = {name: {**layer, "kernel": layer["kernel"][::-1, ::-1]} if mirrored else layer for name, layer in c.items()}
        return c | d | {"Dense_0": {**d["Dense_0"], "kernel": d["Dense_0"]["kernel"][order]}}

    params = [whole(c, d) for c, d in zip(convolutions, dense, strict=True)]
    layouts = [Layout((*pairs, *one.layers), one.transposed, one.left_out) for one in (first, last)]
    update = None
    if not gradient and any(after[name].dtype == np.float64 for name in layouts[1].names):
        update = jax.tree.map(lambda a, b: np.subtract(b, a, dtype=np.float64), *params)
        update |= {} if change is None else whole({}, first.tree(change))
    notes = (*map(said_of, norms), *[CHANNELS_FIRST] * (graph and grid[:2] != (1, 1)))
    return Convolved(made, layouts[0], layouts[1], params[0], params[1], mirrored, notes, update)


def refuse_many(arrays: Mapping[str, np.ndarray], where: str) -> None:
    """Refuse more arrays than can be compared with each other."""
    many = sum(a.ndim > 0 for a in arrays.values())
    if many > MOST_ARRAYS:
        raise ReconError(f"{where} holds {many} arrays, too many for convolutions: save the network's weights alone.")


def kernels_of(arrays: Mapping[str, np.ndarray], where: str) -> list[str]:
    """Names of the convolutions' kernels, from the input on."""
    found = deep(arrays)
    strange = [name for name in found if arrays[name].ndim != 4]
    if not found or strange:
        why = f"{strange[0]} has {arrays[strange[0]].ndim} axes" if strange else "no array has four axes"
        raise ReconError(f"{where} holds no network of convolutions of pictures ({why}): leave out conv.")
    return found


def deep(arrays: Mapping[str, np.ndarray]) -> list[str]:
    """Names of the arrays of more than two axes, in their order."""
    return sorted((name for name, a in arrays.items() if a.ndim > 2), key=natural)


def bias_of(kernel: str, arrays: Mapping[str, np.ndarray]) -> str | None:
    """A convolution's bias, by its name."""
    out = {arrays[kernel].shape[0], arrays[kernel].shape[3]}
    own = [n for n, a in arrays.items() if a.ndim == 1 and stem(n) == stem(kernel) and len(a) in out]
    return own[0] if len(own) == 1 else None


def with_frozen(
    gradient: Mapping[str, np.ndarray], weights: Mapping[str, np.ndarray], pairs: Sequence[tuple[str, str | None]]
) -> dict[str, np.ndarray]:
    """A gradient with zeros for arrays of convolutions that it does not hold, as where these were frozen."""
    own = [name for pair in pairs for name in pair if name is not None and name not in gradient]
    return {**gradient, **{name: np.zeros_like(weights[name]) for name in own}}


def stored_out_in(shapes: list[tuple[int, ...]], dense: bool, where: str) -> bool:
    """Whether kernels are (out, in, h, w), as PyTorch has them, not (h, w, in, out)."""

    def chained(axes: tuple[int, ...]) -> bool:
        told = [tuple(shape[i] for i in axes) for shape in shapes]
        return all(h == w for h, w, _, _ in told) and all(a[3] == b[2] for a, b in itertools.pairwise(told))

    ways = {True: chained((2, 3, 1, 0)), False: chained((0, 1, 2, 3))}
    if not any(ways.values()):
        raise ReconError(
            f"{where} holds convolutions that do not follow one another as square kernels "
            f"({few([*map(str, shapes)])}): only plain chains of them can be audited."
        )
    return dense if all(ways.values()) else ways[True]


def with_norms(
    params: Tree,
    norms: list[Normalisation],
    arrays: Mapping[str, np.ndarray],
    other: Mapping[str, np.ndarray],
    gradient: bool,
) -> Tree:
    """Convolutions with batch normalisations behind them folded in, which is exact where these were frozen.

    Args:
      other: the arrays from the other end of training, with the same normalisations.
      gradient: `other` is a gradient, which has none of a normalisation that was frozen.
    """
    if not norms:
        return params
    given = [one.arrays for one in norms]
    sizes = [layer["kernel"].shape[3] for layer in params.values()]
    if any({"mean", "variance"} - own.keys() for own in given) or len(given) != len(sizes):
        raise ReconError(
            f"{next(iter(given[0].values()))} is of a normalisation: those with a mean and a variance, one behind "
            "each convolution and frozen in evaluation mode, can be audited; train without others."
        )
    for name in (name for own in given for name in own.values()):
        now = other.get(name)
        still = now is None or not np.any(now) if gradient else now is not None and np.array_equal(arrays[name], now)
        if not still:
            raise ReconError(
                f"{name}, of a batch normalisation, changed in training: only frozen ones in evaluation mode can be "
                "folded into their convolutions; train so, or without."
            )
    made = params
    for i, (one, size) in enumerate(zip(norms, sizes, strict=True)):
        own = one.arrays
        norm = {
            "mean": numbers(arrays, own["mean"]),
            "var": numbers(arrays, own["variance"]),
            "scale": numbers(arrays, own["scale"]) if "scale" in own else np.ones(size),
            "bias": numbers(arrays, own["shift"]) if "shift" in own else np.zeros(size),
        }
        # So that what training left alone stays equal, in whatever types the two files have it.
        norm = {role: part.astype(np.float64) for role, part in norm.items()}
        if any(len(part) != size for part in norm.values()):
            raise ReconError(f"{own['mean']} is not as long as the convolution before it has channels.")
        made = folded(made, {f"Conv_{i}": norm}, epsilon_of(one))
    return made


def refuse_behind_units(norms: list[Normalisation], kernels: list[str], arrays: Mapping[str, np.ndarray]) -> None:
    """Refuse normalisations, each with a mean, that do not follow their convolutions at once.

    Numbers tell, else means.

    Args:
      kernels: the convolutions', from the input on.
    """
    for place, one in enumerate(norms, 1):
        layer, at_once = numbered(one, kernels)
        if layer not in (None, place) or at_once is False:
            told = "its number does not follow its convolution's"
        elif at_once is None and behind(arrays[one.arrays["mean"]]):
            told = "none of its means is negative"
        else:
            continue
        raise ReconError(
            f"{next(iter(one.arrays.values()))} is of a normalisation behind units ({told}): only those between a "
            "convolution and its units are folded in; train so, or without."
        )


def behind(mean: np.ndarray) -> bool:
    """Whether means are of units, as ReLU makes them, not of what goes into these."""
    return bool((mean >= 0).all() and mean.any())


def epsilon_of(norm: Normalisation) -> float:
    """What a normalisation adds to its variance, as the program has it whose names these are."""
    return EPSILON.get(word(norm.arrays["variance"]).lower(), USUAL_EPSILON)


def said_of(norm: Normalisation) -> str:
    """How a normalisation was read, in a sentence."""
    return (
        f"The normalisation of {next(iter(norm.arrays.values()))}, before units, as far as names and means tell, was "
        f"taken as in evaluation mode, with an epsilon of {epsilon_of(norm):g}, and folded into its convolution."
    )


def fitting(
    network: str | ConvDense, convolutions: Tree, dense: Tree, image_shape: tuple[int, int, int], activation: str
) -> ConvDense:
    """The network of these shapes, if one alone agrees with what is told."""
    kernels = [layer["kernel"].shape for layer in convolutions.values()]
    units = [layer["kernel"].shape for layer in dense.values()]
    if len({shape[0] for shape in kernels}) > 1:
        raise ReconError("Convolutions with kernels of several sizes cannot be audited: only those of one size.")
    shown: dict[str, Any] = {
        "widths": tuple(shape[3] for shape in kernels),
        "size": kernels[0][0],
        "dense": tuple(shape[1] for shape in units[:-1]),
    }
    if isinstance(network, ConvDense):
        told = {name: getattr(network, name) for name in (*shown, "stride", "down", "every", "valid")}
    else:
        told = parsed(network)
    for name, value in shown.items():
        if told.get(name, value) != value:
            raise ReconError(f"The network is told with {name} {told[name]}, but the weights have {value}: correct it.")
    if any(place >= len(kernels) for place in told.get("valid") or ()):
        raise ReconError(f"valid counts convolutions from 0, and there are {len(kernels)}: correct it.")
    if kernels[0][2] != image_shape[2]:
        raise ReconError(
            f"The network takes images of {kernels[0][2]} channels, not of {image_shape[2]}: correct them."
        )
    features, channels = units[0][0], kernels[-1][3]
    found = {
        (*one.convolutions, one.down if one.stride > 1 else ""): one
        for one in geometries(shown | told, units[-1][1], activation)
        if features == channels * int(np.prod(grid_of(one, image_shape)[:2]))
    }
    if len(found) == 1:
        return next(iter(found.values()))
    size = f"images of {image_shape[0]} × {image_shape[1]} pixels and {features} features"
    if not found:
        raise ReconError(f"No geometry as told fits {size}: correct --image-shape or --network ({HOW}).")
    offers = [text_of(one) for one in found.values()]
    raise ReconError(
        f"The weights do not tell how the resolution falls: {size} fit {len(offers)} ways. Say which by --network, "
        f"such as {' or '.join(offers[:3])}."
    )


def geometries(told: Mapping[str, Any], outputs: int, activation: str) -> Iterator[ConvDense]:
    """Networks that agree with what is told."""
    count = len(told["widths"])
    every = range(count)
    if count <= MOST_SUBSETS:
        subsets = [c for k in range(count + 1) for c in itertools.combinations(every, k)]
    else:
        subsets = [(), tuple(every)]
    strides = (told["stride"],) if "stride" in told else STRIDES[1:] if "down" in told else STRIDES
    valid = subsets if "valid" not in told else [tuple(every) if told["valid"] is None else told["valid"]]
    for stride in strides:
        for down in (told["down"],) if "down" in told else DOWN if stride > 1 else DOWN[:1]:
            for step in (told["every"],) if "every" in told else range(1, count + 1) if stride > 1 else (1,):
                for some in valid:
                    yield ConvDense(
                        told["widths"], outputs, told["dense"], told["size"], stride, down, step, some,
                        activation=activation,
                    )  # fmt: skip


def text_of(network: ConvDense) -> str:
    """A network's geometry as --network takes it."""
    told = [f"down={network.down}", f"stride={network.stride}", f"every={network.every}"]
    valid = "+".join(map(str, network.valid)) or "none"
    return f"conv:{','.join([*told, f'valid={valid}'])}"


def is_mirrored(network: ConvDense, image_shape: tuple[int, int, int], graph: bool) -> bool:
    """Whether PyTorch's network is this one on images with both axes reversed, not on the images.

    PyTorch puts (size − 1) // 2 zeros before the first pixel, and `ConvDense`, as Flax and Keras, half of those that
    the last window needs.

    Args:
      graph: the padding may be either's.

    Raises:
      ReconError: it is neither, or not told.
    """
    fits = {False, True}
    for (stride, padded, _), sides in zip(network.convolutions, sides_of(network, image_shape), strict=False):
        before = (network.size - 1) // 2 if padded else 0
        for n, windows in zip(sides, windows_of(network.size, stride, padded, sides), strict=True):
            needed = (windows - 1) * stride + network.size - n  # below zero: pixels that no window takes
            first = max(0, needed) // 2
            fits &= {mirrored for mirrored, zeros in ((False, first), (True, needed - first)) if zeros == before}
            if stride > 1 and (n + 2 * before - network.size) // stride + 1 != windows:
                fits = set()
    if graph and False not in fits:
        raise ReconError(
            "Convolutions stored (out, in, h, w) beside dense kernels stored (in, out), as in ONNX, do not tell how "
            "their strides are padded: give the weights as PyTorch or Keras saved them."
        )
    if not fits:
        raise ReconError(
            f"Strided convolutions of PyTorch with {text_of(network)} pad images of {image_shape[0]} × "
            f"{image_shape[1]} pixels as no network here does: stride by 2 with kernels of an odd size, all padded, or "
            "none, or pool."
        )
    return False not in fits


def windows_of(size: int, stride: int, padded: bool, sides: tuple[int, int]) -> tuple[int, int]:
    """How many windows a convolution takes of rows and of columns."""
    rows, columns = (-(-n // stride) if padded else max(0, (n - size) // stride + 1) for n in sides)
    return rows, columns


def sides_of(network: ConvDense, image_shape: tuple[int, int, int]) -> list[tuple[int, int]]:
    """(rows, columns) of what each convolution takes, and of the features."""
    made = [image_shape[:2]]
    for stride, padded, pool in network.convolutions:
        h, w = windows_of(network.size, stride, padded, made[-1])
        made.append((h // pool, w // pool))
    return made


def grid_of(network: ConvDense, image_shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """(rows, columns, channels) of the features; zero of either where the images are too small."""
    return *sides_of(network, image_shape)[-1], network.widths[-1]


def rows(grid: tuple[int, int, int], channels_first: bool, mirrored: bool) -> np.ndarray:
    """For each feature in the order (h, w, c), its row in the first dense kernel."""
    h, w, c = grid
    places = np.arange(h * w * c)
    made = places.reshape(c, h, w).transpose(1, 2, 0) if channels_first else places.reshape(h, w, c)
    return (made[::-1, ::-1] if mirrored else made).ravel()
