"""What a format is, and what all of them share."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recon import reading
from recon.errors import ReconError
from recon.reading import LIMIT

Arrays = dict[str, np.ndarray]
"""Arrays by name; a nested tree's names are joined by slashes."""

PICKLE = (
    "{} is a pickle, which can run code when it is read: save the arrays instead, as by "
    'safetensors.torch.save_file(model.state_dict(), "weights.safetensors") or, of scikit-learn, '
    'skops.io.dump(model, "model.skops").'
)
KIND = "{} holds numbers of the kind {}: save them as float32, as they were in training."
KERAS = 'model.save("model.keras") or numpy.savez("weights.npz", *model.get_weights())'
# Files of programs that are not read, by suffix, and what saves their weights so that they are.
FOREIGN = {
    ".pb": KERAS,
    ".tflite": KERAS,
    ".index": 'numpy.savez("weights.npz", **{n: reader.get_tensor(n) for n in reader.get_variable_to_shape_map()}), '
    "with reader = tf.train.load_checkpoint(path)",
    ".mat": 'numpy.savez("weights.npz", W1=..., b1=..., W2=...) of the arrays of scipy.io.loadmat(path)',
    ".gguf": "its weights as .safetensors, before they are converted",
}
# Kinds of numbers below float32's precision, by their names in NumPy (ml_dtypes, which comes with JAX, adds them).
NARROW = ("bfloat16", "float8_e4m3fn", "float8_e5m2")
# Weights are packed to a half at best, with most of them pruned to a tenth; images of few colours to a fiftieth.
DENSEST = 100  # times that a file may unpack to its size,
SMALL = 256 << 20  # if to more bytes than this, which are read in a moment
TABLE = 1 << 20  # bytes of an archive's table of contents: of thousands of arrays they are fewer, and read at once
LINEAR = "linear"  # no activation


def foreign(path: Path, suffix: str) -> str:
    """What to do about a file that is not read."""
    return (
        f"{path} is of a format that is not read here ({suffix}): load it where it was made and save {FOREIGN[suffix]}."
    )


@dataclass(frozen=True)
class Format:
    """A way of storing arrays.

    Attributes:
      name: as in messages.
      suffixes: of its files.
      holds: whether a file is of it, told by the path and the first bytes (none, of a folder).
      read: its arrays; raises ValueError and the like where the file is damaged, ReconError where it says the fix.
      activation: of the hidden layers, as a description of the network in the file tells, see `told`; None: none does.
    """

    name: str
    suffixes: tuple[str, ...]
    holds: Callable[[Path, bytes], bool]
    read: Callable[[Path], Arrays]
    activation: Callable[[Path], str | None] = lambda _: None


def members(path: Path, head: bytes) -> frozenset[str]:
    """Names of what a zip archive holds; none where the file is no such or damaged."""
    if not head.startswith(b"PK"):
        return frozenset()
    try:
        with reading.archive(path, LIMIT, TABLE) as opened:
            return frozenset(opened.namelist())
    except Exception:  # whatever a damaged archive makes the library raise: its reader says so
        return frozenset()


def refuse_bomb(path: Path, packed: int, unpacked: int) -> None:
    """Refuse a file that unpacks to more than weights do, before it is unpacked.

    Args:
      packed, unpacked: bytes, as the file tells them.
    """
    if unpacked > max(SMALL, DENSEST * packed):
        raise ReconError(
            f"{path} unpacks from {packed >> 20} to {unpacked >> 20} MiB, as no weights do: save the network's alone."
        )
    if unpacked > LIMIT:
        raise ReconError(f"{path} holds more than {LIMIT >> 30} GiB: save the weights by themselves.")


def refuse_packed(path: Path) -> None:
    """Refuse a zip archive that is damaged, that holds a pickle, or that unpacks to more than weights do."""
    with reading.archive(path, LIMIT, TABLE) as opened:
        inside = opened.infolist()
    if any(member.filename.endswith(".pkl") for member in inside):
        raise ReconError(PICKLE.format(path))
    refuse_bomb(path, sum(member.compress_size for member in inside), sum(member.file_size for member in inside))


def numbered(place: int, path: str) -> str:
    """A layer's path with its place in the network before it, so that names tell the order."""
    return f"layer_{place}/{path}"


def told(steps: Iterable[str | None]) -> str | None:
    """The activation of the hidden layers.

    Args:
      steps: what a network computes, in order: None is a layer with a kernel, a word an activation.

    Returns:
      A name as `recon.networks.activations.named` takes it; the words of several, or of one that it has not, joined by
      "and"; None where there are no hidden layers.
    """
    between: list[list[str]] = []
    for step in steps:
        if step is None:
            between.append([])
        elif between and step != LINEAR:
            between[-1].append(step)
    hidden = dict.fromkeys(" then ".join(words) or LINEAR for words in between[:-1])
    return " and ".join(hidden) or None


def leaves(tree: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves of nested mappings and sequences, by name."""
    if isinstance(tree, Mapping):
        items: Any = tree.items()
    elif isinstance(tree, list | tuple):
        items = enumerate(tree)
    else:
        yield name, tree
        return
    for key, value in items:
        yield from leaves(value, f"{name}/{key}" if name else str(key))


def widened(array: np.ndarray) -> np.ndarray:
    """An array as it is, of one of the `NARROW` kinds as float32, which holds the same numbers."""
    return array.astype(np.float32) if array.dtype.name in NARROW else array


def narrow(held: bytes | bytearray | memoryview, kind: str) -> np.ndarray:
    """Numbers of one of the `NARROW` kinds, from their bytes, as float32."""
    import ml_dtypes

    return widened(np.frombuffer(held, getattr(ml_dtypes, kind)))
