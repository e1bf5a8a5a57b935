"""HDF5: Keras's .weights.h5 and its older .h5, and arrays by any names; read by h5py, an extra of this project."""

import importlib.util
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from recon import reading
from recon.errors import ReconError
from recon.reading import LIMIT
from recon.weights.formats import hdf5_process, keras_layout
from recon.weights.formats.base import DENSEST, NARROW, SMALL, Arrays, Format, narrow

HEAD = b"\x89HDF\r\n\x1a\n"
PATIENCE = 120  # seconds, where the process does not end by itself
# Threads of linear algebra, one for each core unless told, take 40 MiB each of the address space that bounds it.
ALONE = {"OPENBLAS_NUM_THREADS": "1"}


def held(path: Path, content: bytes | None = None) -> tuple[Arrays, dict[str, Any]]:
    """A file's arrays by path, and what else it tells, see `hdf5_process`.

    Args:
      content: of the file, where `path` is an archive's that holds it.

    Raises:
      ValueError: it is damaged, or unpacks to more than weights do.
      ReconError: h5py is not there.
    """
    if importlib.util.find_spec("h5py") is None:
        raise ReconError(f"{path} needs h5py: .venv/bin/python -m pip install h5py.")
    limits = json.dumps({"small": SMALL, "densest": DENSEST, "most": LIMIT, "narrow": NARROW})
    file = str(path.absolute()) if content is None else "-"
    try:
        ended = subprocess.run(
            [sys.executable, "-I", hdf5_process.__file__, file, limits],
            input=content or b"",
            capture_output=True,
            timeout=PATIENCE,
            env=os.environ | ALONE,
        )
    except subprocess.TimeoutExpired as error:
        raise ValueError("HDF5's library does not end on it") from error
    if ended.returncode < 0:
        raise ValueError("HDF5's library does not end on it, or crashes")
    if ended.returncode:
        raise ValueError(ended.stderr.decode(errors="replace").strip().rpartition("\n")[2])
    arrays = reading.arrays(io.BytesIO(ended.stdout), LIMIT)
    about = json.loads(arrays.pop("about").tobytes())
    made = {}
    for i, (name, kind) in enumerate(zip(about["names"], about["kinds"], strict=True)):
        array = arrays[str(i)]
        made[name] = narrow(array.tobytes(), kind).reshape(array.shape) if kind in NARROW else array
    return made, about


def read(path: Path, content: bytes | None = None) -> Arrays:
    """The arrays, under the names that their layout gives them; `content` as `held` takes it."""
    found, about = held(path, content)
    shapes = {name: array.shape for name, array in found.items()}
    names = keras_layout.names(shapes, about["layers"], about["slots"], about["algorithm"])
    return {names.get(name, name): array for name, array in found.items()}


def activation(path: Path) -> str | None:
    """As the configuration tells that older files hold."""
    config = json.loads(held(path)[1]["config"])
    return None if config is None else keras_layout.activation(config)


FORMAT = Format("HDF5", (".h5", ".hdf5"), lambda _, head: head.startswith(HEAD), read, activation)
