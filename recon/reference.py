"""A fixed computation to measure wall times in: the same work on every machine, timed beside whatever is timed."""

import time
from functools import cache
from typing import Any

SIZE, PRODUCTS, REPEATS = 384, 8, 3


@cache
def _compiled() -> tuple[Any, Any]:
    """A chain of float32 matrix products as XLA compiles it, and what it is applied to."""
    import jax
    import jax.numpy as jnp

    start = jnp.full((SIZE, SIZE), 1.0 / SIZE, jnp.float32)  # its powers are itself: nothing overflows

    def chain(a: Any) -> Any:
        return jax.lax.fori_loop(0, PRODUCTS, lambda _, b: a @ b, a)

    compiled = jax.jit(chain).lower(start).compile()
    compiled(start).block_until_ready()
    return compiled, start


def reference_seconds() -> float:
    """Median seconds of the reference computation, now, on this device."""
    compiled, start = _compiled()
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        compiled(start).block_until_ready()
        times.append(time.perf_counter() - began)
    return sorted(times)[REPEATS // 2]
