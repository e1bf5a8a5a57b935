"""A per-user cache of decoded images. It only saves time: unreadable, unwritable or damaged, it is done without."""

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import platformdirs

from recon.reading import arrays

Arrays = tuple[np.ndarray, np.ndarray]


def cache_dir() -> Path:
    """`RECON_CACHE_DIR`, else the platform's per-user cache directory."""
    return Path(os.environ.get("RECON_CACHE_DIR") or platformdirs.user_cache_dir("recon"))


def decoded(files: list[Path], what: str, decode: Callable[[], Arrays]) -> Arrays:
    """`decode()`, remembered for as long as `files` keep their names, sizes and times.

    Args:
      files: the encoded files that the result is made of.
      what: which part of them is decoded, such as a split.
      decode: returns (images, labels).

    Raises:
      ValueError: `decode` made no labelled pictures; and what it raises.
    """
    facts = [f"{f.resolve()}:{f.stat().st_size}:{f.stat().st_mtime_ns}" for f in sorted(files)]
    key = hashlib.sha256("\n".join([what, *facts]).encode()).hexdigest()[:24]
    path = cache_dir() / "images" / f"{key}.npz"
    try:
        stored = arrays(path)
        return checked(stored["images"], stored["labels"])
    except Exception:  # absent or damaged: decode again
        pass
    images, labels = checked(*decode())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as out:
                np.savez(out, images=images, labels=labels)
            os.replace(name, path)
        except BaseException:
            os.unlink(name)
            raise
    except OSError:  # no home, or a full or read-only disk
        pass
    return images, labels


def checked(images: np.ndarray, labels: np.ndarray) -> Arrays:
    """Images and labels that are some.

    Raises:
      ValueError: they are not.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or labels.dtype != np.int64 or labels.shape != images.shape[:1]:
        raise ValueError(f"{images.dtype} {images.shape} and {labels.dtype} {labels.shape} are no labelled pictures")
    return images, labels
