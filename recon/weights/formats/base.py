"""What a format is, and what all of them share."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]
"""Arrays by name; a nested tree's names are joined by slashes."""

PICKLE = (
    "{} is a pickle, which can run code when it is read: save the arrays instead, as by "
    'safetensors.torch.save_file(model.state_dict(), "weights.safetensors").'
)
KIND = "{} holds numbers of the kind {}: save them as float32, as they were in training."
KERAS = 'numpy.savez("weights.npz", *model.get_weights())'
# Files of programs that are not read, by suffix, and what saves their weights so that they are.
FOREIGN = {
    ".keras": KERAS,
    ".h5": KERAS,
    ".hdf5": KERAS,
    ".pb": KERAS,
    ".index": 'numpy.savez("weights.npz", **{n: reader.get_tensor(n) for n in reader.get_variable_to_shape_map()}), '
    "with reader = tf.train.load_checkpoint(path)",
    ".skops": 'numpy.savez("weights.npz", *model.coefs_, *model.intercepts_)',
    ".onnx": 'numpy.savez("weights.npz", **{t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer})',
}  # fmt: skip


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
    """

    name: str
    suffixes: tuple[str, ...]
    holds: Callable[[Path, bytes], bool]
    read: Callable[[Path], Arrays]


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
    """An array as it is, of bfloat16 as float32, which holds the same numbers."""
    return float32(array.view(np.uint16)) if array.dtype.name == "bfloat16" else array


def float32(bits: np.ndarray) -> np.ndarray:
    """Numbers of bfloat16 by their bits, which are the upper half of float32's."""
    return (bits.astype(np.uint32) << 16).view(np.float32)
