"""Weights as .npz files: an array for each entry of a parameter tree, named by its path, 'Dense_0/kernel'."""

import io
import zipfile
from pathlib import Path

import numpy as np

from recon.errors import ReconError
from recon.networks import Params
from recon.records.files import npz_bytes, write_bytes


def save_weights(path: str | Path, params: Params) -> None:
    """Write a parameter tree.

    Raises:
      ReconError: the place cannot be written.
    """
    flat = {f"{layer}/{name}": np.asarray(value) for layer, parts in params.items() for name, value in parts.items()}
    write_bytes(Path(path), npz_bytes(flat))


def load_weights(path: str | Path) -> dict[str, dict[str, np.ndarray]]:
    """Read a parameter tree that `save_weights` wrote; nothing is ever unpickled.

    Raises:
      ReconError: the file is absent, damaged or holds no weights.
    """
    path = Path(path)
    params: dict[str, dict[str, np.ndarray]] = {}
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ReconError(f"{path} cannot be read ({error.strerror}): give a file of weights.") from error
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            for key in file.files:
                layer, name = key.split("/")
                value = file[key]
                if value.dtype.kind != "f" or not np.isfinite(value).all():
                    raise ValueError(f"{key} is not made of finite numbers")
                params.setdefault(layer, {})[name] = value
        if not params:
            raise ValueError("it is empty")
    except (ValueError, KeyError, TypeError, AttributeError, OSError, EOFError, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split())[:80] or type(error).__name__
        raise ReconError(f"{path} holds no weights ({reason}): save them again.") from error
    return params
