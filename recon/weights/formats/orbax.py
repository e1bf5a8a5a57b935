"""Orbax checkpoints: a folder, read by Orbax itself, which is an extra of this project."""

import math
from pathlib import Path

import numpy as np

from recon.errors import ReconError
from recon.reading import LIMIT
from recon.weights.formats.base import Arrays, Format, leaves

METADATA = "_METADATA"


def read(path: Path) -> Arrays:
    """The arrays of the tree.

    Raises:
      ReconError: no checkpoint of a tree, Orbax is not installed, or the checkpoint is too large.
      Exception: whatever Orbax raises at a damaged one.
    """
    if not (path / METADATA).is_file():
        raise ReconError(f"{path} is no Orbax checkpoint of a tree: give the folder that holds {METADATA}.")
    try:
        import orbax.checkpoint as ocp
    except ImportError as error:
        raise ReconError(
            "Orbax checkpoints need Orbax: .venv/bin/python -m pip install 'orbax-checkpoint==0.11.16'."
        ) from error
    import jax

    with ocp.PyTreeCheckpointer() as reader:
        stored = reader.metadata(path.absolute())
        tree = getattr(stored, "tree", stored)
        sizes = (math.prod(leaf.shape) * np.dtype(leaf.dtype).itemsize for _, leaf in leaves(tree) if shaped(leaf))
        if sum(sizes) > LIMIT:
            raise ReconError(f"{path} holds more than {LIMIT >> 30} GiB: save the weights by themselves.")
        # As NumPy arrays, whatever devices they were on.
        wanted = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
        found = reader.restore(path.absolute(), restore_args=wanted)
    return {name: leaf for name, leaf in leaves(found) if isinstance(leaf, np.ndarray)}


def shaped(leaf: object) -> bool:
    """Whether a leaf's description tells a size."""
    return getattr(leaf, "shape", None) is not None and getattr(leaf, "dtype", None) is not None


FORMAT = Format("Orbax", (), lambda path, _: path.is_dir(), read)
