"""Rows of numbers that figures are drawn from: their groups."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import numpy as np

from recon.records import Stored, rounded
from recon.regression.measures import group_name

Row = dict[str, Any]
Kind = TypeVar("Kind")


def where(rows: Iterable[Row], **fixed: Any) -> list[Row]:
    """The rows that have these values."""
    return [r for r in rows if all(r[k] == v for k, v in fixed.items())]


def published(rows: Iterable[Row], **fixed: Any) -> list[Row]:
    """The rows of the paper's attack that have these values: the exact recovery is left out."""
    return [r for r in where(rows, **fixed) if r["attack"] != "exact"]


def distinct(rows: Iterable[Row], key: str) -> list[Any]:
    """The values of a column, each once, in order of appearance."""
    return list(dict.fromkeys(r[key] for r in rows))


def grouped(rows: Iterable[Row], *keys: str) -> dict[tuple[Any, ...], list[Row]]:
    """Rows by their values of `keys`, in order of appearance."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for r in rows:
        groups.setdefault(tuple(r[k] for k in keys), []).append(r)
    return groups


def by_kind(results: Iterable[Stored], known: Mapping[str, Kind]) -> list[tuple[str, Kind | None, list[Row]]]:
    """Records of cells that differ in their seeds alone, in order of appearance.

    Args:
      known: kinds, which have a name, by that of their cells' group.

    Returns:
      Of each kind its name, the kind where it is known, and its records.
    """
    groups: dict[str, list[Row]] = {}
    for s in results:
        groups.setdefault(group_name(s.record["cell"]), []).append(s.record)
    found = [(name, known.get(name), records) for name, records in groups.items()]
    return [(getattr(kind, "name", name.rpartition(" #")[0]), kind, records) for name, kind, records in found]


def sources(rows: Iterable[Row]) -> str:
    """Where the rows' pictures came from, each source once."""
    return "; ".join(distinct(rows, "source"))


def curves(stored: Stored, **columns: str) -> dict[str, list[float]]:
    """Columns of a cell by image, sorted, by the names that they get."""
    images = stored.record["images"]
    return {name: rounded(np.sort(images[column])) for name, column in columns.items()}


def facts(record: Mapping[str, Any], *names: str) -> Row:
    """What a record says of its cell and images: any of task, n, seed, title, source and draw."""
    cell, data = record["cell"], record["data"]
    known = {"task": cell["task"], "n": cell["n_train"], "seed": cell["seed"], "title": data["title"]}
    known |= {"source": data["source"], "draw": data["fingerprints"]["train"]}
    return {name: known[name] for name in names}


def heading(row: Mapping[str, Any], dynamics: bool = True) -> str:
    """A network in words."""
    return f"{row['title']}, {row['dynamics'] + ', ' if dynamics else ''}N = {row['n']}, W = {row['width']}"
