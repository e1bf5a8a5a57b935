import sys

import numpy as np
import pytest

from recon.memory import peak_memory


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps a high-water mark that can be reset")
def test_peak_memory_sees_what_was_freed_again():
    size = 64 << 20
    with peak_memory() as first:
        np.ones(size, np.uint8).sum()
    assert size * 0.9 < first.bytes < size * 1.5
    with peak_memory() as second:
        np.ones(size // 4, np.uint8).sum()
    assert second.bytes < size / 2
