"""Names of arrays: their parts, the word for what an array is, the module that it belongs to."""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeVar

WRAPPERS = ("module", "_orig_mod", "_module", "_forward_module")  # of DataParallel, torch.compile, Opacus, Fabric
COLLECTIONS = ("params", "batch_stats", "buffers", "state")  # of Flax and others: parts of one module stand in several
BOXES = ("value", "raw_value")  # behind every name of Flax NNX
KERNEL = ("weight", "weights", "kernel", "coefs", "w")
BIAS = ("bias", "biases", "intercepts", "b")
NAMED = re.compile(rf"(^|_)(?:{'|'.join(KERNEL + BIAS)})([_\d]*)$", re.IGNORECASE)
Shape = tuple[int, ...]
Thing = TypeVar("Thing")


@lru_cache(1 << 16)
def parts(name: str) -> tuple[str, ...]:
    """A name's parts: 'net.0.weight' or 'params/Dense_0/kernel' is three."""
    found = tuple(re.split(r"[./]", name))
    return found[:-1] if len(found) > 2 and found[-1] in BOXES else found


def natural(name: str) -> list[Any]:
    """Sorts 'fc2' before 'fc10'."""
    return [int(piece) if piece.isdecimal() else piece for piece in re.split(r"(\d+)", name)]


@lru_cache(1 << 16)
def word(name: str) -> str:
    """The last word of a name without its number: 'weight' of 'net.0.weight', 'coefs' of 'coefs_/0' or 'coefs_0'."""
    words = [part.rstrip("_0123456789") for part in parts(name)]
    return next((w for w in reversed(words) if w), "")


def called(name: str, words: Sequence[str]) -> bool:
    """Whether the last word is one of these, or ends in one behind an underscore, as in 'fc1_weight'."""
    own = word(name).lower()
    return own in words or own.endswith(tuple(f"_{w}" for w in words))


def module(name: str) -> tuple[str, ...]:
    """What stands above an array: ('net', '0') of 'net.0.weight'; nothing of 'W1'."""
    return parts(name)[:-1]


@lru_cache(1 << 16)
def stem(name: str) -> str:
    """A name without the word for a kernel or a bias: 'fc1_' of 'fc1_weight', '/0' of 'coefs_/0', '1' of 'b1'."""
    return "/".join(NAMED.sub(r"\1\2", part) for part in parts(name))


def places(name: str, path: tuple[str, ...]) -> list[int]:
    """Where these parts stand in a name, one after the other."""
    own = parts(name)
    return [i for i in range(len(own)) if own[i : i + len(path)] == path]


def unwrapped(path: tuple[str, ...]) -> tuple[str, ...]:
    """Parts without those that wrappers of modules put before them."""
    return tuple(part for part in path if part not in WRAPPERS) or path


def bare(arrays: Mapping[str, Thing]) -> dict[str, Thing]:
    """The arrays under the names that they have without `WRAPPERS`, as long as these tell them apart."""
    pattern = re.compile(rf"(?<![^./])(?:{'|'.join(WRAPPERS)})[./]")
    made = {pattern.sub("", name): array for name, array in arrays.items()}
    return made if len(made) == len(arrays) else dict(arrays)


def rooted(arrays: Mapping[str, Thing]) -> dict[tuple[str, ...], Thing]:
    """The arrays by the parts of their names without those that all of them begin with."""
    split = {parts(name): array for name, array in arrays.items()}
    shared = 0
    while split and min(map(len, split)) > shared + 1 and len({path[shared] for path in split}) == 1:
        shared += 1
    return {path[shared:]: array for path, array in split.items()}


def few(names: Sequence[str], most: int = 6) -> str:
    """Some names for a message."""
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
