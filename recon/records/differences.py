"""Whether two computations of a cell gave the same, bit for bit, but for what the clock or free memory decides."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from recon.records.store import Stored

# Wall times; the process's own memory; the steps at which the loss was looked at, every half second; commit and time of
# making (the version of the code is in a cell's key).
PASSING = ("seconds", "reference_seconds", "peak_bytes", "trace", "provenance")


def lasting(value: Any) -> Any:
    """A record without what differs from run to run."""
    if isinstance(value, Mapping):
        return {k: lasting(v) for k, v in value.items() if k not in PASSING}
    if isinstance(value, list | tuple):
        return [lasting(v) for v in value]
    return value


def differences(a: Any, b: Any, path: str = "") -> list[str]:
    """Where two JSON-able values differ, in words; equal floats have equal bits."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        only = [f"{path}/{k}: in one only" for k in a.keys() ^ b.keys()]
        return only + [d for k in a.keys() & b.keys() for d in differences(a[k], b[k], f"{path}/{k}")]
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        return [d for i, (x, y) in enumerate(zip(a, b, strict=True)) for d in differences(x, y, f"{path}/{i}")]
    return [] if type(a) is type(b) and repr(a) == repr(b) else [f"{path}: {a!r} and {b!r}"]


def cells_differ(a: Stored, b: Stored) -> list[str]:
    """Where two computations of a cell differ, records and arrays."""
    found = differences(lasting(a.record), lasting(b.record))
    found += [f"array {k}: in one only" for k in a.arrays.keys() ^ b.arrays.keys()]
    for name in sorted(a.arrays.keys() & b.arrays.keys()):
        x, y = a.arrays[name], b.arrays[name]
        if x.shape != y.shape or x.dtype != y.dtype:
            found.append(f"array {name}: {x.dtype} {x.shape} and {y.dtype} {y.shape}")
        elif x.tobytes() != y.tobytes():
            gap = np.abs(x.astype(np.float64) - y.astype(np.float64)).max()
            found.append(f"array {name}: at most {gap:.1e} apart")
    return found
