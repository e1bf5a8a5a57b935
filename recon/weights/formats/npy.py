"""NumPy's .npy: one array, such as one of images, under the name x; no network is of one."""

from recon import reading
from recon.weights.formats.base import Format

FORMAT = Format(
    "npy", (".npy",), lambda _, head: head.startswith(b"\x93NUMPY"), lambda path: {"x": reading.array(path)}
)
