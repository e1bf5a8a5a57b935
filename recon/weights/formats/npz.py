"""NumPy's .npz: a zip of arrays. Only headers that tell plain numbers are followed; nothing is ever unpickled."""

from pathlib import Path

from recon import reading
from recon.reading import LIMIT
from recon.weights.formats import keras, skops
from recon.weights.formats.base import TABLE, Arrays, Format, refuse_packed


def read(path: Path) -> Arrays:
    """The arrays, each of the size that its header tells."""
    refuse_packed(path)
    return reading.arrays(path, LIMIT, TABLE)


def holds(path: Path, head: bytes) -> bool:
    """A zip of no other format."""
    return head.startswith(b"PK") and not any(other.holds(path, head) for other in (keras, skops))


FORMAT = Format("npz", (".npz",), holds, read)
