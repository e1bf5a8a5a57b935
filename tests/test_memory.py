import math
import os
import sys

import jax
import numpy as np
import pytest

from recon import memory
from recon.memory import TooLarge, peak_memory, require, room


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps a high-water mark that can be reset")
def test_peak_memory_sees_what_was_freed_again():
    size = 64 << 20
    with peak_memory() as first:
        np.ones(size, np.uint8).sum()
    assert size * 0.9 < first.bytes < size * 1.5
    with peak_memory() as second:
        np.ones(size // 4, np.uint8).sum()
    assert second.bytes < size / 2


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Files like Linux's, to be written: of the machine's memory and of a container's."""
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "GROUP", tmp_path)
    return tmp_path


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="an accelerator tells its own memory")
def test_room_is_half_of_what_machine_and_container_can_give(machine):
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert room() == pages // 2
    (machine / "meminfo").write_text("MemTotal: 9000 kB\nMemFree: 10 kB\nMemAvailable:    4000 kB\n")
    assert room() == 2000 * 1024
    (machine / "memory.max").write_text("max\n")  # no limit
    (machine / "memory.current").write_text("700000\n")
    (machine / "memory.stat").write_text("anon 100000\ninactive_file 600000\n")
    assert room() == 2000 * 1024
    (machine / "memory.max").write_text("1000000\n")
    assert room() == 450_000
    require(450_000.0, "It", "mend it")
    require(math.nan, "It", "mend it")
    with pytest.raises(TooLarge, match=r"^It takes 0.00046 GB of memory, and 0.00045 GB may be used: mend it\.$"):
        require(460_000.0, "It", "mend it")
