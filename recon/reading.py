"""Files that others wrote, read within limits: what a file claims is compared with its size before any of it is made.

Every reader of the suite stands on these few. Nothing that they read can run code. At files that are absent, damaged or
too large they, and the libraries below, raise all kinds of exceptions, of which `refused` makes a `ReconError`.
"""

import io
import math
import os
import stat
import zipfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar, overload

import msgspec
import numpy as np
from numpy.lib import format as npy

from recon.errors import ReconError, reason

LIMIT = 4 << 30  # bytes that a file may hold, packed or unpacked
JSON_LIMIT = 64 << 20  # bytes of JSON: as objects of Python they take up to twenty times that
CONTENTS_LIMIT = 32 << 20  # bytes of an archive's table of contents: 120,000 pictures take less than half
# No stream of DEFLATE unpacks to more than 1,032 times its length: a member that says so lies.
DEFLATE = 1032
CHUNK = 1 << 22
HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
T = TypeVar("T")


@contextmanager
def refused(what: str, fix: str) -> Iterator[None]:
    """Whatever is raised inside becomes `ReconError("WHAT (reason): FIX.")`. For reading and checking files alone."""
    try:
        yield
    except ReconError:
        raise
    except Exception as error:
        raise ReconError(f"{what} ({reason(error)}): {fix}.") from error


def content(path: Path, limit: int = LIMIT) -> bytes:
    """All of a plain file of at most `limit` bytes; pipes and devices, which may never end, are none."""
    # Opening a pipe would wait for a writer.
    with open(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)), "rb") as file:
        told = os.fstat(file.fileno())
        if not stat.S_ISREG(told.st_mode):
            raise ValueError("it is no plain file")
        if told.st_size > limit:
            raise ValueError(f"it holds more than {limit >> 20} MiB")
        return file.read(told.st_size)


@overload
def json(path: Path) -> Any: ...
@overload
def json(path: Path, kind: type[T]) -> T: ...
def json(path: Path, kind: Any = Any) -> Any:
    """Parsed JSON, of a type if one is given."""
    return msgspec.json.decode(content(path, JSON_LIMIT), type=kind)


@contextmanager
def archive(file: Path | io.BytesIO, limit: int = LIMIT, contents: int = CONTENTS_LIMIT) -> Iterator[zipfile.ZipFile]:
    """A zip archive of at most `limit` bytes unpacked, as its table of contents tells; `member` holds it to that.

    Args:
      contents: bytes that the table may have.
    """
    if isinstance(file, Path) and file.exists() and not file.is_file():
        raise ValueError("it is no plain file")
    with open(file, "rb") if isinstance(file, Path) else file as opened:
        # The library makes objects of the whole table before it can be asked for its length.
        end = zipfile._EndRecData(opened)  # type: ignore[attr-defined]
        if end and end[zipfile._ECD_SIZE] > contents:  # type: ignore[attr-defined]
            raise ValueError(f"its table of contents is longer than {contents >> 20} MiB")
        with zipfile.ZipFile(opened) as found:
            total, size = 0, opened.seek(0, io.SEEK_END)
            for told in found.infolist():
                total += told.file_size
                # Nothing is ever unpacked to its name; but whoever wrote such a name means harm.
                if PurePosixPath(told.filename).is_absolute() or ".." in PurePosixPath(told.filename).parts:
                    raise ValueError("a member's name leads out of it")
                if stat.S_ISLNK(told.external_attr >> 16):
                    raise ValueError("a member is a link")
                if told.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or told.flag_bits & 1:
                    raise ValueError("it is packed in another way than DEFLATE")
                if told.file_size > (DEFLATE * told.compress_size if told.compress_type else told.compress_size):
                    raise ValueError("a member claims to be larger than it can be")
                if told.compress_size > size:
                    raise ValueError("a member claims to be larger than the archive")
            if total > limit:
                raise ValueError(f"it unpacks to more than {limit >> 20} MiB")
            yield found


def member(opened: zipfile.ZipFile, name: str, limit: int) -> bytes:
    """One member of an archive, of at most `limit` bytes."""
    told = opened.getinfo(name)
    if told.file_size > limit:
        raise ValueError(f"{name} holds more than {limit >> 10} KiB")
    with opened.open(told) as file:
        return file.read(told.file_size)  # without a number the library unpacks first and looks afterwards


def arrays(
    file: Path | io.BytesIO,
    limit: int = LIMIT,
    contents: int = CONTENTS_LIMIT,
    members: Collection[str] | None = None,
) -> dict[str, np.ndarray]:
    """The arrays of an .npz, by name: plain numbers of the sizes that their headers tell, and nothing else.

    Args:
      limit, contents: as `archive` takes them.
      members: of the archive, that are read (default: all).
    """
    found = {}
    with archive(file, limit, contents) as opened:
        for told in opened.infolist():
            if members is not None and told.filename not in members:
                continue
            with opened.open(told) as held:
                found[told.filename.removesuffix(".npy")] = _array(held, told.file_size)
    return found


def array(path: Path, limit: int = LIMIT) -> np.ndarray:
    """The array of an .npy, as those of `arrays`."""
    held = content(path, limit)
    return _array(io.BytesIO(held), len(held))


class Objects(ValueError):
    """An array of Python objects, which are pickled."""


def _array(file: Any, most: int) -> np.ndarray:
    version = npy.read_magic(file)
    header = HEADERS[version](file) if version in HEADERS else None
    if header is not None and header[2].hasobject:
        raise Objects("an array is of Python objects, not of plain numbers")
    if header is None or not plain(header[2]):
        raise ValueError("an array is not of plain numbers")
    shape, fortran, dtype = header
    size = math.prod(shape) * dtype.itemsize
    if not 0 <= size <= most:
        raise ValueError("an array is cut short")
    held, at = np.empty(size, np.uint8), 0
    while part := file.read(CHUNK):
        if at + len(part) > size:
            raise ValueError("an array is longer than its header tells")
        held[at : at + len(part)] = np.frombuffer(part, np.uint8)
        at += len(part)
    if at < size:
        raise ValueError("an array is cut short")
    return held.view(dtype).reshape(shape, order="F" if fortran else "C")


def plain(dtype: np.dtype[Any]) -> bool:
    """Whether a dtype is of real numbers: no objects, which would be pickles, no records, no words."""
    return dtype.kind in "biuf"
