"""Compiled loops of steps: one program for all loops that are alike, run in chunks short enough to look in between."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import jax

from recon.memory import require, temporary

CHUNK_SECONDS = 0.5  # of compiled steps between two looks at the loss, the clock and the keyboard
PROGRAMS = 64  # that are kept: a program holds some megabytes, and no figure has as many kinds of loops


def chunks(steps: int, stops: Sequence[int] = (), size: int = 1) -> Iterator[tuple[int, int]]:
    """First and last step of each chunk of a loop; the next one is as long as takes about `CHUNK_SECONDS`.

    The time between two chunks asked for is taken for that of the first of them. A chunk has at most twice the steps
    of the one before.

    Args:
      steps: of the loop.
      stops: steps at which a chunk has to end, ascending.
      size: steps of the first chunk.
    """
    first = 0
    while first < steps:
        last = min([first + size, steps, *[stop for stop in stops if stop > first][:1]])
        clock = time.perf_counter()
        yield first, last
        took = time.perf_counter() - clock
        if last - first == size:
            size = max(1, min(2 * size, int(size * CHUNK_SECONDS / max(took, 1e-9))))
        first = last


class Program(NamedTuple):
    """A compiled loop.

    Attributes:
      run: takes the arguments that it was compiled for, or others shaped like them.
      seconds: of its "trace" and "compile", whichever of the loops alike it was that waited for them.
      work: XLA's account of a step, "flops_per_step" and "bytes_per_step", and the loop's "temporary_bytes".
    """

    run: Callable[..., Any]
    seconds: dict[str, float]
    work: dict[str, float]


def compiled(loop: Callable[..., Any], how: Any, *arguments: Any, what: str, fix: str) -> Program:
    """`loop`(how, *arguments), compiled once for all arguments of the same shapes.

    Args:
      loop: a function of a module, not one made on the way: by it and `how` the program is known again.
      how: settings that can be hashed, all that the loop depends on beside its arguments.
      *arguments: trees of arrays; numbers stay arguments too.
      what: names a step where the machine has not the memory for it.
      fix: says then what to do.

    Raises:
      TooLarge: it has not.
    """
    shapes, tree = _shapes(arguments)
    program = _compiled(loop, how, shapes, tree)
    require(program.work["temporary_bytes"], what, fix)
    return Program(program.run, dict(program.seconds), dict(program.work))


def costs(function: Callable[..., Any], how: Any, *arguments: Any) -> tuple[float, float]:
    """FLOPs and bytes of `function`(how, *arguments) by XLA's account, before its optimisations."""
    return _costs(function, how, *_shapes(arguments))


def _shapes(arguments: Any) -> tuple[tuple[Any, ...], Any]:
    leaves, tree = jax.tree.flatten(jax.eval_shape(lambda: arguments))
    return tuple(leaves), tree


def _account(program: Any) -> tuple[float, float]:
    found = program.cost_analysis() or {}
    return float(found.get("flops", math.nan)), float(found.get("bytes accessed", math.nan))


@lru_cache(PROGRAMS)
def _compiled(loop: Callable[..., Any], how: Any, shapes: tuple[Any, ...], tree: Any) -> Program:
    clock = time.perf_counter()
    lowered = jax.jit(loop, static_argnums=0).lower(how, *jax.tree.unflatten(tree, shapes))
    traced = time.perf_counter()
    program = lowered.compile()
    done = time.perf_counter()
    # The loop's trip count is unknown to XLA, so its body counts once.
    flops, moved = _account(program)
    return Program(
        program,
        {"trace": traced - clock, "compile": done - traced},
        {"flops_per_step": flops, "bytes_per_step": moved, "temporary_bytes": temporary(program)},
    )


@lru_cache(PROGRAMS)
def _costs(function: Callable[..., Any], how: Any, shapes: tuple[Any, ...], tree: Any) -> tuple[float, float]:
    return _account(jax.jit(function, static_argnums=0).lower(how, *jax.tree.unflatten(tree, shapes)))
