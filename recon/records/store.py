"""Computed cells on disk: each is computed once, whichever figure asks for it.

A cell lies in its own folder, named by a hash of its settings, the fingerprint of its data and the versions of the code
and of the libraries that compute: `record.json` (small) and `arrays.npz`. The folder appears in one rename, so a killed
writer leaves nothing behind that could be taken for a result. What does not verify on loading is set aside.
"""

import errno
import hashlib
import io
import os
import shutil
import tempfile
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from recon import reading
from recon.errors import ReconError, reason
from recon.records.files import json_bytes, npz_bytes

DAMAGED = "damaged-"  # folders in which cells that do not verify are set aside
RENAMES = 5  # tries to replace a cell that others replace at the same time


@dataclass(frozen=True)
class Stored:
    """A computed cell: what it measured, and its arrays."""

    record: dict[str, Any]
    arrays: dict[str, np.ndarray]


def as_read(stored: Stored) -> Stored:
    """A computed cell as it will be read back: plain values for NumPy's, lists for tuples."""
    return Stored(msgspec.json.decode(json_bytes(stored.record)), stored.arrays)


def cell_key(
    settings: Mapping[str, Any], fingerprints: Mapping[str, str], version: str, libraries: Mapping[str, str]
) -> str:
    """Name of a cell: twenty hex digits over its settings, data, code, and the versions of libraries by name."""
    canonical = msgspec.json.encode([settings, fingerprints, version, libraries], order="sorted")
    return hashlib.sha256(canonical).hexdigest()[:20]


@dataclass(frozen=True)
class Store:
    """A folder of computed cells."""

    root: Path

    def read(self, key: str) -> Stored:
        """The cell called `key`, verified.

        Raises:
          Exception: it is not there, damaged, or another cell's.
        """
        folder = self.root / key
        envelope = reading.json(folder / "record.json")
        content = reading.content(folder / "arrays.npz")
        record = envelope["record"]
        sums = {"record": _sum(json_bytes(record)), "arrays": _sum(content)}
        if envelope["key"] != key or envelope["sha256"] != sums:
            raise ValueError("checksums do not match")
        return Stored(record, reading.arrays(io.BytesIO(content)))

    def verified(self, key: str) -> tuple[Stored | None, str]:
        """The cell and "", or None and what is wrong with it, after setting it aside.

        Raises:
          ReconError: it cannot be set aside.
        """
        try:
            return self.read(key), ""
        except MemoryError:
            raise
        except Exception:
            wrong = ""
        try:  # another process may have put a new cell in its place in between
            return self.read(key), ""
        except MemoryError:
            raise
        except Exception as error:
            wrong = f"Cell {key} is damaged ({reason(error)})"
        try:
            aside = Path(tempfile.mkdtemp(dir=self.root, prefix=f"{DAMAGED}{key}-"))
            os.rename(self.root / key, aside / key)
        except FileNotFoundError:
            return None, f"{wrong}: another process has set it aside"
        except OSError as error:
            raise ReconError(f"{wrong} and cannot be set aside in {self.root} ({reason(error)}): remove it.") from error
        return None, f"{wrong}: set aside in {aside}"

    def load(self, key: str) -> Stored | None:
        """The cell called `key`, or None if it has not been computed or what is there does not verify."""
        if not (self.root / key).is_dir():
            return None
        stored, wrong = self.verified(key)
        if stored is None:
            warnings.warn(f"{wrong}, computing it again.", stacklevel=2)
        return stored

    def save(self, key: str, stored: Stored, replace: bool = False) -> None:
        """Store a cell; if another process stored it first, its copy stays, unless this one is to `replace` it.

        Raises:
          ReconError: the disk is full, or the folder cannot be written.
        """
        content = npz_bytes(stored.arrays)
        record = as_read(stored).record
        sums = {"record": _sum(json_bytes(record)), "arrays": _sum(content)}
        envelope = {"key": key, "sha256": sums, "record": record}
        temporary = None
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(dir=self.root, prefix=f".{key}-"))
            for name, data in (("arrays.npz", content), ("record.json", json_bytes(envelope))):
                with open(temporary / name, "wb") as out:
                    out.write(data)
                    out.flush()
                    os.fsync(out.fileno())
            self._place(temporary, key, replace)
        except OSError as error:
            raise ReconError(
                f"Cannot store a cell in {self.root} ({reason(error)}): free some space or make it writable."
            ) from error
        finally:
            if temporary is not None:
                shutil.rmtree(temporary, ignore_errors=True)

    def _place(self, made: Path, key: str, replace: bool) -> None:
        """Rename a finished folder to where its cell lies; what other processes do there in between does no harm."""
        old = self.root / f".{key}-{os.getpid()}-replaced"
        try:
            for _ in range(RENAMES if replace else 1):
                try:
                    os.rename(made, self.root / key)
                    return
                except OSError as error:
                    # A folder that is not empty cannot be renamed onto; any other error is one.
                    if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                        raise
                if replace:
                    shutil.rmtree(old, ignore_errors=True)
                    with suppress(FileNotFoundError):  # another process is replacing it, too
                        os.rename(self.root / key, old)
        finally:
            shutil.rmtree(old, ignore_errors=True)


def _sum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
