"""Optimisers' states, and copies of the weights, told from the weights by what they mirror."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile

from recon.weights.names import BIAS, KERNEL, Shape, called, parts

FIRST_MOMENTS = ("mu", "exp_avg", "momentum_buffer", "trace", "velocities", "velocity", "momentum")
SECOND_MOMENTS = ("nu", "exp_avg_sq", "max_exp_avg_sq")
# Words that no layer is called: where shapes leave it open, these are states.
SURE = ("exp_avg", "momentum_buffer", "velocities", "exp_avg_sq", "max_exp_avg_sq", "opt_state")
STATE = frozenset({*FIRST_MOMENTS, *SECOND_MOMENTS, *SURE, "optimizer", "optimiser", "step", "count"})
Works = Callable[[Mapping[str, Shape]], bool]


def states(shapes: Mapping[str, Shape], works: Works) -> tuple[set[str], bool]:
    """The arrays of optimisers' states.

    A layer may be called `velocity`, so that a word of `STATE` is not enough. A state mirrors the weights: below the
    word stand arrays with the names and shapes of some weights, or arrays below or under the word have all of the
    weights' shapes, once or several times over. Arrays with such a word that mirror nothing are layers if the network
    is one with them; otherwise they are left out, unless they are called as layers' arrays are.

    Args:
      works: whether arrays make a plain MLP.

    Returns:
      The names, and whether nothing but a word that a layer may be called tells them from more layers.
    """
    marked = {name: tuple(i for i, part in enumerate(parts(name)) if part in STATE) for name in shapes}
    marked = {name: at for name, at in marked.items() if at}
    if not marked:
        return set(), False
    sure = {name for name in marked if set(parts(name)) & set(SURE)}
    groups: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for name, at in marked.items():
        own = parts(name)
        for i in at:
            groups[own[: i + 1]].append(name)
        if at[-1] == len(own) - 1:
            groups[("", own[-1])].append(name)  # 0.exp_avg, 1.exp_avg, ... or fc1.weight.exp_avg
    weights = [Counter(shapes[name] for name in shapes if name not in without) for without in (marked, sure)]
    mirrors = set()
    for path, names in groups.items():
        if any(repeats(Counter(shapes[name] for name in names), own) for own in weights) or mirrored(
            path, names, shapes
        ):
            mirrors |= set(names)
    left = {name: shape for name, shape in shapes.items() if name not in mirrors}
    if not set(marked) <= mirrors and not works(left):
        mirrors |= {name for name in marked if not called(name, (*KERNEL, *BIAS))}
    return mirrors, bool(mirrors - sure) and works(shapes)


def repeats(group: Counter[Shape], weights: Counter[Shape]) -> bool:
    """Whether a group has the shapes of all the weights, once or several times over; these are a network's."""
    if sum(count for shape, count in weights.items() if len(shape) == 2) < 2 or set(group) != set(weights):
        return False
    times = {divmod(group[shape], count) for shape, count in weights.items()}
    return len(times) == 1 and times.pop()[1] == 0


def mirrored(path: tuple[str, ...], names: Sequence[str], shapes: Mapping[str, Shape]) -> bool:
    """Whether all that stands below a path stands, under the same names and in the same shapes, below another one."""
    below = {parts(name)[len(path) :]: shapes[name] for name in names if parts(name)[: len(path)] == path}
    matrices = sum(len(shape) == 2 for shape in below.values())
    # A single layer's 'kernel' and 'bias' stand below every layer of its shape.
    if len(below) != len(names) or () in below or (matrices < 2 and min(map(len, below)) < 2):
        return False
    known = {parts(name): shape for name, shape in shapes.items() if not set(names) & {name}}
    some = next(iter(below))
    tops = (own[: -len(some)] for own in known if own[-len(some) :] == some)
    return any(
        not set(top) & STATE and all(known.get((*top, *rest)) == shape for rest, shape in below.items()) for top in tops
    )


def copies(shapes: Mapping[str, Shape]) -> list[list[str]]:
    """The arrays in groups that are alike but for how their names begin, as of 'ema.fc1.weight' and 'fc1.weight'.

    Returns:
      The groups, each of a network's arrays; none where the arrays are not made up of such.
    """
    if not shapes:
        return []
    first = next(iter(shapes))
    found: dict[str, set[str]] = defaultdict(set)
    for name in shapes:
        length = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(name[::-1], first[::-1])))
        own, other = first[: len(first) - length], name[: len(name) - length]
        # Not 'fc1' and 'fc2' before '1.weight', of layers 11, 12, 21 and 22.
        cut = name[len(other) : len(other) + 1].isdecimal() and (own[-1:] + other[-1:]).isdecimal()
        if name != first and shapes[name] == shapes[first] and not cut:
            found[own] |= {own, other}
    for tops in found.values():
        groups: dict[str, dict[str, str]] = {top: {} for top in sorted(tops)}
        for name in shapes:
            top = max((t for t in tops if name.startswith(t)), key=len, default=None)
            if top is None:
                break
            groups[top][name[len(top) :]] = name
        else:
            alike = {tuple(sorted((rest, shapes[name]) for rest, name in own.items())) for own in groups.values()}
            if len(alike) == 1 and sum(len(shape) == 2 for _, shape in alike.pop()) > 1:
                return [list(own.values()) for own in groups.values()]
    return []
