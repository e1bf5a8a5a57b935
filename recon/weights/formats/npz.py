"""NumPy's .npz: a zip of arrays. Only headers that tell plain numbers are followed; nothing is ever unpickled."""

from pathlib import Path

from recon import reading
from recon.errors import ReconError
from recon.reading import LIMIT
from recon.weights.formats.base import PICKLE, Arrays, Format


def read(path: Path) -> Arrays:
    """The arrays, each of the size that its header tells.

    Raises:
      ReconError: a pickle in a zip, as `torch.save` writes.
      ValueError, OSError, zipfile.BadZipFile and others of a damaged archive.
    """
    with reading.archive(path, LIMIT) as opened:
        if any(name.endswith(".pkl") for name in opened.namelist()):
            raise ReconError(PICKLE.format(path))
    return reading.arrays(path, LIMIT)


FORMAT = Format("npz", (".npz",), lambda _, head: head.startswith(b"PK"), read)
