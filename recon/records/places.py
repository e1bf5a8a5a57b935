"""Where results lie, and whether a place can be written, looked at before there is anything to write."""

import os
import tempfile
from pathlib import Path

from recon.errors import ReconError, reason


def stored_results(root: Path) -> Path:
    """The records of a checkout that are kept in git: what its pages show and what runs are compared with."""
    return root / "results"


def made_results(root: Path) -> Path:
    """Where the records of runs go, beside the store of cells: git ignores it, so that runs change nothing tracked."""
    return root / ".recon" / "results"


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
