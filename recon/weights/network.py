"""Arrays that are a plain MLP, all of them: which is which layer, and how kernels are stored.

The rule: the layers are a chain, and a vector is as long as its layer's output. In the order of their names they may be
such a chain with kernels stored (in, out), as Flax, Keras and scikit-learn do, or (out, in), as PyTorch does; else the
one order counts that is, of layers of one shape by name. Where both ways of storing chain, the words for a kernel
decide; where the first layer is not sure, nothing does, and the caller must.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from recon.errors import ReconError
from recon.networks import MLP
from recon.weights.chains import bundles, chains, ends_of, kind, linked
from recon.weights.layout import KERNELS, Layout, Pairs
from recon.weights.names import KERNEL, Shape, called, few, module, natural, parts, word
from recon.weights.strangers import NoNetwork, refuse_other_layers

OUT_IN, IN_OUT = ("weight",), ("kernel", "coefs")  # words for a kernel that tell how it is stored
MOST_LAYERS = 300  # of a network: deeper ones do not train, and orders of more take long to try


class Several(NoNetwork):
    """Arrays that are a network in more than one way."""


@dataclass(frozen=True)
class Wanted:
    """What is known of a network.

    Attributes:
      widths: of the hidden layers, where they are known.
      layers: names of the layers from the input on, where they are said.
      kernels: how kernels are stored, where that is said.
      where: the arrays' place, for messages.
    """

    widths: tuple[int, ...] | None
    layers: tuple[str, ...]
    kernels: str | None
    where: str

    @property
    def ways(self) -> tuple[bool, ...]:
        """Whether kernels are stored (out, in), as far as it is said."""
        return tuple(out_in for out_in in (False, True) if self.kernels in (None, KERNELS[out_in]))


def asked(widths: tuple[int, ...] | None, layers: str | Sequence[str], kernels: str | None, where: str) -> Wanted:
    """What is known of a network, as `recon.weights.arranged` takes it."""
    if isinstance(layers, str):
        layers = [name for part in layers.split(",") if (name := part.strip())]
    if kernels not in (None, *KERNELS):
        raise ReconError(f"Kernels are stored {' or '.join(KERNELS)}, not {kernels!r}.")
    return Wanted(widths, tuple(layers), kernels, where)


def widths_of(network: object) -> tuple[int, ...] | None:
    """Widths of the hidden layers of 'mlp:1024x1024', of a sequence or of an `MLP`; None where nothing is said.

    Raises:
      ReconError: another kind of network, or no widths.
    """
    if network is None:
        return None
    if isinstance(network, MLP):
        return network.widths
    if isinstance(network, str):
        if not re.fullmatch(r"mlp:[1-9]\d{0,8}(x[1-9]\d{0,8})*", network, re.ASCII):
            raise ReconError(
                f"{network!r} cannot be audited: only plain MLPs, by their widths, mlp:1024x1024, and convolutions "
                "before hidden dense layers, conv:down=max."
            )
        return tuple(map(int, network.removeprefix("mlp:").split("x")))
    if not isinstance(network, Sequence) or not all(isinstance(w, int | np.integer) and w > 0 for w in network):
        raise ReconError(f"{network!r} is no network: give 'mlp:1024x1024', widths as in (1024, 1024), or an MLP.")
    return tuple(map(int, network))


def network(shapes: Mapping[str, Shape], wanted: Wanted) -> Layout:
    """The layers that arrays are.

    Args:
      shapes: of the arrays, in the order of the layers where these are named.

    Raises:
      ReconError: they are none, or in several ways.
    """
    where = wanted.where
    pairs = paired(shapes if wanted.layers else {name: shapes[name] for name in sorted(shapes, key=natural)}, where)
    ends = {out_in: ends_of(pairs, shapes, out_in) for out_in in wanted.ways}
    ends = {out_in: own for out_in, own in ends.items() if ended(pairs, shapes, [out for _, out in own])}
    found = [Layout(tuple(pairs), out_in) for out_in, own in ends.items() if linked(own, wanted.widths)]
    if not found and not wanted.layers:
        orders = {out_in: order for out_in, own in ends.items() if (order := only_order(own, wanted))}
        found = [Layout(tuple(pairs[i] for i in order), out_in) for out_in, order in orders.items()]
    if not found:
        told = "" if wanted.widths is None else f" with hidden layers of {' and '.join(map(str, wanted.widths))}"
        own = few([f"{kernel} {shapes[kernel]}" for kernel, _ in pairs])
        raise NoNetwork(
            f"{where} holds no plain MLP{told}: the shapes do not chain ({own}); if not all are of its layers, name "
            "these by --layers."
        )
    if len(found) > 1:
        found = [layout for layout in found if layout.transposed == stored(pairs)]
    if len(found) != 1:
        raise Several(
            f"{where} may hold its kernels as (in, out) or as (out, in): say --kernels {' or '.join(KERNELS)}."
        )
    if not wanted.layers and other_first(found[0], shapes):
        raise Several(
            f"{where} holds layers that chain in several orders, and their names ({few([k for k, _ in pairs])}) do not "
            "tell which is the first: name them from the input on by --layers."
        )
    return found[0]


def paired(shapes: Mapping[str, Shape], where: str) -> Pairs:
    """Kernels with their biases, in the order of the shapes: by their names, else one after the other."""
    refuse_other_layers(shapes, where)
    matrices = [name for name, shape in shapes.items() if len(shape) == 2]
    vectors = [name for name, shape in shapes.items() if len(shape) == 1]
    if not matrices:
        raise ReconError(f"{where} holds no weights (no array is a matrix): give those of a multi-layer perceptron.")
    if len(matrices) > MOST_LAYERS:
        raise ReconError(f"{where} holds {len(matrices)} matrices, too many for an MLP's layers: name --layers.")
    worded = [name for name in matrices if called(name, KERNEL)]
    if worded and len(worded) < len(matrices):
        other = next(name for name in matrices if name not in worded)
        raise NoNetwork(f"{where} is of no plain MLP: {other} is no layer's kernel as {worded[0]} is; name --layers.")
    pairs = bundles(shapes)
    if sum(bias is not None for _, bias in pairs) == len(vectors):
        return pairs
    strange = [name for name in vectors if called(name, KERNEL)]
    if strange or len(vectors) != len(matrices):
        raise NoNetwork(
            f"{where} is of no plain MLP: {len(matrices)} matrices and {len(vectors)} vectors "
            f"({few(strange or vectors)}) are no layers with a bias each or none; name the layers by --layers."
        )
    return [*zip(matrices, vectors, strict=True)]


def ended(pairs: Pairs, shapes: Mapping[str, Shape], outs: Sequence[int]) -> bool:
    """Whether the biases are as long as what their layers put out."""
    return all(bias is None or shapes[bias] == (out,) for (_, bias), out in zip(pairs, outs, strict=True))


def only_order(ends: Sequence[tuple[int, int]], wanted: Wanted) -> tuple[int, ...] | None:
    """The order of all layers that is a chain, if one is; layers of one shape stand in it as given.

    Raises:
      Several: there are more, or too many to try.
    """
    found: list[tuple[int, ...]] = []
    for chain in chains(ends, ends, widths=wanted.widths or ()):
        if chain is not None and len(chain) == len(ends) and linked([ends[i] for i in chain], wanted.widths):
            found.append(chain)
        if chain is None or len(found) > 1:
            raise Several(
                f"{wanted.where} holds layers that chain in several orders: name them from the input on by --layers."
            )
    return found[0] if found else None


def stored(pairs: Pairs) -> bool | None:
    """Whether kernels of these names are stored (out, in); None where the names do not tell."""
    if all(called(kernel, OUT_IN) for kernel, _ in pairs):
        return True
    haiku = all(module(kernel) and parts(kernel)[-1] == "w" for kernel, _ in pairs)
    slim = all(word(kernel) == "weights" for kernel, _ in pairs) and any(b and word(b) == "biases" for _, b in pairs)
    return False if haiku or slim or all(called(kernel, IN_OUT) for kernel, _ in pairs) else None


def other_first(layout: Layout, shapes: Mapping[str, Shape]) -> bool:
    """Whether another layer may be the first just as well: shapes chain from it, too, and its name is of another kind.

    'encoder.weight' and 'decoder.weight' may stand in either order, 'fc1.weight' and 'fc2.weight' not.
    """
    pairs = sorted(layout.layers, key=lambda pair: natural(pair[0]))
    ends = ends_of(pairs, shapes, layout.transposed)
    kinds = [kind(kernel) for kernel, _ in pairs]
    tops = {parts(kernel)[0] for kernel, _ in pairs}
    if len(tops) == len(pairs) and len({kind(top) for top in tops}) == 1:
        return False  # by the numbers that they begin with, as of 'stage1.a.weight' and 'stage2.b.weight'
    first, last = (pairs.index(layout.layers[i]) for i in (0, -1))
    size = ends[first][0]
    if len({*kinds}) == 1 or ([fan_in for fan_in, _ in ends].count(size) == 1 and ends[last][1] != size):
        return False  # by their numbers, or as no chain through all of them begins elsewhere
    found = chains(ends, kinds)
    return any(chain is None or (len(chain) == len(pairs) and chain[0] != first) for chain in found)
