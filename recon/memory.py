"""Peak memory of a piece of work in this process."""

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


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
