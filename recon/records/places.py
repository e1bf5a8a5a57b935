"""Where results lie, and whether a place can be written, looked at before there is anything to write."""

import os
import tempfile
from pathlib import Path
from typing import Any

from recon.errors import ReconError, reason
from recon.records.files import read_json

# Where a figure has several records, the fullest one of the original data comes first.
PRESETS = ("paper", "full", "quick")
SOURCES = ("tfds", "folder", "mixed", "samples")


def stored_results(root: Path) -> Path:
    """The records of a checkout that are kept in git: what its pages show and what runs are compared with."""
    return root / "results"


def made_results(root: Path) -> Path:
    """Where the records of runs go, beside the store of cells: git ignores it, so that runs change nothing tracked."""
    return root / ".recon" / "results"


def records_of(
    folder: Path, figure: str, preset: str | None = None, source: str | None = None
) -> list[tuple[Path, dict[str, Any]]]:
    """A figure's records in a folder of results with their paths, the fullest one of the original data first.

    Args:
      preset, source: only records of this preset, of this source of pictures (None: of any).

    Raises:
      ReconError: there is none.
    """
    read = [(path, read_json(path)) for path in sorted((folder / figure).glob("*.json"))]
    found = [(path, made) for path, made in read if {"preset", "source", "cells", "provenance"} <= made.keys()]
    if not found:
        raise ReconError(f"There is no record in {folder / figure}: make one with `recon reproduce {figure}`.")
    wanted = [w for w in found if preset in (None, w[1]["preset"]) and source in (None, w[1]["source"])]
    if not wanted:
        of = " ".join(word for word in (preset, source) if word is not None)
        there = ", ".join(f"{made['preset']} {made['source']}" for _, made in found)
        raise ReconError(f"{figure} has no record of {of}: choose one of {there}.")

    def place(order: tuple[str, ...], word: str) -> int:
        return order.index(word) if word in order else len(order)

    return sorted(wanted, key=lambda w: (place(PRESETS, w[1]["preset"]), place(SOURCES, w[1]["source"])))


def folder_to_write(path: Path) -> Path:
    """The path of a folder that can be written, or made and written; it is not made.

    Raises:
      ReconError: it cannot.
    """
    _require(path, path)
    return path


def file_to_write(path: Path) -> Path:
    """The path of a file that can be written, with the folders that it takes.

    Raises:
      ReconError: it cannot.
    """
    if path.is_dir():
        raise ReconError(f"Cannot write {path}: it is a folder, name a file in it.")
    _require(path.parent, path)
    return path


def _require(folder: Path, wanted: Path) -> None:
    there = next((p for p in (folder, *folder.parents) if os.path.lexists(p)), Path())
    if not there.is_dir():
        raise ReconError(f"Cannot write {wanted}: the file {there} is in a folder's place, choose another place.")
    try:
        # Modes do not tell: those of /proc allow it, a disk may be read-only.
        tempfile.TemporaryFile(dir=there).close()
    except OSError as error:
        raise ReconError(f"Cannot write {wanted} ({reason(error)}): choose another place.") from error
