"""Rounding is seen in the numbers, and is not where there is none."""

import ml_dtypes
import numpy as np
import pytest

from recon.weights import stored_bits


def tf32(x):
    """Rounded to a mantissa of 10 bits, with float32's exponents."""
    bits = x.astype(np.float32).view(np.uint32).astype(np.uint64)
    return (((bits + 0x1000) & 0xFFFFE000).astype(np.uint32)).view(np.float32)


@pytest.mark.parametrize("wide", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_bits_of_rounded_numbers(wide, scale, rng):
    x = scale * rng.normal(size=(3, 100))
    others = [np.zeros(50, wide), np.full(9, 0.25, wide), np.arange(5)]  # biases, slopes and counters tell nothing
    rounded = {8: x.astype(ml_dtypes.bfloat16), 11: tf32(x)}
    for bits, values in rounded.items():
        assert stored_bits([*others, values.astype(wide)]) == bits
        # Not all of them.
        assert stored_bits([values.astype(wide), rng.normal(size=100)]) is None
    assert stored_bits([x.astype(np.float16).astype(wide)]) == stored_bits([x.astype(np.float16)]) == 11
    assert stored_bits([x.astype(np.float32).astype(wide)]) == (24 if wide == np.float64 else None)
    assert stored_bits([x]) is None


def test_too_few_numbers_tell_nothing(rng):
    few = rng.normal(size=40).astype(ml_dtypes.bfloat16).astype(np.float32)
    assert stored_bits([few]) is None
    assert stored_bits([few, few]) == 8
    assert stored_bits([np.zeros(1000, np.float32)]) is None
    assert stored_bits([]) is None
    assert stored_bits([np.full((9, 9), np.nan), few, few.astype(">f4")]) == 8
