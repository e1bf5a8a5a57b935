"""Flax's `serialization.to_bytes`: MessagePack with arrays as extensions of shape, dtype and bytes."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from recon.errors import ReconError
from recon.reading import content, plain
from recon.weights.formats.base import NARROW, Arrays, Format, leaves, narrow

ARRAY, SCALAR = 1, 3  # codes of flax.serialization's extension types
CHUNKED = "__msgpack_chunked_array__"


def extension(code: int, data: memoryview) -> Any:
    """An array, or whatever else, which is no weight; of one of the `NARROW` kinds as float32."""
    if code not in (ARRAY, SCALAR):
        return None
    shape, name, held = msgspec.msgpack.decode(bytes(data), type=tuple[list[int], str, bytes])
    if name in NARROW:
        return narrow(held, name).reshape(shape)
    dtype = np.dtype(name)
    if not plain(dtype):
        raise ValueError(f"an array of {name}")
    return np.frombuffer(held, dtype).reshape(shape)


def read(path: Path) -> Arrays:
    """The arrays of the tree; Flax splits those of a gigabyte and more, which are refused."""
    found = dict(leaves(msgspec.msgpack.decode(content(path), ext_hook=extension)))
    if any(CHUNKED in name for name in found):
        raise ReconError(f"{path} holds arrays of a gigabyte or more: save its arrays as .safetensors.")
    return {name: value for name, value in found.items() if isinstance(value, np.ndarray)}


FORMAT = Format("Flax msgpack", (".msgpack",), lambda path, _: path.suffix == ".msgpack", read)
