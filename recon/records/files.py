"""Files written whole or not at all."""

import io
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypedDict

import msgspec
import numpy as np

from recon import reading
from recon.errors import ReconError, reason

# What pages do not show of a cell takes little room in a figure's record: rows along a run, and columns by image.
SERIES, MOST_ROWS = ("trace", "anytime"), 10
COLUMNS, COLUMN_DIGITS = ("images", "matched"), 6


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path` atomically, creating folders.

    Raises:
      ReconError: the disk is full, or the place cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as out:
                out.write(content)
                out.flush()
                os.fsync(out.fileno())
            os.chmod(name, 0o666 & ~_umask())
            os.replace(name, path)
        except BaseException:
            os.unlink(name)
            raise
    except OSError as error:
        in_the_way = isinstance(error, FileExistsError | NotADirectoryError)
        mend = "remove the file in its folder's place" if in_the_way else "free some space"
        raise ReconError(f"Cannot write {path} ({error.strerror}): {mend} or choose another place.") from error


def _umask() -> int:
    """The process's mask of permissions, which can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def json_bytes(value: Any) -> bytes:
    """Readable JSON; NumPy numbers and arrays become numbers and lists."""

    def plain(obj: Any) -> Any:
        if isinstance(obj, np.ndarray):
            return obj.tolist()
        if isinstance(obj, np.generic):
            return obj.item()
        raise TypeError(f"{type(obj).__name__} does not belong in a record")

    return msgspec.json.format(msgspec.json.encode(value, enc_hook=plain), indent=1) + b"\n"


def figure_bytes(made: Mapping[str, Any]) -> bytes:
    """JSON of a figure's record, small enough for git: numbers to seven digits, a line for each cell and claim.

    Seven digits are what float32 results hold; the store keeps all.
    """
    return _lines(_short(msgspec.json.decode(json_bytes(made)), 7), 2) + b"\n"


def outline(cell: Mapping[str, Any]) -> dict[str, Any]:
    """A cell's record, plain values, as a figure's holds it: few rows of `SERIES`, few digits in `COLUMNS`."""

    def few(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {k: _spread(v) if k in SERIES and isinstance(v, list) else few(v) for k, v in value.items()}

    return {k: _short(v, COLUMN_DIGITS) if k in COLUMNS else few(v) for k, v in cell.items()}


def _spread(rows: list[Any]) -> list[Any]:
    """At most `MOST_ROWS` rows, as even as they go, first and last among them."""
    places = np.linspace(0, len(rows) - 1, min(len(rows), MOST_ROWS)).round().astype(int)
    return [rows[i] for i in places]


def _short(value: Any, digits: int) -> Any:
    """The value with every number in it to so many digits."""
    if isinstance(value, float):
        return float(f"{value:.{digits}g}")
    if isinstance(value, dict):
        return {k: _short(v, digits) for k, v in value.items()}
    return [_short(v, digits) for v in value] if isinstance(value, list) else value


def compact_bytes(value: Any, depth: int) -> bytes:
    """JSON with a line for each entry, and for those of entries down to a depth; what lies deeper is on one line."""
    return _lines(msgspec.json.decode(json_bytes(value)), depth) + b"\n"


def _lines(value: Any, depth: int) -> bytes:
    """JSON with a line for each entry of a value, and of its entries so deep; what lies deeper is on one line."""
    if not depth or not value or not isinstance(value, dict | list):
        return msgspec.json.encode(value)
    if isinstance(value, list):
        return b"[\n" + b",\n".join(_lines(v, depth - 1) for v in value) + b"\n]"
    entries = (msgspec.json.encode(k) + b": " + _lines(v, depth - 1) for k, v in value.items())
    return b"{\n" + b",\n".join(entries) + b"\n}"


class EstimateRecord(TypedDict):
    """An effect with its interval in a figure's record: `recon.statistics.Estimate`, its label and scale."""

    label: str
    scale: str
    value: float | None
    low: float | None
    high: float | None
    n: int
    groups: int


class ClaimRecord(TypedDict):
    """A claim in a figure's record: see `recon.claims.Claim`; its verdict follows from kind, margin and estimates."""

    name: str
    statement: str
    kind: Literal["above", "below", "alike", "exact"]
    margin: float
    reason: str
    verdict: Literal["reproduced", "not reproduced", "inconclusive"]
    effect: str
    estimates: list[EstimateRecord]


class FigureRecord(TypedDict):
    """A figure's record, as far as every figure's is the same."""

    figure: str
    title: str
    preset: str
    source: str
    summary: dict[str, Any]
    claims: list[ClaimRecord]
    seconds: float
    provenance: dict[str, Any]
    cells: list[dict[str, Any]]


def read_json(path: Path, kind: Any = Any) -> Any:
    """Parsed JSON, of a type if one is given.

    Raises:
      ReconError: the file is absent or damaged.
    """
    try:
        return reading.json(path, kind)
    except OSError as error:
        raise ReconError(f"There is no record {path}: make it with `recon reproduce`.") from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise ReconError(f"{path} is damaged ({reason(error)}): remove it and run again.") from error


def read_figure(path: Path) -> FigureRecord:
    """A figure's record.

    Raises:
      ReconError: the file is absent, damaged or another.
    """
    found: FigureRecord = read_json(path, FigureRecord)
    return found


def npz_bytes(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Arrays as the content of a compressed .npz file."""
    out = io.BytesIO()
    np.savez_compressed(out, **dict(arrays))  # type: ignore[arg-type]
    return out.getvalue()
