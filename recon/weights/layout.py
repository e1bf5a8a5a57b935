"""Foreign names and transposed kernels into Flax layout, by the shapes that must chain.

The arrays of a multi-layer perceptron are matrices, each with at most one vector. Which matrix is which layer, and
whether it is stored (in, out), as Flax, Keras and scikit-learn do, or (out, in), as PyTorch does, follows from two
conditions: each layer puts out what the next takes in, and a vector is as long as its layer's output. Where they leave
a choice, names decide: their order, and `weight` for (out, in), `kernel` and `coefs` for (in, out).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from recon.errors import ReconError
from recon.networks import MLP, from_params
from recon.weights.formats.base import Arrays, leaves

KERNELS = ("in-out", "out-in")
FIRST_MOMENTS = ("mu", "exp_avg", "momentum_buffer", "trace", "velocities", "velocity", "momentum")
# Parts of names that no weight has: optimisers' states and counters.
OTHER = (*FIRST_MOMENTS, "nu", "exp_avg_sq", "max_exp_avg_sq", "opt_state", "optimizer", "optimiser", "step", "count")
OUT_IN, IN_OUT = ("weight", "weights"), ("kernel", "coefs")
NO_BIAS = (*OUT_IN, *IN_OUT, "scale", "gamma")  # a vector of such a name is a normalisation's
RECURRENT = re.compile(r"weight_h[hr](_l\d+.*)?|recurrent_kernel")  # of PyTorch and Keras
MOST_ORDERS = 1_000  # of layers that are tried where names do not tell
Tree = dict[str, dict[str, np.ndarray]]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Layout:
    """Which arrays are the layers of a plain MLP.

    Attributes:
      layers: names of each layer's kernel and bias (None: it has none), from the input on.
      transposed: kernels are stored (out, in).
    """

    layers: tuple[tuple[str, str | None], ...]
    transposed: bool

    @property
    def names(self) -> tuple[str, ...]:
        """The arrays, layer by layer, kernel first."""
        return tuple(name for pair in self.layers for name in pair if name is not None)

    def tree(self, arrays: Mapping[str, np.ndarray]) -> Tree:
        """The arrays in Flax layout.

        Raises:
          ReconError: they make no plain MLP, or are not finite floating-point numbers.
        """
        made: Tree = {}
        for i, (kernel, bias) in enumerate(self.layers):
            value = numbers(arrays, kernel)
            made[f"Dense_{i}"] = {"kernel": value.T if self.transposed else value}
            if bias is not None:
                made[f"Dense_{i}"]["bias"] = numbers(arrays, bias)
        from_params(made)
        return made


def numbers(arrays: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    """One array.

    Raises:
      ReconError: it is not of finite floating-point numbers.
    """
    value = arrays[name]
    if value.dtype.kind != "f":
        raise ReconError(f"{name} is of {value.dtype}: weights are floating-point numbers, save them as float32.")
    if not np.isfinite(value).all():
        raise ReconError(f"{name} holds values that are not finite: give weights from before training failed.")
    return value


def parts(name: str) -> tuple[str, ...]:
    """A name's parts: 'net.0.weight' or 'params/Dense_0/kernel' is three."""
    return tuple(re.split(r"[./]", name))


def natural(name: str) -> list[Any]:
    """Sorts 'fc2' before 'fc10'."""
    return [int(piece) if piece.isdecimal() else piece for piece in re.split(r"(\d+)", name)]


def word(name: str) -> str:
    """The last word of a name without its number: 'weight' of 'net.0.weight', 'coefs' of 'coefs_/0' or 'coefs_0'."""
    words = [part.rstrip("_0123456789") for part in parts(name)]
    return next((w for w in reversed(words) if w), "")


def flat(tree: Any) -> Arrays:
    """Arrays by name of nested mappings and lists, such as a parameter tree or scikit-learn's `coefs_`.

    Raises:
      ReconError: it holds something else.
    """
    found = {}
    for name, leaf in leaves(tree):
        value = np.asarray(leaf)
        if value.dtype.kind not in "biuf":
            raise ReconError(f"{name or 'The tree'} is no array of numbers: give a tree or a mapping of arrays.")
        found[name] = value
    return found


def widths_of(network: Any) -> tuple[int, ...] | None:
    """Widths of the hidden layers of 'mlp:1024x1024', of a sequence or of an `MLP`; None where nothing is said.

    Raises:
      ReconError: another kind of network, or no widths.
    """
    if network is None:
        return None
    if isinstance(network, MLP):
        return network.widths
    if not isinstance(network, str):
        if not isinstance(network, Sequence) or not all(isinstance(w, int | np.integer) and w > 0 for w in network):
            raise ReconError(f"{network!r} is no network: give 'mlp:1024x1024', widths as in (1024, 1024), or an MLP.")
        return tuple(map(int, network))
    kind, _, sizes = network.partition(":")
    if kind != "mlp":
        raise ReconError(f"Networks of the kind {kind!r} cannot be audited: only plain ReLU MLPs, mlp:1024x1024.")
    if not re.fullmatch(r"[1-9]\d{0,8}(x[1-9]\d{0,8})*", sizes, re.ASCII):
        raise ReconError(f"{sizes!r} are no widths of hidden layers: write mlp:1024x1024.")
    return tuple(map(int, sizes.split("x")))


def arranged(
    arrays: Mapping[str, np.ndarray],
    *,
    widths: tuple[int, ...] | None = None,
    layers: str | Sequence[str] = (),
    kernels: str | None = None,
    where: str = "The file",
) -> Layout:
    """Find the layers of a plain MLP among arrays; optimisers' states and single numbers do not count.

    Args:
      widths: of the hidden layers, where they are known.
      layers: the names of the layers from the input on, as far as they tell the arrays apart: ('fc1', 'fc2', 'out'),
        or 'fc1,fc2,out'.
      kernels: how kernels are stored, "in-out" or "out-in" (default: as shapes and names tell).
      where: the arrays' place, for messages.

    Raises:
      ReconError: they are no plain MLP, or several; says which option settles it.
    """
    if isinstance(layers, str):
        layers = [name for part in layers.split(",") if (name := part.strip())]
    if kernels not in (None, *KERNELS):
        raise ReconError(f"Kernels are stored {' or '.join(KERNELS)}, not {kernels!r}.")
    pairs = paired({n: a.shape for n, a in arrays.items() if a.ndim and not set(parts(n)) & set(OTHER)}, layers, where)
    found = [
        (in_order, Layout(chain, out_in))
        for out_in in (False, True)
        if kernels in (None, KERNELS[out_in])
        for in_order, chain in chained(arrays, pairs, out_in, widths, bool(layers), where)
    ]
    if not found:
        shapes = ", ".join(f"{kernel} {arrays[kernel].shape}" for kernel, _ in pairs)
        told = "" if widths is None else f" with hidden layers of {' and '.join(map(str, widths))}"
        raise ReconError(f"{where} holds no plain MLP{told}: the shapes do not chain ({shapes}).")
    best = [layout for in_order, layout in found if in_order == max(o for o, _ in found)]
    if len(best) > 1:
        # Both ways of storing chain: the names' convention is left.
        last = {word(kernel) for kernel, _ in pairs}
        told_by = [last <= set(words) for words in (IN_OUT, OUT_IN)]
        best = [layout for layout in best if told_by[layout.transposed] and not told_by[not layout.transposed]]
    if len(best) != 1:
        raise ReconError(
            f"{where} may hold its kernels as (in, out) or as (out, in): say --kernels {' or '.join(KERNELS)}."
        )
    return best[0]


def paired(shapes: Mapping[str, Shape], layers: Sequence[str], where: str) -> list[tuple[str, str | None]]:
    """Kernels with their biases, in the order of the layers' names: by a common beginning, else one after the other.

    Raises:
      ReconError: arrays that no MLP has, or biases that belong to no kernel.
    """
    if layers:
        missing = [layer for layer in layers if not any(belongs(name, layer) for name in shapes)]
        if missing:
            raise ReconError(f"{where} has no layer {missing[0]!r}: its arrays are {few(sorted(shapes, key=natural))}.")
        shapes = {name: shape for name, shape in shapes.items() if any(belongs(name, layer) for layer in layers)}
    axes = [name for name, shape in shapes.items() if len(shape) > 2]
    if axes:
        raise ReconError(
            f"{where} is of no plain MLP: {axes[0]} has {len(shapes[axes[0]])} axes. If it belongs to a frozen feature "
            "extractor, say --features to audit the trained head, or name the head's --layers."
        )
    recurrent = [name for name in shapes if any(RECURRENT.fullmatch(part) for part in parts(name))]
    if recurrent:
        raise ReconError(
            f"{where} is of no plain MLP: {recurrent[0]} is a recurrent layer's, whose units also take their own "
            "output and have two biases. If only a head behind it was trained, name the head's --layers."
        )

    def rank(name: str) -> tuple[int, list[Any]]:
        return next((i for i, layer in enumerate(layers) if belongs(name, layer)), 0), natural(name)

    ordered = sorted(shapes, key=rank)
    matrices = [name for name in ordered if len(shapes[name]) == 2]
    vectors = [name for name in ordered if len(shapes[name]) == 1]
    if not matrices:
        raise ReconError(f"{where} holds no weights (no array is a matrix): give those of a multi-layer perceptron.")
    owner = {parts(name)[:-1]: name for name in matrices}
    if len(owner) == len(matrices) and all(parts(name)[:-1] in owner for name in vectors) and () not in owner:
        of = {owner[parts(name)[:-1]]: name for name in vectors}
        if len(of) == len(vectors):
            return [(name, of.get(name)) for name in matrices]
    scales = [name for name in vectors if word(name) in NO_BIAS]
    if scales or len(vectors) not in (0, len(matrices)):
        strange = few(scales or vectors)
        raise ReconError(
            f"{where} is of no plain MLP: {len(matrices)} matrices and {len(vectors)} vectors ({strange}) "
            "are no layers with a bias each or none; normalisation layers cannot be audited, other arrays are left out "
            "by naming --layers."
        )
    return [(name, vectors[i] if vectors else None) for i, name in enumerate(matrices)]


def belongs(name: str, layer: str) -> bool:
    """Whether an array is of the layer of that name."""
    mine, wanted = parts(name), parts(layer)
    return any(mine[i : i + len(wanted)] == wanted for i in range(len(mine)))


def chained(
    arrays: Mapping[str, np.ndarray],
    pairs: list[tuple[str, str | None]],
    out_in: bool,
    widths: tuple[int, ...] | None,
    ordered: bool,
    where: str,
) -> Iterator[tuple[bool, tuple[tuple[str, str | None], ...]]]:
    """Orders of all the layers in which each takes what the one before puts out; of equal shapes, by name.

    Yields:
      Whether the order is that of the names, and the layers: that order if it chains, else every other sequence of
      shapes that does.

    Raises:
      ReconError: several orders chain and none of them is that of the names.
    """
    ends = []
    for kernel, bias in pairs:
        fan_in, fan_out = arrays[kernel].shape[::-1] if out_in else arrays[kernel].shape
        if bias is not None and arrays[bias].shape != (fan_out,):
            return
        ends.append((fan_in, fan_out))

    def fits(order: list[int]) -> bool:
        outs = [ends[i][1] for i in order]
        inner = all(ends[i][0] == out for i, out in zip(order[1:], outs[:-1], strict=True))
        told = widths is None or tuple(outs[: len(widths)]) == widths[: len(outs)]
        return inner and told and (widths is None or len(order) <= len(widths) + 1)

    everything = [*range(len(pairs))]
    if not everything or (widths is not None and len(pairs) != len(widths) + 1):
        return
    if fits(everything):
        yield True, tuple(pairs)
        return
    if ordered:
        return
    found: dict[tuple[tuple[int, int], ...], list[int]] = {}
    todo: list[list[int]] = [[i] for i in reversed(everything)]
    tried = 0
    while todo and len(found) < 2 and tried < MOST_ORDERS:
        order, tried = todo.pop(), tried + 1
        if not fits(order):
            continue
        if len(order) == len(pairs):
            found.setdefault(tuple(ends[i] for i in order), order)
            continue
        rest = [i for i in everything if i not in order]
        # Of layers of one shape the first by name goes first: other orders of them are the same to the shapes.
        firsts = {ends[i]: i for i in reversed(rest)}
        todo += [[*order, i] for i in sorted(firsts.values(), reverse=True)]
    if len(found) > 1 or (todo and tried == MOST_ORDERS):
        raise ReconError(f"{where} holds layers that chain in several orders: name them from the input on by --layers.")
    for order in found.values():
        yield False, tuple(pairs[i] for i in order)


def momentum(arrays: Mapping[str, np.ndarray], layout: Layout, weights: Mapping[str, np.ndarray]) -> Tree:
    """The optimiser's running mean or sum of gradients as a tree like the weights'.

    Adam's first moment is called mu (Optax) or exp_avg (PyTorch), SGD's buffer trace or momentum_buffer; where no
    name is such, all arrays count. PyTorch numbers its arrays in the order of the layers, kernel first; other names go
    by shapes that chain.

    Args:
      layout, weights: of the network, as stored.

    Raises:
      ReconError: there is no array for each of the weights.
    """
    called = next((w for w in FIRST_MOMENTS if any(w in parts(name) for name in arrays)), None)
    own = {
        tuple(p for p in parts(name) if p != called): array
        for name, array in arrays.items()
        if array.ndim and (called is None or called in parts(name))
    }
    shapes = [weights[name].shape for name in layout.names]
    chosen = by_name(own, layout.names)
    if [array.shape for array in chosen] != shapes:
        plain = {"/".join(key): array for key, array in own.items()}
        try:
            kernels = KERNELS[layout.transposed]
            found = arranged(plain, widths=tuple(outputs(weights, layout)[:-1]), kernels=kernels)
            chosen = [plain[name] for name in found.names]
        except ReconError:
            chosen = []
    if [array.shape for array in chosen] != shapes:
        raise ReconError(
            "The optimiser's state does not have an array like each of the weights: give Adam's first moment or SGD's "
            f"momentum buffer under the weights' names ({few(layout.names)})."
        )
    if all(np.array_equal(array, weights[name]) for name, array in zip(layout.names, chosen, strict=True)):
        raise ReconError("The optimiser's state is the weights themselves: the file holds no first moment or buffer.")
    return layout.tree(dict(zip(layout.names, chosen, strict=True)))


def by_name(own: Mapping[tuple[str, ...], np.ndarray], names: Sequence[str]) -> list[np.ndarray]:
    """The arrays whose names end as the weights' do, or all of them in the order of their names."""
    for length in range(1, max(len(parts(name)) for name in names) + 1):
        ending = {key[-length:]: array for key, array in own.items()}
        wanted = [parts(name)[-length:] for name in names]
        if len(set(wanted)) == len(wanted) and len(ending) == len(own) and all(key in ending for key in wanted):
            return [ending[key] for key in wanted]
    return [own[key] for key in sorted(own, key=lambda key: natural("/".join(key)))]


def outputs(weights: Mapping[str, np.ndarray], layout: Layout) -> list[int]:
    """What each layer puts out."""
    return [int(weights[kernel].shape[0 if layout.transposed else 1]) for kernel, _ in layout.layers]


def few(names: Sequence[str], most: int = 6) -> str:
    """Some names for a message."""
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
