"""A per-user cache of decoded images. It only saves time: unreadable, unwritable or damaged, it is done without."""

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import platformdirs

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
    """
    facts = [f"{f.resolve()}:{f.stat().st_size}:{f.stat().st_mtime_ns}" for f in sorted(files)]
    key = hashlib.sha256("\n".join([what, *facts]).encode()).hexdigest()[:24]
    path = cache_dir() / "images" / f"{key}.npz"
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as stored:
            return stored["images"], stored["labels"]
    except Exception:  # absent or damaged: decode again
        pass
    images, labels = decode()
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
