"""Tables: a line for each group of rows, and what its columns make of them."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from benchmarks._rows import Row, grouped, sources
from recon.records import mean_and_spread

Table = tuple[str, list[str], list[list[str]]]


def mean(key: str, spec: str = ".2g") -> Callable[[Sequence[Row]], str]:
    """A column of a table: the rows' mean of `key`."""
    return lambda rows: f"{np.mean([r[key] for r in rows]):{spec}}"


def error(rows: Sequence[Row]) -> str:
    """A column of a table: the rows' mean error, and the standard deviation of several."""
    return mean_and_spread([r["error"] for r in rows])


def count(rows: Sequence[Row]) -> str:
    """A column of a table: how many rows there are."""
    return str(len(rows))


def certified(rows: Sequence[Row]) -> str:
    """A column of a table: how many images of all rows are certified; nothing where nothing could be."""
    sure = [r["certified"] for r in rows if r["certified"] is not None]
    return str(sum(sure)) if sure else ""


def each(key: str, spec: str = "") -> Callable[[Sequence[Row]], str]:
    """A column of a table: every row's own value, a dash for none."""
    return lambda rows: " ".join("–" if r[key] is None else format(r[key], spec) for r in rows)


HEADS = {"title": "task", "n": "N", "width": "W"}


def tabulate(
    title: str, rows: Sequence[Row], keys: Sequence[str], columns: Mapping[str, Callable[[Sequence[Row]], str]]
) -> Table:
    """A line for each group of rows of equal `keys`, and in it what each of `columns` makes of them."""
    lines = [[*map(str, key), *(of(mine) for of in columns.values())] for key, mine in grouped(rows, *keys).items()]
    return f"{title} ({sources(rows)})", [*(HEADS.get(k, k) for k in keys), *columns], lines


def means(rows: Sequence[Row], *keys: str, spec: str = ".2g") -> list[str]:
    """The rows' mean of each of `keys`, as text."""
    return [mean(k, spec)(rows) for k in keys]


def percent(shares: Sequence[float]) -> str:
    """The mean of shares in per cent, and the standard deviation of several; a dash for none."""
    if not shares:
        return "–"
    spread = f" ± {100 * np.std(shares, ddof=1):.1f}" if len(shares) > 1 else ""
    return f"{100 * np.mean(shares):.1f}{spread}"
