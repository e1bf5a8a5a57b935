"""Layers that go on from each other: each takes in what the one before puts out.

What shapes tell of the order of layers is a search for such chains. Names come into it by the kinds of layers: those of
one kind stand in the order in which they are given.
"""

import re
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence

from recon.weights.layout import Pairs
from recon.weights.names import Shape, module, stem

MOST_STEPS = 1_000  # of a search: chains of a network are found in as many as it has layers, where names tell the order
Ends = tuple[int, int]
"""What a layer takes in and puts out."""


def bundles(shapes: Mapping[str, Shape]) -> Pairs:
    """Kernels, in the order given, each with the one vector that belongs to it.

    It stands in a module with no other kernel ('0/0', '0/1'), or has the same `stem` ('W1', 'b1'; 'coefs_/0',
    'intercepts_/0').
    """
    matrices = [name for name, shape in shapes.items() if len(shape) == 2]
    kernels = Counter(module(name) for name in matrices)

    def owner(name: str) -> tuple[str, ...]:
        above = module(name)
        return above if above and kernels[above] == 1 else ("", stem(name))

    owned: dict[tuple[str, ...], list[str]] = {}
    for name in matrices:
        owned.setdefault(owner(name), []).append(name)
    biases: dict[str, list[str]] = {name: [] for name in matrices}
    for name, shape in shapes.items():
        if len(shape) == 1 and len(own := owned.get(owner(name), [])) == 1:
            biases[own[0]].append(name)
    return [(name, found[0] if len(found) == 1 else None) for name, found in biases.items()]


def kind(name: str) -> str:
    """A name without its numbers: layers that differ in them alone stand in their order."""
    return re.sub(r"_?\d+", "", name)


def ends_of(pairs: Sequence[tuple[str, str | None]], shapes: Mapping[str, Shape], out_in: bool) -> list[Ends]:
    """What each layer takes in and puts out, if kernels are stored (out, in), or else (in, out)."""
    ends = [shapes[kernel] for kernel, _ in pairs]
    return [(s[1], s[0]) if out_in else (s[0], s[1]) for s in ends]


def linked(ends: Sequence[Ends], widths: tuple[int, ...] | None) -> bool:
    """Whether layers are a chain in the order given, with all hidden layers as told (None: of any widths)."""
    outs = tuple(out for _, out in ends[:-1])
    return outs == tuple(fan_in for fan_in, _ in ends[1:]) and widths in (None, outs)


def chains(
    ends: Sequence[Ends], kinds: Sequence[Hashable], *, skip: bool = False, widths: tuple[int, ...] = ()
) -> Iterator[tuple[int, ...] | None]:
    """Sequences of layers that no other layer can go on; those of one kind stand in their order.

    Args:
      skip: layers of a kind may be left out between others.
      widths: of the first layers, where they are told.

    Yields:
      Places of the layers of each, as far as `MOST_STEPS` find them; then None if there may be more.
    """
    place = [kinds[:i].count(kind) for i, kind in enumerate(kinds)]

    def following(chain: tuple[int, ...]) -> Iterator[int]:
        reached = {kinds[i]: place[i] + 1 for i in chain}
        told = widths[len(chain)] if len(chain) < len(widths) else None
        for i, (fan_in, out) in enumerate(ends):
            least = reached.get(kinds[i], 0)
            in_order = place[i] >= least if skip else place[i] == least
            if in_order and (not chain or fan_in == ends[chain[-1]][1]) and told in (None, out):
                yield i

    todo: list[tuple[int, ...]] = [()]
    for _ in range(MOST_STEPS):
        if not todo:
            return
        chain = todo.pop()
        more = [(*chain, i) for i in following(chain)]
        todo += reversed(more)
        if not more:
            yield chain
    if todo:
        yield None
