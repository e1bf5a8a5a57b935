"""Foreign names and transposed kernels into Flax layout, by the shapes that must chain.

The arrays of a multi-layer perceptron are matrices, each with at most one vector. Which matrix is which layer, and
whether it is stored (in, out), as Flax, Keras and scikit-learn do, or (out, in), as PyTorch does, follows from two
conditions: each layer puts out what the next takes in, and a vector is as long as its layer's output. Where they leave
a choice, names decide: their order, and `weight` for (out, in), `kernel` and `coefs` for (in, out).
"""

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from recon.errors import ReconError
from recon.networks import MLP, from_params
from recon.weights.formats.base import Arrays, leaves, widened
from recon.weights.names import (
    BIAS,
    KERNEL,
    Shape,
    begins,
    called,
    contains,
    digits,
    few,
    module,
    natural,
    parts,
    rooted,
    unwrapped,
    word,
)
from recon.weights.states import copies, states
from recon.weights.strangers import (
    NoNetwork,
    Normalisation,
    between,
    normalisations,
    refuse_adapters,
    refuse_normalisation,
    refuse_other_layers,
)

KERNELS = ("in-out", "out-in")
OUT_IN, IN_OUT = ("weight",), ("kernel", "coefs")
MOST_ORDERS = 1_000  # of layers that are tried where names do not tell
MOST_LAYERS = 300  # of a network: deeper ones do not train, and orders of more take long to try
MOST_ARRAYS = 2_000  # to be compared with each other: of the most layers and an optimiser's state there are fewer
MOST_BRANCHES = 100  # layers among which chains of some are looked for
MOST_OFFERED, MOST_TRIED = 3, 8  # values of --layers in a message, and those that are tried for it
Tree = dict[str, dict[str, np.ndarray]]
Ends = tuple[int, int]  # what a layer takes in and puts out
Pairs = list[tuple[str, str | None]]


@dataclass(frozen=True)
class Layout:
    """Which arrays are the layers of a plain MLP.

    Attributes:
      layers: names of each layer's kernel and bias (None: it has none), from the input on.
      transposed: kernels are stored (out, in).
      left_out: other arrays beside them, such as an optimiser's state.
    """

    layers: tuple[tuple[str, str | None], ...]
    transposed: bool
    left_out: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The arrays, layer by layer, kernel first."""
        return tuple(name for pair in self.layers for name in pair if name is not None)

    @property
    def filled(self) -> tuple[str, ...]:
        """Kernels of the layers that have no bias where others have one: `tree` gives them one of zeros."""
        without = tuple(kernel for kernel, bias in self.layers if bias is None)
        return without if len(without) < len(self.layers) else ()

    def tree(self, arrays: Mapping[str, np.ndarray]) -> Tree:
        """The arrays in Flax layout; all layers have biases if one has.

        Raises:
          ReconError: they make no plain MLP, or are not finite floating-point numbers.
        """
        made: Tree = {}
        for i, (kernel, bias) in enumerate(self.layers):
            value = numbers(arrays, kernel)
            made[f"Dense_{i}"] = {"kernel": value.T if self.transposed else value}
            if bias is not None:
                made[f"Dense_{i}"]["bias"] = numbers(arrays, bias).reshape(-1)
            elif self.filled:
                made[f"Dense_{i}"]["bias"] = np.zeros(value.shape[0 if self.transposed else 1], value.dtype)
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


def flat(tree: Any) -> Arrays:
    """Arrays by name of nested mappings and lists, such as a parameter tree or scikit-learn's `coefs_`.

    Raises:
      ReconError: it holds something else.
    """
    found = {}
    for name, leaf in leaves(tree):
        if leaf is None:  # as neural-tangents has in the place of a bias
            continue
        value = widened(np.asarray(leaf))
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


def arranged(
    arrays: Mapping[str, np.ndarray],
    *,
    widths: tuple[int, ...] | None = None,
    layers: str | Sequence[str] = (),
    kernels: str | None = None,
    where: str = "The file",
) -> Layout:
    """Find the layers of a plain MLP among arrays; optimisers' states, single numbers and integers do not count.

    Args:
      widths: of the hidden layers, where they are known.
      layers: the names of the layers from the input on, as far as they tell the arrays apart: ('fc1', 'fc2', 'out'),
        or 'fc1,fc2,out'.
      kernels: how kernels are stored, "in-out" or "out-in" (default: as shapes and names tell).
      where: the arrays' place, for messages.

    Raises:
      ReconError: they are no plain MLP, or several; says which option settles it.
    """
    wanted = asked(widths, layers, kernels, where)
    layout = found(arrays, wanted)
    for one in among(arrays, layout):
        refuse_normalisation(one, one, arrays, arrays)
    return layout


def arranged_both(
    before: Mapping[str, np.ndarray],
    after: Mapping[str, np.ndarray],
    *,
    widths: tuple[int, ...] | None = None,
    layers: str | Sequence[str] = (),
    kernels: str | None = None,
    trained: bool = False,
    where: tuple[str, str] = ("The tree of initial weights", "The tree of final weights"),
) -> tuple[Layout, Layout]:
    """Find the layers of a plain MLP among its initial and among its final weights, and see that nothing else counts.

    Args:
      widths, layers, kernels: as `arranged` takes them.
      trained: only layers that training changed, as behind a frozen feature extractor.
      where: the arrays' places, for messages.

    Raises:
      ReconError: as `arranged`; or a normalisation stands among the layers, and whether it can be folded into them; or
        training changed nothing.
    """
    first, last = (asked(widths, layers, kernels, one) for one in where)
    names = changed(before, after) if trained else (None, None)
    layout = found(before, first, names[0])
    refuse_adapters(after, last.where)
    try:
        other = found(after, last, names[1])
    except ReconError:
        # What the final weights hold besides, such as averages of them, is told by the initial ones not having it.
        same = all(name in after and after[name].shape == before[name].shape for name in layout.names)
        other = replace(layout, left_out=left_out(after, layout))
        if not same or any(completes(name, layout) for name in other.left_out):
            raise
    for one, two in zip(layout.layers, other.layers, strict=False):
        if (one[1] is None) != (two[1] is None):
            raise ReconError(f"The bias of {one[0]} is in one of the two files only: save both in the same way.")
    initial, final = among(before, layout), among(after, other)
    if len(initial) != len(final):
        name = (initial or final)[0].names[0]
        raise ReconError(f"{name}, of a normalisation, is in one of the two files only: save both in the same way.")
    for a, b in zip(initial, final, strict=True):
        refuse_normalisation(a, b, before, after)
    return layout, other


def asked(widths: tuple[int, ...] | None, layers: str | Sequence[str], kernels: str | None, where: str) -> Wanted:
    """What is known of a network, as `arranged` takes it.

    Raises:
      ReconError: kernels are not stored in that way.
    """
    if isinstance(layers, str):
        layers = [name for part in layers.split(",") if (name := part.strip())]
    if kernels not in (None, *KERNELS):
        raise ReconError(f"Kernels are stored {' or '.join(KERNELS)}, not {kernels!r}.")
    return Wanted(widths, tuple(layers), kernels, where)


def changed(before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray]) -> tuple[set[str], set[str]]:
    """Names, before and after, of the arrays that training changed and of what it left alone among and beside them.

    Raises:
      ReconError: the two do not hold the same arrays, or none changed.
    """
    first, last = rooted({name: name for name in before}), rooted({name: name for name in after})
    if {p: before[n].shape for p, n in first.items()} != {p: after[n].shape for p, n in last.items()}:
        raise ReconError(
            "Initial and final weights do not hold the same arrays: give both with the extractor's or not."
        )
    moved = {path for path, name in first.items() if not np.array_equal(before[name], after[last[path]])}
    if not moved:
        raise ReconError("Initial and final weights are equal: there is no change to reconstruct from.")
    matrices = {path: natural("/".join(path)) for path, name in first.items() if before[name].ndim == 2}
    kinds = {path: kind("/".join(path)) for path in matrices}
    reach: dict[str, list[list[Any]]] = {}
    for path in matrices.keys() & moved:
        reach.setdefault(kinds[path], []).append(matrices[path])
    # A frozen layer between two that were trained is the network's, by its number.
    kept = moved | {
        path for path, at in matrices.items() if (own := reach.get(kinds[path])) and min(own) < at < max(own)
    }
    alone = Counter(path[:-1] for path in matrices if len(path) > 1)
    beside = {path[:-1] for path in matrices.keys() & kept if alone[path[:-1]] == 1}
    kept |= {path for path, name in first.items() if before[name].ndim == 1 and path[:-1] in beside}
    return {first[path] for path in kept}, {last[path] for path in kept}


def found(arrays: Mapping[str, np.ndarray], wanted: Wanted, names: Collection[str] | None = None) -> Layout:
    """The layers among arrays; normalisations do not count.

    Args:
      names: of the arrays that count (default: all).

    Raises:
      ReconError: as `arranged`.
    """
    refuse_adapters(arrays, wanted.where)
    every = considered(arrays)
    beside = {name for one in normalisations(every) for name in one.names}
    plain = {
        name: shape
        for name, shape in every.items()
        if shape and name not in beside and (names is None or name in names)
    }
    many = len(plain) > MOST_ARRAYS
    if many and not wanted.layers:
        raise ReconError(f"{wanted.where} holds {len(plain)} arrays, too many for an MLP: name its layers by --layers.")
    unnamed = replace(wanted, layers=())
    state, unclear = (set(), False) if many else states(plain, lambda shapes: chain(shapes, unnamed))
    weights = {name: shape for name, shape in plain.items() if name not in state}
    try:
        if wanted.layers:
            made = network(selected(weights, plain, wanted), wanted)
        elif (unclear and weights) or (copies(weights) and chain(weights, wanted)):
            raise NoNetwork(
                f"{wanted.where} holds a network and what may be a copy or a state of it, or more of its layers: name "
                "those to audit by --layers."
            )
        else:
            made = network(weights, wanted)
    except NoNetwork as error:
        offers = [] if wanted.layers else offered(weights, plain if unclear else weights, wanted, arrays, names)
        if not offers:
            raise
        raise ReconError(f"{str(error)[:-1]}; what can be audited is {' or '.join(offers)}.") from error
    return replace(made, left_out=left_out(arrays, made))


def chain(shapes: Mapping[str, Shape], wanted: Wanted) -> bool:
    """Whether arrays make a plain MLP, in one way or several."""
    try:
        network(shapes, wanted)
    except Several:
        return True
    except ReconError:
        return False
    return True


def left_out(arrays: Mapping[str, np.ndarray], layout: Layout) -> tuple[str, ...]:
    """Arrays, of more than a single number, that are none of the layers'."""
    own = set(layout.names)
    return tuple(sorted((name for name, array in arrays.items() if array.ndim and name not in own), key=natural))


def considered(arrays: Mapping[str, np.ndarray]) -> dict[str, Shape]:
    """Shapes of the arrays that may be weights: floating-point numbers, and integers only where they stand for such.

    Biases of shape (1, W), as stax and others have them, count as (W,).
    """
    floats = {name for name, array in arrays.items() if array.dtype.kind == "f"}
    worded = any(arrays[name].ndim == 2 and called(name, KERNEL) for name in floats)
    shapes = {
        name: array.shape
        for name, array in arrays.items()
        if array.size
        and (
            name in floats
            or (array.ndim == 2 and (called(name, KERNEL) or not worded))
            or (array.ndim == 1 and called(name, BIAS))
        )
    }
    layers: dict[tuple[str, ...], dict[str, Shape]] = {}
    for name, shape in shapes.items():
        if len(shape) == 2:
            layers.setdefault(module(name), {})[parts(name)[-1]] = shape
    # Tuples in tuples, of kernel and bias, without a word for either.
    stax = len(layers) > 1 and all(
        path
        and path[-1].isdecimal()
        and own.keys() <= {"0", "1"}
        and own.get("1", (1, *own.get("0", ())[1:])) == (1, *own.get("0", ())[1:])
        for path, own in layers.items()
    )
    return {
        name: (max(shape),)
        if len(shape) == 2 and min(shape) == 1 and (called(name, BIAS) or (stax and parts(name)[-1] == "1"))
        else shape
        for name, shape in shapes.items()
    }


def among(arrays: Mapping[str, np.ndarray], layout: Layout) -> list[Normalisation]:
    """Normalisations among the layers."""
    shapes = considered(arrays)
    return between(normalisations(shapes), shapes, [kernel for kernel, _ in layout.layers])


def selected(weights: Mapping[str, Shape], every: Mapping[str, Shape], wanted: Wanted) -> dict[str, Shape]:
    """The arrays of the named layers, in the order of the names; a layer's bias comes with its kernel.

    Args:
      weights: arrays among which a name is looked for first, where it begins an array's name, then anywhere in it.
      every: where else it is looked for.

    Raises:
      ReconError: there is no layer of a name.
    """
    chosen: dict[str, Shape] = {}
    pairs = bundles(every)
    for layer in wanted.layers:
        ways = (
            [name for name in pool if stands(name, path)]
            for path in (parts(layer), unwrapped(parts(layer)))
            for pool in (weights, every)
            for stands in (begins, contains)
        )
        own = next(filter(None, ways), None)
        if own is None:
            raise ReconError(
                f"{wanted.where} has no layer {layer!r}: its arrays are {few(sorted(every, key=natural))}."
            )
        own += [bias for kernel, bias in pairs if kernel in own and bias is not None and bias not in own]
        chosen |= {name: every[name] for name in sorted(own, key=natural) if name not in chosen}
    return chosen


def bundles(shapes: Mapping[str, Shape]) -> Pairs:
    """Kernels, in the order of their names, each with the one bias that is called as it is."""
    made: dict[str, list[str]] = {name: [] for name in sorted(shapes, key=natural) if len(shapes[name]) == 2}
    owner: dict[tuple[str, ...], list[str]] = {}
    for name in made:
        owner.setdefault(module(name) or digits(name), []).append(name)
    for name, shape in shapes.items():
        own = owner.get(module(name) or digits(name), [])
        if len(shape) == 1 and len(own) == 1 and (module(name) or (digits(name) and called(name, BIAS))):
            made[own[0]].append(name)
    return [(kernel, found[0] if len(found) == 1 else None) for kernel, found in made.items()]


def completes(name: str, layout: Layout) -> bool:
    """Whether an array is called as the bias of a layer that has none."""
    return called(name, BIAS) and any(
        bias is None and (module(kernel) or digits(kernel)) == (module(name) or digits(name)) != ()
        for kernel, bias in layout.layers
    )


def offered(
    weights: Mapping[str, Shape],
    every: Mapping[str, Shape],
    wanted: Wanted,
    arrays: Mapping[str, np.ndarray],
    names: Collection[str] | None,
) -> list[str]:
    """Options --layers that make a network of some of the arrays where it is not clear of which.

    Args:
      weights: arrays of which the deepest chains are offered; of copies, the deepest of each.
      every: these, or more that are a deeper network with them.
      arrays, names: as `found` takes them.
    """
    groups = copies(weights)
    some = [own for group in groups[:MOST_OFFERED] for own in paths({n: weights[n] for n in group}, wanted)[:1]]
    made: list[str] = []
    for pairs in [*(some or paths(weights, wanted)), *(paths(every, wanted) if every != weights else [])][:MOST_TRIED]:
        for value in spelled(pairs):
            try:
                layout = found(arrays, replace(wanted, layers=value), names)
            except ReconError:
                continue
            if layout.layers == pairs and len(made) < MOST_OFFERED:
                made.append(f"--layers {','.join(value)}")
                break
    return made


def spelled(pairs: Sequence[tuple[str, str | None]]) -> Iterator[tuple[str, ...]]:
    """Values of --layers that may mean these layers, the shortest first: what stands above them, them, their arrays."""
    above = [module(kernel) for kernel, _ in pairs]
    sign = "/" if "/" in pairs[0][0] else "."
    for paths in ([path[:-1] for path in above], above):
        if all(paths):
            yield tuple(dict.fromkeys(sign.join(path) for path in paths))
    yield tuple(name for pair in pairs for name in pair if name is not None)


def paths(shapes: Mapping[str, Shape], wanted: Wanted) -> list[tuple[tuple[str, str | None], ...]]:
    """Longest chains of some of the layers, of these the ones with the fewest kinds of names."""
    worded = any(called(name, KERNEL) for name, shape in shapes.items() if len(shape) == 2)
    pairs = [pair for pair in bundles(shapes) if called(pair[0], KERNEL) or not worded]
    kinds = [kind(kernel) for kernel, _ in pairs]
    found = {
        chain
        for out_in in (False, True)
        if len(pairs) <= MOST_BRANCHES and wanted.kernels in (None, KERNELS[out_in])
        for chain in chains(ends_of(pairs, shapes, out_in), kinds, skip=True)
        if chain is not None and len(chain) > 1
    }
    depth = max(map(len, found), default=0)
    deepest = sorted(chain for chain in found if len(chain) == depth)
    fewest = min((len({kinds[i] for i in chain}) for chain in deepest), default=0)
    return [tuple(pairs[i] for i in chain) for chain in deepest if len({kinds[i] for i in chain}) == fewest]


def kind(name: str) -> str:
    """A name without its numbers: layers that differ in them alone stand in their order."""
    return re.sub(r"_?\d+", "", name)


def ends_of(pairs: Pairs, shapes: Mapping[str, Shape], out_in: bool) -> list[Ends]:
    """What each layer takes in and puts out."""
    ends = [(shapes[kernel][0], shapes[kernel][1]) for kernel, _ in pairs]
    return [(fan_in, fan_out) for fan_out, fan_in in ends] if out_in else ends


def chains(ends: Sequence[Ends], kinds: Sequence[str], skip: bool) -> Iterator[tuple[int, ...] | None]:
    """Sequences of layers that no other layer can go on; those of one kind stand in their order.

    Args:
      skip: layers of a kind may be left out between others.

    Yields:
      Each as far as `MOST_ORDERS` steps find them; then None if there may be more.
    """
    place = [kinds[:i].count(kind) for i, kind in enumerate(kinds)]

    def following(chain: tuple[int, ...]) -> list[int]:
        reached = {kinds[i]: place[i] + 1 for i in chain}
        places = ((i, place[i], reached.get(kinds[i], 0)) for i in range(len(ends)))
        free = [i for i, own, least in places if (own >= least if skip else own == least)]
        return [i for i in free if not chain or ends[i][0] == ends[chain[-1]][1]]

    todo: list[tuple[int, ...]] = [()]
    for _ in range(MOST_ORDERS):
        if not todo:
            return
        chain = todo.pop()
        more = following(chain)
        todo += [(*chain, i) for i in reversed(more)]
        if not more:
            yield chain
    if todo:
        yield None


def other_first(layout: Layout, shapes: Mapping[str, Shape]) -> bool:
    """Whether another layer may be the first just as well: shapes chain from it, too, and its name is of another kind.

    'encoder.weight' and 'decoder.weight' may stand in either order, 'fc1.weight' and 'fc2.weight' not.
    """
    pairs = sorted(layout.layers, key=lambda pair: natural(pair[0]))
    kinds = [kind(kernel) for kernel, _ in pairs]
    ends = ends_of([*layout.layers], shapes, layout.transposed)
    alike = sum(fan_in == ends[0][0] for fan_in, _ in ends) > 1 or ends[0][0] == ends[-1][1]
    if len(set(kinds)) == 1 or not alike:
        return False
    first = pairs.index(layout.layers[0])
    found = chains(ends_of(pairs, shapes, layout.transposed), kinds, skip=False)
    return any(chain is None or (len(chain) == len(pairs) and chain[0] != first) for chain in found)


class Several(NoNetwork):
    """Arrays that are a network in more than one way."""


def network(shapes: Mapping[str, Shape], wanted: Wanted) -> Layout:
    """The layers that arrays are.

    Args:
      shapes: of the arrays, in the order of the layers where these are named.

    Raises:
      ReconError: they are none, or in several ways.
    """
    where, kernels = wanted.where, wanted.kernels
    pairs = paired(shapes if wanted.layers else {name: shapes[name] for name in sorted(shapes, key=natural)}, where)
    ways = [out_in for out_in in (False, True) if kernels in (None, KERNELS[out_in]) and ended(pairs, shapes, out_in)]
    found = [Layout(tuple(pairs), out_in) for out_in in ways if fits(ends_of(pairs, shapes, out_in), wanted.widths)]
    if not found and not wanted.layers:
        found = [Layout(chain, out_in) for out_in in ways for chain in reordered(pairs, shapes, out_in, wanted)]
    if not found:
        told = "" if wanted.widths is None else f" with hidden layers of {' and '.join(map(str, wanted.widths))}"
        own = few([f"{kernel} {shapes[kernel]}" for kernel, _ in pairs])
        raise NoNetwork(
            f"{where} holds no plain MLP{told}: the shapes do not chain ({own}); if not all are of its layers, name "
            "these by --layers."
        )
    if len(found) > 1:
        # Both ways of storing chain: the names' convention is left.
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


def stored(pairs: Pairs) -> bool | None:
    """Whether kernels of these names are stored (out, in); None where the names do not tell."""
    if all(called(kernel, OUT_IN) for kernel, _ in pairs):
        return True
    haiku = all(module(kernel) and parts(kernel)[-1] == "w" for kernel, _ in pairs)
    slim = all(word(kernel) == "weights" for kernel, _ in pairs) and any(b and word(b) == "biases" for _, b in pairs)
    return False if haiku or slim or all(called(kernel, IN_OUT) for kernel, _ in pairs) else None


def paired(shapes: Mapping[str, Shape], where: str) -> Pairs:
    """Kernels with their biases, in the order of the shapes: by module, by number, else one after the other.

    Raises:
      ReconError: arrays that no MLP has, or biases that belong to no kernel.
    """
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
    for owned in (module, digits):
        owner = {owned(name): name for name in matrices}
        if len(owner) == len(matrices) and () not in owner and all(owned(name) in owner for name in vectors):
            of = {owner[owned(name)]: name for name in vectors}
            if len(of) == len(vectors):
                return [(name, of.get(name)) for name in matrices]
    strange = [name for name in vectors if called(name, KERNEL)]
    if strange or len(vectors) not in (0, len(matrices)):
        raise NoNetwork(
            f"{where} is of no plain MLP: {len(matrices)} matrices and {len(vectors)} vectors "
            f"({few(strange or vectors)}) are no layers with a bias each or none; name the layers by --layers."
        )
    return [(name, vectors[i] if vectors else None) for i, name in enumerate(matrices)]


def ended(pairs: Pairs, shapes: Mapping[str, Shape], out_in: bool) -> bool:
    """Whether the biases are as long as what their layers put out."""
    ends = ends_of(pairs, shapes, out_in)
    return all(bias is None or shapes[bias] == (end[1],) for (_, bias), end in zip(pairs, ends, strict=True))


def fits(ends: Sequence[Ends], widths: tuple[int, ...] | None, complete: bool = True) -> bool:
    """Whether layers take in what the ones before put out, with hidden layers as told.

    Args:
      complete: they are all of the layers, not the first ones.
    """
    outs = tuple(end[1] for end in ends)
    inner = all(fan_in == out for (fan_in, _), out in zip(ends[1:], outs[:-1], strict=True))
    if widths is None or not inner:
        return inner
    deep = len(ends) == len(widths) + 1 if complete else len(ends) <= len(widths) + 1
    return deep and outs[: len(widths)] == widths[: len(outs)]


def reordered(
    pairs: Pairs, shapes: Mapping[str, Shape], out_in: bool, wanted: Wanted
) -> list[tuple[tuple[str, str | None], ...]]:
    """The one sequence of the layers' shapes that chains, if there is one; of equal shapes, by name.

    Raises:
      Several: there are more, or too many to try.
    """
    ends = ends_of(pairs, shapes, out_in)
    found: dict[tuple[Ends, ...], list[int]] = {}
    todo: list[list[int]] = [[i] for i in reversed(range(len(pairs)))]
    tried = 0
    while todo and len(found) < 2 and tried < MOST_ORDERS:
        order, tried = todo.pop(), tried + 1
        own = tuple(ends[i] for i in order)
        if not fits(own, wanted.widths, len(order) == len(pairs)):
            continue
        if len(order) == len(pairs):
            found.setdefault(own, order)
            continue
        rest = sorted({*range(len(pairs))} - {*order})
        # Of layers of one shape the first by name goes first: other orders of them are the same to the shapes.
        firsts = {ends[i]: i for i in reversed(rest)}
        todo += [[*order, i] for i in sorted(firsts.values(), reverse=True)]
    if len(found) > 1 or (todo and tried == MOST_ORDERS):
        raise Several(
            f"{wanted.where} holds layers that chain in several orders: name them from the input on by --layers."
        )
    return [tuple(pairs[i] for i in order) for order in found.values()]
