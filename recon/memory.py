"""Memory of a piece of work in this process: what it took, and whether there is room for it."""

import ctypes
import gc
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from recon.errors import ReconError

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
MEMINFO, GROUP = Path("/proc/meminfo"), Path("/sys/fs/cgroup")
SHARE = 0.5  # of what the machine can give: the rest is for what else the process holds, and for others


class Peak:
    """Filled in when the work is done.

    Attributes:
      bytes: growth of the resident memory from the start of the work to its peak; None where it cannot be told.
    """

    bytes: int | None = None


def _status(name: str) -> int:
    for line in STATUS.read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise ValueError(name)


@contextmanager
def peak_memory() -> Iterator[Peak]:
    """Measure the peak of resident memory, as Linux keeps it: it counts every library's allocations and costs nothing.

    Memory that the process holds without using it is given back first, where the C library allows (glibc).
    """
    peak = Peak()
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    try:
        RESET.write_text("5", encoding="ascii")  # makes the present size the high-water mark
        before = _status("VmRSS")
    except (OSError, ValueError):
        yield peak
        return
    yield peak
    peak.bytes = max(_status("VmHWM") - before, 0)


class TooLarge(ReconError):
    """What would take more memory than there is; it was not begun."""


def room() -> int | None:
    """Bytes that a piece of work may take: what is free of an accelerator, half of it of the machine; None: unknown."""
    import jax

    if told := jax.devices()[0].memory_stats():
        return int(told["bytes_limit"] - told["bytes_in_use"])
    free = [found for found in (_machine(), _group()) if found is not None]
    return int(SHARE * min(free)) if free else None


def _machine() -> int | None:
    """Bytes that the machine can give without swapping; without Linux's word for it, all that it has."""
    with suppress(OSError, ValueError, StopIteration):
        lines = MEMINFO.read_text(encoding="ascii").splitlines()
        return int(next(line for line in lines if line.startswith("MemAvailable:")).split()[1]) * 1024
    with suppress(OSError, ValueError, AttributeError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def _group() -> int | None:
    """Bytes that a container may still take; its files in memory are given up where need be."""
    with suppress(OSError, ValueError, KeyError):
        most, taken = (int((GROUP / name).read_text(encoding="ascii")) for name in ("memory.max", "memory.current"))
        files = dict(line.split() for line in (GROUP / "memory.stat").read_text(encoding="ascii").splitlines())
        return most - taken + int(files["inactive_file"])
    return None


def temporary(program: Any) -> float:
    """Bytes that a program compiled by JAX takes beside its arguments and results; NaN where XLA does not tell."""
    return float(getattr(program.memory_analysis(), "temp_size_in_bytes", math.nan))


def require(needed: float, what: str, fix: str) -> None:
    """Refuse work before it is begun, where the machine tells that it has not the memory.

    Args:
      needed: bytes; NaN where nobody knows, which is not refused.
      what: names it in the message.
      fix: ends the message.
    """
    most = room()
    if most is not None and needed > most:
        raise TooLarge(f"{what} takes {needed / 1e9:.3g} GB of memory, and {most / 1e9:.3g} GB may be used: {fix}.")
