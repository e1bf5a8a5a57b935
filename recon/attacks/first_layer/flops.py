"""Matrix products that count their floating-point operations: what the search costs on any machine.

Factorisations and work by element are not counted: at the sizes of the search the products are nearly all of it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import numpy as np


@dataclass
class Count:
    """Floating-point operations so far."""

    flops: float = 0.0


_count: ContextVar[Count | None] = ContextVar("count", default=None)


@contextmanager
def counted() -> Iterator[Count]:
    """Count the operations of every `product` inside the block."""
    count = Count()
    token = _count.set(count)
    try:
        yield count
    finally:
        _count.reset(token)


def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The matrix product a b, or a stack of them: an addition and a multiplication for each term of each entry."""
    result: np.ndarray = np.matmul(a, b)
    add(2.0 * result.size * a.shape[-1])
    return result


def add(flops: float) -> None:
    """Count operations of another kind."""
    count = _count.get()
    if count is not None:
        count.flops += flops
