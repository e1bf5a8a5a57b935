"""A comparison in words: for the terminal, for JSON, for a CI job's summary."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from recon.publish import markdown_table
from recon.regression.baseline import Spread
from recon.regression.compare import Row

COLUMNS = ("cells", "metric", "baseline", "now", "may get worse by", "status")


def number(value: float | None) -> str:
    """Four digits, or a dash."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def allowance(row: Row) -> str:
    """What a metric may get worse by, and where that came from."""
    if row.allowed is None:
        return "one seed, no spread: reported only" if row.source is not None else "–"
    return f"{number(row.allowed)} ({origin(row.source)})" if row.source else number(row.allowed)


def origin(source: Spread) -> str:
    """Where a tolerance came from, in a few words."""
    if source.kind == "seeds":
        return f"{source.n} seeds, sd {number(source.sd)}"
    return {"allowance": "compilers' rounding", "factor": "noise of clocks"}.get(source.kind, source.kind)


def cells_of(row: Row) -> tuple[str, ...]:
    """A row of the table, in the order of `COLUMNS`."""
    return row.group, row.metric, number(row.before), number(row.now), allowance(row), row.status


def counted(rows: Sequence[Row]) -> str:
    """How many metrics have each status."""
    return ", ".join(f"{n} {status}" for status, n in Counter(r.status for r in rows).most_common())


def markdown(figure: str, rows: Sequence[Row]) -> str:
    """A section: the verdict, what failed, and all the rest folded away."""
    failed = [r for r in rows if r.failed]
    verdict = f"{len(failed)} regressions" if failed else "no regression"
    parts = [f"## {figure}: {verdict}", "", counted(rows) or "Nothing was compared.", ""]
    if failed:
        parts += [markdown_table(COLUMNS, map(cells_of, failed)), ""]
    folded = markdown_table(COLUMNS, map(cells_of, rows))
    parts += ["<details><summary>All metrics</summary>", "", folded, "", "</details>", ""]
    return "\n".join(parts)


def plain(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Rows as JSON-able values."""
    return [msgspec.to_builtins(row) for row in rows]
