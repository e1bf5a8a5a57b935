"""Housekeeping of the store: what lies in it, what made it, and what nobody will ask for again."""

import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from recon import reading
from recon.errors import reason
from recon.records.freshness import code_state
from recon.records.store import DAMAGED, Store

State = Literal["current", "stale", "unknown", "unreadable", "damaged", "leftover"]

# A writer's folder is there for as long as writing one cell takes: what is older belongs to a writer that was killed.
WRITING_SECONDS = 600.0


@dataclass(frozen=True)
class Entry:
    """A folder of the store.

    Attributes:
      path: where it lies.
      state: a cell of the code and libraries as they are (current) or were (stale), one whose record does not name its
        modules (unknown) or cannot be read (unreadable); one that was set aside (damaged); what a killed writer left.
      what: the cell's settings in a line.
      code: the version of the code that made the cell.
      bytes: size on disk.
      age: seconds since it was written.
    """

    path: Path
    state: State
    what: str
    code: str
    bytes: int
    age: float

    @property
    def key(self) -> str:
        """Name of the folder: the key of a cell."""
        return self.path.name

    @property
    def is_cell(self) -> bool:
        """Whether it is in a cell's place."""
        return self.state not in ("damaged", "leftover")


def described(settings: Mapping[str, Any]) -> str:
    """A cell's settings in a line: words as they are, numbers by name, groups by their name or their numbers."""
    parts = []
    for name, value in settings.items():
        if isinstance(value, str):
            parts.append(value)
        elif isinstance(value, bool | int | float):
            parts.append(f"{name}={value}")
        elif isinstance(value, Mapping) and "rule" in value:
            parts.append(value["rule"])
        elif isinstance(value, Mapping) and "widths" in value:
            parts.append("W=" + "x".join(map(str, value["widths"])))
        elif isinstance(value, Mapping):
            parts += [f"{k}={v}" for k, v in value.items()]
    return " ".join(parts)


def entries(store: Store, now: float | None = None) -> list[Entry]:
    """Every folder of the store, oldest first; nothing is verified. `now` is in seconds since 1970."""
    now = time.time() if now is None else now
    folders = [p for p in store.root.glob("*") if p.is_dir()] if store.root.is_dir() else []
    found = []
    for folder in folders:
        with suppress(FileNotFoundError):  # a writer has put its cell in place, or another process removed it
            found.append(_entry(folder, now))
    return sorted(found, key=lambda e: -e.age)


def prunable(found: Sequence[Entry], older_than: float | None = None) -> list[Entry]:
    """What can go: cells of other code, damaged ones, what killed writers left; and all that is older, if asked.

    Args:
      found: see `entries`.
      older_than: age in seconds from which current cells go too.
    """
    return [
        e
        for e in found
        if e.state in ("stale", "unreadable", "damaged")
        or (e.state == "leftover" and e.age > WRITING_SECONDS)
        or (e.is_cell and older_than is not None and e.age > older_than)
    ]


def remove(entry: Entry) -> None:
    """Remove a folder of the store; a reader sees all of a cell or nothing of it."""
    gone = entry.path
    if entry.is_cell:
        gone = entry.path.with_name(f".{entry.key}-removed")
        entry.path.rename(gone)
    shutil.rmtree(gone)


def _entry(folder: Path, now: float) -> Entry:
    files = [p for p in folder.rglob("*") if p.is_file()]
    size, age = sum(p.stat().st_size for p in files), now - folder.stat().st_mtime
    if folder.name.startswith("."):
        return Entry(folder, "leftover", "left by a killed writer", "", size, age)
    if folder.name.startswith(DAMAGED):
        return Entry(folder, "damaged", "set aside, did not verify", "", size, age)
    try:
        record = reading.json(folder / "record.json")["record"]
        what, made = described(record["cell"]), record["provenance"]
        return Entry(folder, code_state(made, libraries=True), what, str(made["code_version"]), size, age)
    except Exception as error:  # whatever a damaged file makes of it; `verify` sets it aside
        return Entry(folder, "unreadable", reason(error), "", size, age)
