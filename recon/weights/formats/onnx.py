"""ONNX: a graph's initialisers, named by the layers that use them, and its activation. Nothing is computed.

Of the format, protocol buffers, only the few fields are read that tell arrays and operators.
"""

import math
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from recon.errors import ReconError
from recon.reading import LIMIT, content
from recon.weights.formats.base import Arrays, Format, narrow, numbered, told
from recon.weights.formats.protobuf import Reader, integers, joined
from recon.weights.names import parts

KINDS = {1: "<f4", 2: "u1", 3: "i1", 4: "<u2", 5: "<i2", 6: "<i4", 7: "<i8", 9: "?", 10: "<f2", 11: "<f8"}
NARROWS = {16: "bfloat16", 17: "float8_e4m3fn", 19: "float8_e5m2"}
WIDENED = {16: 2, 17: 4, 19: 4}  # times their size, as float32
REAL = (1, 10, 11)  # of these, floating-point numbers
MOST_AXES = 8
FLOATS, DOUBLES, RAW = 4, 10, 9  # fields that may hold an array's numbers
OUTSIDE = 1  # an array's place: a file beside the graph's
# What operators between two layers compute together. Others are told by their own names.
ACTIVATIONS = {
    frozenset({"Relu"}): "relu",
    frozenset({"Tanh"}): "tanh",
    frozenset({"Sigmoid"}): "sigmoid",
    frozenset({"Softplus"}): "softplus",
    frozenset({"Elu"}): "elu",
    frozenset({"Gelu"}): "gelu",
    frozenset({"Div", "Erf", "Add", "Mul"}): "gelu",  # as PyTorch wrote it before there was an operator for it
    frozenset({"Erf", "Add", "Mul"}): "gelu",
    frozenset({"Sigmoid", "Mul"}): "silu",
}
# Operators that only move numbers around.
PASSED = ("Cast", "Constant", "Dropout", "Flatten", "Identity", "Reshape", "Shape", "Squeeze", "Transpose", "Unsqueeze")
OTHER_LAYERS = ("Conv", "ConvTranspose", "LSTM", "GRU", "RNN")
NORMALISED = ("gamma", "beta", "moving_mean", "var")  # inputs of BatchNormalization behind the first
SAME_EPSILON = 1e-9  # difference of one that was stored in float32
EPSILON = 1e-5  # of one that says no other; `recon.weights.standing` adds as much to what is called var


@dataclass(frozen=True)
class Node:
    """An operator.

    Attributes:
      kind: of it, such as Gemm.
      inputs, outputs: names of arrays.
      options: its attributes that are numbers or words.
    """

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    options: Mapping[str, float | int | str]


class Space:
    """Memory for what a file leads to besides itself, up to `LIMIT` bytes: many arrays may name the same few."""

    def __init__(self) -> None:
        """Nothing is taken yet."""
        self.left = LIMIT

    def take(self, size: int) -> None:
        """Count so many bytes, before they are made.

        Raises:
          ValueError: they are too many.
        """
        self.left -= size
        if self.left < 0:
            raise ValueError(f"its arrays take more than {LIMIT >> 20} MiB besides its own")


@dataclass(frozen=True)
class Graph:
    """Operators in the order in which they compute, and the arrays that they are given.

    Attributes:
      space: what is left for arrays that are made of these.
    """

    nodes: tuple[Node, ...]
    arrays: Arrays
    space: Space


class Named(NamedTuple):
    """An initialiser."""

    name: str
    array: np.ndarray


class Step(NamedTuple):
    """What the graph computes, one after the other.

    Attributes:
      arrays: by what they are to it: a layer's kernel as (in, out), and its bias.
      layer: whether it is a layer, of a kind with or without `arrays`.
      word: of any other, how it is told.
    """

    arrays: Mapping[str, Named]
    layer: bool = False
    word: str = ""


def read(path: Path) -> Arrays:
    """The arrays: those of layers and normalisations numbered as they stand in the graph, others by their own names."""
    found = graph(path)
    placed = [step.arrays for step in steps(found) if step.arrays]
    used = {array.name for arrays in placed for array in arrays.values()}
    made = {name: array for name, array in found.arrays.items() if name not in used}
    for place, arrays in enumerate(placed):
        own = stem(arrays["kernel"].name) if "kernel" in arrays else "norm"
        made |= {numbered(place, f"{own}/{role}"): array.array for role, array in arrays.items()}
    return made


def activation(path: Path) -> str | None:
    """As the operators tell."""
    words: list[str | None] = []
    between: list[str] = []
    for step in [*steps(graph(path)), None]:
        if step is not None and not step.layer:
            between += [step.word] if step.word else []
            continue
        words += [ACTIVATIONS.get(frozenset(between)) or " then ".join(dict.fromkeys(between))] if between else []
        words += [None] if step is not None else []
        between = []
    return told(words)


def steps(found: Graph) -> list[Step]:
    """What a graph computes.

    Raises:
      ValueError: a layer multiplies its product by a number.
    """
    known = {name: Named(name, array) for name, array in found.arrays.items()}
    products: dict[str, int] = {}  # what layers put out whose bias is added behind them, with the layers' places
    made: list[Step] = []
    for one in found.nodes:
        given = [known.get(name) for name in one.inputs]
        first = given[0] if given else None
        if one.kind in PASSED and first is not None:  # an array is only handed on
            turned = Named(first.name, first.array.T) if one.kind == "Transpose" else first
            known |= dict.fromkeys(one.outputs, turned)
            continue
        kernel = kernel_of(one, given)
        bias = next((array for array in given if array is not None), None)
        before = next((products[name] for name in one.inputs if name in products), None)
        if kernel is not None:
            products |= dict.fromkeys(one.outputs, len(made))
            added = given[2] if one.kind == "Gemm" and len(given) > 2 else None
            made.append(Step({"kernel": kernel} | ({} if added is None else {"bias": added}), layer=True))
        elif one.kind == "Add" and before is not None and bias is not None and "bias" not in made[before].arrays:
            made[before] = Step({**made[before].arrays, "bias": bias}, layer=True)
        elif one.kind == "BatchNormalization":
            made.append(Step(normalisation(one, given, found.space)))
        elif one.kind not in PASSED:
            made.append(Step({}, one.kind in OTHER_LAYERS, spelled(one)))
    return made


def normalisation(one: Node, given: Sequence[Named | None], space: Space) -> dict[str, Named]:
    """Arrays of a BatchNormalization, its variance such that `EPSILON` is what is added to it."""
    made = {role: array for role, array in zip(NORMALISED, given[1:], strict=False) if array is not None}
    added = float(one.options.get("epsilon", EPSILON)) - EPSILON
    if "var" in made and abs(added) > SAME_EPSILON:
        space.take(8 * made["var"].array.size)
        made["var"] = Named(made["var"].name, made["var"].array + added)
    return made


def kernel_of(one: Node, given: Sequence[Named | None]) -> Named | None:
    """A layer's kernel as (in, out); None: the operator is no layer."""
    left, right = (*given, None, None)[:2]
    if one.kind == "Gemm":
        kernel, transposed = right, bool(one.options.get("transB"))
    elif one.kind == "MatMul":
        kernel, transposed = (left, True) if right is None else (right, False)
    else:
        return None
    if kernel is None or kernel.array.ndim != 2:
        return None
    if any(one.options.get(factor, 1.0) != 1 for factor in ("alpha", "beta")):
        raise ValueError("a layer has a factor of its own")
    return Named(kernel.name, kernel.array.T if transposed else kernel.array)


def stem(name: str) -> str:
    """What of an array's name is its layer's: 'fc1' of 'fc1.weight'."""
    own = parts(name.strip("/."))
    return "/".join(own[:-1] or own)


def spelled(one: Node) -> str:
    """An operator's name, or its activation's, where its options make it one of their own."""
    if one.kind == "LeakyRelu":
        return f"leaky_relu:{one.options.get('alpha', 0.01):.4g}"
    if one.kind == "Elu" and one.options.get("alpha", 1.0) != 1:
        return f"elu:{one.options['alpha']:.4g}"
    if one.kind == "Gelu" and one.options.get("approximate", "none") != "none":
        return f"gelu by {one.options['approximate']}"
    return one.kind


def graph(path: Path) -> Graph:
    """The graph of a file, with such of its arrays as lie in files beside it."""
    reader, files, space = Reader(), Space(), Space()
    others: dict[str, memoryview] = {}

    def beside(name: str) -> memoryview:
        """A file beside the graph's own, where PyTorch puts arrays."""
        if not name or Path(name).name != name:
            raise ValueError("an array lies in a file that is not beside it")
        if not path.with_name(name).exists():
            raise ReconError(f"{path} lacks {name}, where its weights are: copy both files there.")
        if name not in others:
            files.take(path.with_name(name).stat().st_size)
            others[name] = memoryview(content(path.with_name(name)))
        return others[name]

    found = messages(reader.fields(memoryview(content(path))), 7)
    if len(found) != 1:
        raise ValueError("it has no graph")
    fields = reader.fields(found[0])
    arrays = dict(tensor(reader, message, beside, space) for message in messages(fields, 5))
    return Graph(tuple(node(reader, message) for message in messages(fields, 1)), arrays, space)


def node(reader: Reader, message: memoryview) -> Node:
    """An operator of the graph."""
    fields = reader.fields(message)
    options: dict[str, float | int | str] = {}
    for attribute in messages(fields, 5):
        own = reader.fields(attribute)
        if 2 in own:
            options[word(own, 1)] = struct.unpack("<f", joined(own[2])[-4:])[0]
        elif 3 in own:
            options[word(own, 1)] = next(integers(own[3]))
        elif 4 in own:
            options[word(own, 1)] = word(own, 4)
    return Node(word(fields, 4), words(fields, 1), words(fields, 2), options)


def tensor(
    reader: Reader, message: memoryview, beside: Callable[[str], memoryview], space: Space
) -> tuple[str, np.ndarray]:
    """An initialiser by its name; an empty array where it holds no numbers that could be weights."""
    fields = reader.fields(message)
    name, kind = word(fields, 8), next(integers(fields.get(2, ())), 0)
    shape = tuple(islice(integers(fields.get(1, ())), MOST_AXES + 1))
    if len(shape) > MOST_AXES:
        raise ValueError(f"an array has more than {MOST_AXES} axes")
    held: bytes | memoryview
    if next(integers(fields.get(14, ())), 0) == OUTSIDE:
        entries = [reader.fields(entry) for entry in messages(fields, 13)]
        where = {word(entry, 1): word(entry, 2) for entry in entries}
        file, start = beside(where.get("location", "")), int(where.get("offset", 0))
        held = file[start : start + int(where.get("length", len(file)))] if start >= 0 else b""
    else:
        held = next((joined(fields[number]) for number in (RAW, FLOATS, DOUBLES) if number in fields), b"")
    if kind in NARROWS:
        space.take(len(held) * WIDENED[kind])
        values = narrow(held, NARROWS[kind])
    elif kind in KINDS and (len(held) or kind in REAL):
        values = np.frombuffer(held, KINDS[kind])
    else:  # words, and integers in fields of their own, as of a shape
        return name, np.zeros(0)
    if math.prod(shape) != values.size:
        raise ValueError("an array is cut short")
    return name, values.reshape(shape)


Fields = Mapping[int, Sequence[int | memoryview]]


def messages(fields: Fields, number: int) -> list[memoryview]:
    """The messages of a field."""
    return [value for value in fields.get(number, ()) if isinstance(value, memoryview)]


def words(fields: Fields, number: int) -> tuple[str, ...]:
    """The words of a field."""
    return tuple(bytes(value).decode() for value in messages(fields, number))


def word(fields: Fields, number: int) -> str:
    """The only word of a field, or none."""
    return "".join(words(fields, number)[-1:])


FORMAT = Format("ONNX", (".onnx",), lambda path, _: path.suffix == ".onnx" and path.is_file(), read, activation)
