"""What a message offers where it is not clear which arrays are the network: values of --layers that work."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice

from recon.weights.chains import bundles, chains, ends_of, kind
from recon.weights.layout import Layout
from recon.weights.names import KERNEL, Shape, called, module, natural
from recon.weights.network import Wanted
from recon.weights.states import copies

MOST_OFFERED, MOST_TRIED = 3, 8  # values of --layers in a message, and those that are tried for it
MOST_BRANCHES = 100  # layers among which chains of some are looked for
Chain = tuple[tuple[str, str | None], ...]


def offered(
    weights: Mapping[str, Shape],
    every: Mapping[str, Shape],
    wanted: Wanted,
    layout_of: Callable[[tuple[str, ...]], Layout | None],
) -> list[str]:
    """Options --layers that make a network of some of the arrays where it is not clear of which.

    Args:
      weights: arrays of which the deepest chains are offered; of copies, the deepest of each.
      every: these, or more that are a deeper network with them.
      layout_of: the layers that names of layers choose; None where they choose no network.
    """
    groups = copies(weights)[:MOST_OFFERED]
    some = [own for group in groups for own in deepest({n: weights[n] for n in group}, wanted)[:1]]
    tried = some or deepest(weights, wanted)
    tried += [] if every == weights else deepest(every, wanted)

    def working(pairs: Chain) -> tuple[str, ...] | None:
        return next((v for v in spelled(pairs) if (found := layout_of(v)) and found.layers == pairs), None)

    values = filter(None, map(working, tried[:MOST_TRIED]))
    return [f"--layers {','.join(value)}" for value in islice(values, MOST_OFFERED)]


def spelled(pairs: Chain) -> Iterator[tuple[str, ...]]:
    """Values of --layers that may mean these layers, the shortest first: what stands above them, them, their arrays."""
    above = [module(kernel) for kernel, _ in pairs]
    sign = "/" if "/" in pairs[0][0] else "."
    for paths in ([path[:-1] for path in above], above):
        if all(paths):
            yield tuple(dict.fromkeys(sign.join(path) for path in paths))
    yield tuple(name for pair in pairs for name in pair if name is not None)


def deepest(shapes: Mapping[str, Shape], wanted: Wanted) -> list[Chain]:
    """Longest chains of some of the layers, of these the ones with the fewest kinds of names.

    Before that, those that leave out the fewest layers of the kinds that they hold: these are another network's, such
    as a critic's beside an actor, or no plain one's.
    """
    worded = any(called(name, KERNEL) for name, shape in shapes.items() if len(shape) == 2)
    ordered = {name: shapes[name] for name in sorted(shapes, key=natural)}
    pairs = [pair for pair in bundles(ordered) if called(pair[0], KERNEL) or not worded]
    kinds = [kind(kernel) for kernel, _ in pairs]
    if len(pairs) > MOST_BRANCHES:
        return []
    found = {chain for way in wanted.ways for chain in chains(ends_of(pairs, shapes, way), kinds, skip=True) if chain}

    def rank(chain: Sequence[int]) -> tuple[int, int, int]:
        own = {kinds[i] for i in chain}
        return sum(one in own for one in kinds) - len(chain), -len(chain), len(own)

    best = min((rank(chain) for chain in found if len(chain) > 1), default=None)
    return [tuple(pairs[i] for i in chain) for chain in sorted(found) if rank(chain) == best]
