"""A figure's record as tidy tables: one observation a row, one variable a column, every cell by its number.

| table | a row for each |
|---|---|
| cells | cell: settings, data, training, scores, cost, times, provenance |
| images | cell and training image |
| traces | cell and step at which a loss was looked at |
| anytime, pruning | cell and snapshot of its attack; cell and pruned set; and so for any list of results in a cell |
| summary | number or word that the figure is drawn from; pictures are left out |
| claims, estimates | claim; claim and estimate that decides on it |

A column of "cells" is named by its path in the record, `scores.train.mean`, say. Missing values are empty.
"""

from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from recon.errors import ReconError
from recon.publish.tables import csv_table
from recon.records import write_bytes

Kind = Literal["truth", "integer", "number", "text"]
Row = dict[str, Any]
DUCKDB = {"truth": "BOOLEAN", "integer": "BIGINT", "number": "DOUBLE", "text": "VARCHAR"}
KEY = ("figure", "preset", "source")

# Columns by image, in a cell's record: of an attacked network, and of a set matched to its training images.
MATCHED = {"train": "distance", "held_out": "held_out", "start": "start"}

# What a column holds where its name does not say it all: the first pattern that its table and name match. Distances are
# L2 in the network's input space.
MEANINGS = {
    "*:cell": "number of the cell in the record, from 0",
    "images:image": "number of the training image in the cell, from 0",
    "images:certified": "whether the attack vouches for the reconstruction matched to the image",
    "images:distance": "distance to the reconstruction that greedy one-to-one matching gives the image",
    "images:distance_nearest": "distance to the nearest reconstruction",
    "images:psnr_db": "PSNR of the matched reconstruction, dB, of pixels clipped to [0, 1]",
    "images:ssim": "SSIM of the matched reconstruction, of pixels clipped to [0, 1]",
    "images:held_out": "control: matched distance of the held-out image of this number",
    "images:start": "control: matched distance of the image to the attack's start",
    "images:dual_norm": "norm |α| of the image's dual variable, α = K⁻¹(y − f₀)",
    "images:loss_initial": "the image's loss ½‖f − y‖² at the initial weights",
    "images:loss_path": "the image's loss ½‖f − y‖² integrated over training time",
    "images:to_class_mean": "distance to the mean of the training images with its target",
    "images:to_nearest": "distance to the nearest other training image",
    "images:own_class": "whether the start that the image was matched to is of its class",
    "traces:trace": "which loss: path of the list in the cell's record",
    "anytime:mean": "mean matched distance of the training images",
    "anytime:near": "training images with a reconstruction nearer than 0.1",
    "pruning:order": "criterion by which images were dropped, largest first; all: none was, random: at random",
    "pruning:reverse": "whether smallest were dropped first",
    "pruning:accuracy": "test accuracy after training again on the images kept",
    "summary:quantity": "path of the value in the record's summary; [] stands for a position in a list",
    "summary:position": "those positions, from 0, outermost first, between dots",
    "claims:kind": "where estimates are to lie: above or below the margin, alike (nearer to 0), exact (an identity)",
    "claims:margin": "the least effect that would matter, in the estimates' units",
    "estimates:scale": "what the numbers are: log2 ratio (of a ratio), share, correlation, dB",
    "estimates:low": "lower end of its 95 % interval; empty: no interval",
    "estimates:n": "points that it was taken from",
    "estimates:groups": "independent groups of them",
    "cells:reference_seconds": "wall seconds of a reference computation beside the cell",
    "cells:cell.n_per_class": "setting: images of each class in the distilled set",
    "cells:cell.m_ratio": "setting: reconstructions for each training image",
    "cells:cell.*": "setting of the cell",
    "cells:data.fingerprints.*": "hash of the pixels and labels of a split",
    "cells:data.pool": "training images that the draw was taken from",
    "cells:data.mean": "mean subtracted from pixels, by channel",
    "cells:data.recognisable": "distance below which an image counts as recognisable",
    "cells:training.*loss": "mean of ½‖f − y‖² over the training images at the final, or the initial weights",
    "cells:training.time": "time of gradient flow",
    "cells:training.kernel_distance": "distance between the training images' kernels at initial and final weights",
    "cells:attack.n_estimated": "number of training images as the attack estimates it",
    "cells:attack.peak_bytes": "bytes by which the process's memory rose at most during the attack",
    "cells:attack.steps_to_half": "steps until the mean distance is half the start's",
    "cells:attack.work.*": "cost of the attack: operations, bytes and memory as XLA counts them, starts, rounds",
    "cells:scores.*.mean_optimal": "mean distance under optimal one-to-one matching",
    "cells:scores.*.mean_nearest": "mean distance to the nearest reconstruction",
    "cells:scores.*.below.*": "images with a matched distance below the number in the name",
    "cells:scores.*": "of matched distances; train: training images, held_out and start: the two controls",
    "cells:losses.*": "a loss of the set on the training images, whichever loss it was distilled by",
    "*:*accuracy*": "share of test images classified right",
    "cells:nearest.*": "mean distance from an image of the set to the nearest image of a split",
    "*:*seconds*": "wall seconds",
}


class Column(NamedTuple):
    """A column of a table: its name, the kind of its values, and what they mean."""

    name: str
    kind: Kind
    meaning: str


class Table(NamedTuple):
    """A tidy table; a row has an entry for each column, None where it has no value."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Any, ...], ...]


def tidy(made: Mapping[str, Any]) -> dict[str, Table]:
    """Every table of a figure's record that has rows, by name."""
    found: dict[str, list[Row]] = {"cells": [], "images": []}
    key = {name: made[name] for name in KEY}
    for number, cell in enumerate(made.get("cells", [])):
        mine: dict[str, list[Row]] = {"cells": [{}], "images": list(_images(cell))}
        _split({k: v for k, v in cell.items() if k not in ("images", "matched")}, "", mine["cells"][0], mine)
        for name, rows in mine.items():
            found.setdefault(name, []).extend({**key, "cell": number, **row} for row in rows)
    found["summary"] = [{**key, **row} for row in _leaves(made.get("summary", {}), "", ())]
    claims = made.get("claims", [])
    found["claims"] = [{**key, **{k: v for k, v in claim.items() if k != "estimates"}} for claim in claims]
    found["estimates"] = [{**key, "claim": c["name"], **e} for c in claims for e in c.get("estimates", [])]
    return {name: _table(name, rows) for name, rows in found.items() if rows}


def csv_bytes(table: Table) -> bytes:
    """A table as comma-separated values; numbers read back exactly."""
    rows = [[str(v).lower() if isinstance(v, bool) else v for v in row] for row in table.rows]
    return csv_table([c.name for c in table.columns], rows).encode()


def write_parquet(source: Path, table: Table, path: Path) -> None:
    """Turn a table's CSV file into Parquet, with its columns' types.

    Raises:
      ReconError: DuckDB is not installed.
    """
    with _duckdb().connect() as connection:
        types = {c.name: DUCKDB[c.kind] for c in table.columns}
        read = connection.read_csv(
            str(source), columns=types, header=True, auto_detect=False, delimiter=",", quotechar='"', escapechar='"'
        )
        read.write_parquet(str(path))


def export(made: Mapping[str, Any], folder: Path, formats: Iterable[str]) -> list[Path]:
    """Write a record's tables to `folder/FIGURE/PRESET-SOURCE-TABLE.FORMAT`, with a CSV table of what columns mean.

    Raises:
      ReconError: Parquet without DuckDB, or a folder that cannot be written to.
    """
    stem = folder / made["figure"] / f"{made['preset'].replace(' ', '-')}-{made['source']}"
    tables, written, formats = tidy(made), [], list(formats)
    if "parquet" in formats:
        _duckdb()  # nothing is written where it is missing
    for name, table in {**tables, "columns": columns_of(tables)}.items():
        place = stem.with_name(f"{stem.name}-{name}.csv")
        write_bytes(place, csv_bytes(table))
        if "parquet" in formats and name != "columns":
            write_parquet(place, table, place.with_suffix(".parquet"))
            written.append(place.with_suffix(".parquet"))
        if "csv" in formats or name == "columns":
            written.append(place)
        else:
            place.unlink()
    return written


def columns_of(tables: Mapping[str, Table]) -> Table:
    """A table of all columns of some tables: what they hold."""
    rows = [(name, c.name, c.kind, c.meaning) for name, table in tables.items() for c in table.columns]
    return Table(tuple(Column(name, "text", "") for name in ("table", "column", "kind", "meaning")), tuple(rows))


def meaning(table: str, column: str) -> str:
    """What a column holds."""
    said = (text for pattern, text in MEANINGS.items() if fnmatch(f"{table}:{column}", pattern))
    return next(said, "what its name says, at this path in the record")


def _duckdb() -> Any:
    try:
        import duckdb
    except ImportError as error:
        raise ReconError(
            "Parquet needs DuckDB, the extra `parquet`: `pip install duckdb`, or take --format csv."
        ) from error
    return duckdb


def _images(cell: Mapping[str, Any]) -> Iterator[Row]:
    """A row for each training image of a cell."""
    matched = cell.get("matched") or {}
    columns = dict(cell.get("images") or {name: matched[ours] for ours, name in MATCHED.items() if ours in matched})
    lists = {name: values for name, values in columns.items() if values is not None}
    for image in range(max(map(len, lists.values()), default=0)):
        yield {"image": image, **{name: values[image] for name, values in lists.items()}}


def _split(value: Any, path: str, row: Row, tables: dict[str, list[Row]]) -> None:
    """Put a value of a cell's record into the cell's row, or its parts; lists of results into tables of their own."""
    if isinstance(value, Mapping):
        for name, part in value.items():
            _split(part, f"{path}.{name}" if path else name, row, tables)
    elif isinstance(value, list) and value and all(isinstance(v, Mapping) for v in value):
        if all("name" in v for v in value):
            for v in value:
                _split({k: part for k, part in v.items() if k != "name"}, f"{path}.{v['name']}", row, tables)
            return
        for v in value:
            flat: Row = {}
            _split(v, "", flat, tables)
            tables.setdefault(path.removesuffix(".rows").rpartition(".")[2], []).append(flat)
    elif isinstance(value, list) and value and all(isinstance(v, list) and len(v) == 2 for v in value):
        tables.setdefault("traces", []).extend({"trace": path, "step": step, "loss": loss} for step, loss in value)
    elif isinstance(value, list):
        row[path] = msgspec.json.encode(value).decode() if value else None
    else:
        row[path] = None if value == "" else value


def _leaves(value: Any, path: str, position: tuple[int, ...]) -> Iterator[Row]:
    """A row for each number and word of a summary."""
    if isinstance(value, Mapping):
        for name, part in value.items():
            if name not in ("png", "webp"):
                yield from _leaves(part, f"{path}.{name}" if path else name, position)
    elif isinstance(value, list):
        for i, part in enumerate(value):
            yield from _leaves(part, f"{path}[]", (*position, i))
    elif value is not None:
        text = isinstance(value, str)
        yield {
            "quantity": path,
            "position": ".".join(map(str, position)) or None,
            "number": None if text else float(value),
            "text": (value or None) if text else None,
        }


def _table(name: str, rows: list[Row]) -> Table:
    columns = []
    for column in dict.fromkeys(column for row in rows for column in row):
        types = {type(row[column]) for row in rows if row.get(column) is not None}
        kinds: tuple[tuple[Kind, set[type]], ...] = (("truth", {bool}), ("integer", {int}), ("number", {int, float}))
        kind: Kind = next((kind for kind, allowed in kinds if types and types <= allowed), "text")
        columns.append(Column(column, kind, meaning(name, column)))
    return Table(tuple(columns), tuple(tuple(_as(row.get(c.name), c.kind) for c in columns) for row in rows))


def _as(value: Any, kind: Kind) -> Any:
    if value is None or kind in ("truth", "integer"):
        return value
    return float(value) if kind == "number" else str(value)
