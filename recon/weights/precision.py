"""How many significant bits numbers were rounded to before they were stored in a wider type."""

from collections.abc import Iterable

import numpy as np

# Significant bits, the leading one included.
ROUNDED = {3: "FP8 (E5M2)", 4: "FP8 (E4M3)", 8: "bfloat16", 11: "float16 or TF32", 24: "float32"}
STORED = {np.dtype(np.float16): 11, np.dtype(np.float32): 24, np.dtype(np.float64): 53}
CHUNK = 1 << 16  # numbers at a time: where they are not rounded the first few tell
ENOUGH = 64  # numbers: one not rounded has its last bits zero with a chance of 1 in 2**13 (of float32, to TF32)


def stored_bits(arrays: Iterable[np.ndarray]) -> int | None:
    """Significant bits that all the numbers were rounded to, where their type has more.

    Zeros and powers of two, as in an initial bias or scale, have one bit in any type and tell nothing.

    Args:
      arrays: of any shapes; of types other than floating-point numbers they do not count.

    Returns:
      A key of `ROUNDED`, or None: they are not rounded, or too few to tell.
    """
    most, many, widest = 0, 0, 0
    for array in arrays:
        dtype = array.dtype.newbyteorder("=")
        if dtype not in STORED:
            continue
        widest = max(widest, STORED[dtype])
        numbers = array.ravel(order="K")  # as they lie: in rows, a kernel stored (out, in) would be copied
        for start in range(0, array.size, CHUNK):
            values = numbers[start : start + CHUNK].astype(np.float64)
            mantissa = np.abs(np.frexp(values[np.isfinite(values)])[0])  # in [0.5, 1), of at most 53 bits
            mantissa = mantissa[(mantissa != 0) & (mantissa != 0.5)]
            many += mantissa.size
            while most < 53 and (np.ldexp(mantissa, most) % 1 != 0).any():
                most = next((bits for bits in sorted(ROUNDED) if bits > most), 53)
            if most == 53:
                return None
    return most if many >= ENOUGH and (most < 24 or (most == 24 and widest > 24)) else None
