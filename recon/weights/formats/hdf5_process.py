"""Reads an HDF5 file in a process of its own: on damaged files HDF5's library may crash, or never return.

    python -I hdf5_process.py PATH LIMITS    # PATH - for standard input

Stands alone, so that it starts in a moment. Writes an .npz to standard output: arrays by number, and as `about` what
else is told in JSON; if it refuses the file, a sentence to standard error.
"""

import io
import json
import math
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np

FILTERS = (1, 2, 3, 32000)  # DEFLATE, shuffle, checksum, LZF: others are programs of their own, which HDF5 would load
MOST = 10_000  # arrays and groups: a file of more is no network
SECONDS, SPEED = 1.0, 20e6  # of processor time that a file may take, and one more for so many bytes
ROOM = 1 << 30  # bytes of memory beyond four times the file, and what it may unpack to


def bound(size: int) -> None:
    """End this process where it takes longer, or more memory, than a file of `size` bytes can need."""
    if hasattr(signal, "setitimer"):  # not on Windows, where only the parent's patience ends
        import resource

        signal.setitimer(signal.ITIMER_PROF, SECONDS + size / SPEED)
        resource.setrlimit(resource.RLIMIT_AS, (ROOM + 4 * size, ROOM + 4 * size))


def arrays_of(held: Any, limits: dict[str, Any]) -> dict[str, Any]:
    """The file's arrays of numbers, unread, by path. Links, which may lead to other files, are not followed."""
    found: dict[str, Any] = {}
    seen = 0

    def visit(name: str, thing: Any) -> None:
        nonlocal seen
        seen += 1
        if seen > MOST:
            raise ValueError(f"it holds more than {MOST} arrays and groups")
        if hasattr(thing, "dtype") and thing.shape is not None and kind(thing, limits) is not None:
            found[name] = thing

    held.visititems(visit)
    for thing in found.values():
        settings = thing.id.get_create_plist()
        if thing.external or thing.is_virtual:
            raise ValueError("an array is kept in another file")
        if any(settings.get_filter(i)[0] not in FILTERS for i in range(settings.get_nfilters())):
            raise ValueError("an array is packed in another way than DEFLATE")
    packed = sum(thing.id.get_storage_size() for thing in found.values())
    unpacked = sum(math.prod(thing.shape) * thing.dtype.itemsize for thing in found.values())
    if unpacked > min(max(limits["small"], limits["densest"] * packed), limits["most"]):
        raise ValueError(f"it unpacks from {packed >> 20} to {unpacked >> 20} MiB, as no weights do")
    return found


def kind(thing: Any, limits: dict[str, Any]) -> str | None:
    """What an array's numbers are, by a dtype's name; None where they are no numbers."""
    if thing.dtype.kind in "biuf":
        return str(thing.dtype.name)
    told = thing.attrs.get("dtype") if thing.dtype.kind == "V" else None  # so Keras writes kinds that HDF5 has not
    return str(told) if told in limits["narrow"] else None


def words(group: Any, name: str) -> list[str]:
    """An attribute of words."""
    return [w.decode() if isinstance(w, bytes) else str(w) for w in np.ravel(group.attrs.get(name, ()))]


def listed(held: Any) -> dict[str, Any]:
    """What attributes tell: paths of the layers' and the optimiser's arrays in order, its name, the configuration."""
    top = "model_weights/" if "model_weights" in held else ""
    layers = []
    for layer in words(held[top] if top else held, "layer_names"):
        group = held.get(f"{top}{layer}")
        layers += [] if group is None else [f"{top}{layer}/{name}" for name in words(group, "weight_names")]
    optimiser, variables = held.get("optimizer_weights"), held.get("optimizer/vars")
    slots = [] if optimiser is None else [f"optimizer_weights/{name}" for name in words(optimiser, "weight_names")]
    algorithm = "" if variables is None else str(variables.attrs.get("name", ""))
    config = held.attrs.get("model_config", "null")
    config = config.decode() if isinstance(config, bytes) else str(config)
    return {"layers": layers, "slots": slots, "algorithm": algorithm, "config": config}


def main(path: str, limits: dict[str, Any]) -> None:
    """Write the file's arrays and what it tells of them."""
    import h5py

    content = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    bound(len(content))
    with h5py.File(io.BytesIO(content), "r") as held:
        found = arrays_of(held, limits)
        about = {"names": [*found], "kinds": [kind(thing, limits) for thing in found.values()], **listed(held)}
        made = {str(i): np.asarray(thing[()]) for i, thing in enumerate(found.values())}
    made = {i: a.view(f"u{a.dtype.itemsize}") if a.dtype.kind == "V" else a for i, a in made.items()}
    made["about"] = np.frombuffer(json.dumps(about).encode(), np.uint8)
    savez: Any = np.savez
    savez(sys.stdout.buffer, **made)


if __name__ == "__main__":
    try:
        main(sys.argv[1], json.loads(sys.argv[2]))
    except Exception as error:  # the parent tells it
        sys.exit(" ".join(str(error).split()) or type(error).__name__)
