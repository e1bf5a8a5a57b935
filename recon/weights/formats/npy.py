"""NumPy's .npy: one array, such as one of images; no network is of one."""

from pathlib import Path

from recon import reading
from recon.errors import ReconError
from recon.weights.formats.base import OBJECTS, Arrays, Format


def read(path: Path) -> Arrays:
    """The array, as x."""
    try:
        return {"x": reading.array(path)}
    except reading.Objects as error:
        raise ReconError(OBJECTS.format(path)) from error


FORMAT = Format("npy", (".npy",), lambda _, head: head.startswith(b"\x93NUMPY"), read)
