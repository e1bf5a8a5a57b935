"""Keras 3's .keras: a zip of the weights in HDF5 and a configuration in JSON. No class that it names is imported."""

from pathlib import Path

import msgspec

from recon import reading
from recon.reading import JSON_LIMIT, LIMIT
from recon.weights.formats import hdf5, keras_layout
from recon.weights.formats.base import TABLE, Arrays, Format, members, refuse_packed

WEIGHTS, CONFIG = "model.weights.h5", "config.json"


def read(path: Path) -> Arrays:
    """The arrays."""
    refuse_packed(path)
    with reading.archive(path, LIMIT, TABLE) as archive:
        held = reading.member(archive, WEIGHTS, LIMIT)
    return hdf5.read(path, held)


def activation(path: Path) -> str | None:
    """As the configuration tells."""
    with reading.archive(path, LIMIT, TABLE) as archive:
        return keras_layout.activation(msgspec.json.decode(reading.member(archive, CONFIG, JSON_LIMIT)))


def holds(path: Path, head: bytes) -> bool:
    """A zip with a member of that name."""
    return WEIGHTS in members(path, head)


FORMAT = Format("Keras", (".keras",), holds, read, activation)
