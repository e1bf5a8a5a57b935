"""NumPy's .npz: a zip of arrays. Only headers that tell plain numbers are followed; nothing is ever unpickled."""

from pathlib import Path

from recon import reading
from recon.errors import ReconError
from recon.reading import LIMIT
from recon.weights.formats.base import PICKLE, Arrays, Format, foreign

# Weights are packed to a half at best, with most of them pruned to a tenth; images of few colours to a fiftieth.
DENSEST = 100  # times that an archive may unpack to its size,
SMALL = 256 << 20  # if to more bytes than this, which are read in a moment
MEMBERS = {"model.weights.h5": ".keras", "schema.json": ".skops"}  # of other programs' zips


def read(path: Path) -> Arrays:
    """The arrays, each of the size that its header tells."""
    with reading.archive(path, LIMIT) as opened:
        told = opened.infolist()
    if any(member.filename.endswith(".pkl") for member in told):
        raise ReconError(PICKLE.format(path))
    for member in told:
        if member.filename in MEMBERS:
            raise ReconError(foreign(path, MEMBERS[member.filename]))
    unpacked, packed = sum(member.file_size for member in told), sum(member.compress_size for member in told)
    if unpacked > max(SMALL, DENSEST * packed):
        raise ReconError(
            f"{path} unpacks from {packed >> 20} to {unpacked >> 20} MiB, as no weights do: save the network's alone."
        )
    return reading.arrays(path, LIMIT)


FORMAT = Format("npz", (".npz",), lambda _, head: head.startswith(b"PK"), read)
