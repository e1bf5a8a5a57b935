"""NumPy's .npz: a zip of arrays. Only headers that tell plain numbers are followed; nothing is ever unpickled."""

import zipfile
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from recon.errors import ReconError
from recon.weights.formats.base import LIMIT, PICKLE, Arrays, Format, plain

HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def read(path: Path) -> Arrays:
    """The arrays, each of the size that its header tells.

    Raises:
      ReconError: a pickle in a zip, as `torch.save` writes.
      ValueError, OSError, zipfile.BadZipFile and others of a damaged archive.
    """
    arrays: Arrays = {}
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if sum(member.file_size for member in members) > LIMIT:
            raise ValueError(f"it unpacks to more than {LIMIT >> 30} GiB")
        if any(member.filename.endswith(".pkl") for member in members):
            raise ReconError(PICKLE.format(path))
        for member in members:
            name = member.filename.removesuffix(".npy")
            with archive.open(member) as file:
                version = npy.read_magic(file)
                if version not in HEADERS:
                    raise ValueError(f"{name} is not an array of plain numbers")
                shape, fortran, dtype = HEADERS[version](file)
                if not plain(dtype):
                    raise ValueError(f"{name} is not an array of plain numbers")
                # A header may promise more than there is: read what is there, and compare.
                content = file.read()
            if len(content) != int(np.prod(shape, dtype=object)) * dtype.itemsize:
                raise ValueError(f"{name} is cut short")
            arrays[name] = np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")
    return arrays


FORMAT = Format("npz", (".npz",), lambda _, head: head.startswith(b"PK"), read)
