"""HDF5: Keras's .weights.h5 and its older .h5, and arrays by any names; read by h5py, an extra of this project."""

import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from recon.errors import ReconError
from recon.reading import LIMIT, plain
from recon.weights.formats import keras_layout
from recon.weights.formats.base import NARROW, Arrays, Format, narrow, refuse_bomb

HEAD = b"\x89HDF\r\n\x1a\n"
FILTERS = (1, 2, 3, 32000)  # DEFLATE, shuffle, checksum, LZF: others are programs of their own, which HDF5 would load
MOST = 100_000  # of arrays and groups: a file of any more is no network
Read = TypeVar("Read")


def opened(file: Path | io.BytesIO, path: Path, reader: Callable[[Any], Read]) -> Read:
    """What a reader makes of an open file.

    Args:
      path: of the file, or of the archive that holds it, for messages.
    """
    try:
        import h5py
    except ImportError as error:
        raise ReconError(f"{path} needs h5py: .venv/bin/python -m pip install h5py.") from error
    with h5py.File(file, "r", locking=False) as held:
        return reader(held)


def read(path: Path) -> Arrays:
    """The arrays."""
    return opened(path, path, lambda held: arrays_of(held, path))


def arrays_of(held: Any, path: Path) -> Arrays:
    """The arrays of an open file, under the names that their layout gives them.

    Args:
      held: an `h5py.File`.
      path: of the file, for messages.
    """
    datasets: dict[str, Any] = {}
    seen = 0

    def visit(name: str, thing: Any) -> None:
        # Links, which may lead to other files, are not followed.
        nonlocal seen
        seen += 1
        if seen > MOST:
            raise ValueError(f"it holds more than {MOST} arrays and groups")
        if hasattr(thing, "dtype") and thing.shape is not None and kind(thing) is not None:
            datasets[name] = thing

    held.visititems(visit)
    for thing in datasets.values():
        settings = thing.id.get_create_plist()
        if thing.external or thing.is_virtual:
            raise ValueError("an array is kept in another file")
        if any(settings.get_filter(i)[0] not in FILTERS for i in range(settings.get_nfilters())):
            raise ValueError("an array is packed in another way than DEFLATE")
    unpacked = sum(math.prod(thing.shape) * thing.dtype.itemsize for thing in datasets.values())
    refuse_bomb(path, sum(thing.id.get_storage_size() for thing in datasets.values()), unpacked)
    if unpacked > LIMIT:
        raise ReconError(f"{path} holds more than {LIMIT >> 30} GiB: save the weights by themselves.")
    names = keras_layout.names({name: thing.shape for name, thing in datasets.items()}, *listed(held))
    return {names.get(name, name): numbers(thing) for name, thing in datasets.items()}


def kind(thing: Any) -> str | None:
    """What an array's numbers are: a NumPy dtype's name or one of `NARROW`; None where they are no numbers."""
    if plain(thing.dtype):
        return str(thing.dtype.name)
    told = thing.attrs.get("dtype") if thing.dtype.kind == "V" else None  # as Keras writes what HDF5 has not
    return told if told in NARROW else None


def numbers(thing: Any) -> np.ndarray:
    """An array, of one of the `NARROW` kinds as float32."""
    told, values = kind(thing), np.asarray(thing[()])
    return narrow(values.tobytes(), told).reshape(values.shape) if told in NARROW else values


def listed(held: Any) -> tuple[Sequence[str], Sequence[str], str]:
    """Paths of the layers' and of the optimiser's arrays, in order, of the older layout, and the optimiser's name."""

    def words(group: Any, name: str) -> list[str]:
        return [w.decode() if isinstance(w, bytes) else str(w) for w in np.ravel(group.attrs.get(name, ()))]

    top = "model_weights/" if "model_weights" in held else ""
    layers = []
    for layer in words(held[top] if top else held, "layer_names"):
        group = held.get(f"{top}{layer}")
        layers += [] if group is None else [f"{top}{layer}/{name}" for name in words(group, "weight_names")]
    optimiser = held.get("optimizer_weights")
    slots = [] if optimiser is None else [f"optimizer_weights/{name}" for name in words(optimiser, "weight_names")]
    algorithm = held.get("optimizer/vars")
    return layers, slots, "" if algorithm is None else str(algorithm.attrs.get("name", ""))


def activation(path: Path) -> str | None:
    """As the configuration tells that older files hold."""

    def told(held: Any) -> str | None:
        config: Mapping[str, Any] | None = json.loads(held.attrs.get("model_config", "null"))
        return None if config is None else keras_layout.activation(config)

    return opened(path, path, told)


FORMAT = Format("HDF5", (".h5", ".hdf5"), lambda _, head: head.startswith(HEAD), read, activation)
