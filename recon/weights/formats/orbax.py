"""Orbax checkpoints: a folder, read by Orbax itself, which is an extra of this project."""

import math
from pathlib import Path

import numpy as np

from recon.errors import ReconError
from recon.reading import LIMIT
from recon.weights.formats.base import Arrays, Format, leaves, widened
from recon.weights.names import few

METADATA = "_METADATA"


def read(path: Path) -> Arrays:
    """The arrays of the tree."""
    path = tree_of(path)
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
    return {name: widened(leaf) for name, leaf in leaves(found) if isinstance(leaf, np.ndarray)}


def tree_of(path: Path) -> Path:
    """The folder of a tree: this one, or the only one in a step of a CheckpointManager."""
    if (path / METADATA).is_file():
        return path
    inner = sorted(metadata.parent for metadata in path.glob(f"*/{METADATA}"))
    if len(inner) == 1:
        return inner[0]
    steps = [metadata.parent.parent for metadata in path.glob(f"*/*/{METADATA}")]
    names = [folder.name for folder in inner or sorted(set(steps))]
    if names:
        raise ReconError(f"{path} holds checkpoints in folders ({few(names)}): give one of these.")
    raise ReconError(
        f"{path} is no folder of weights: give one that holds a .safetensors, or Orbax's {METADATA} of a tree."
    )


def shaped(leaf: object) -> bool:
    """Whether a leaf's description tells a size."""
    return getattr(leaf, "shape", None) is not None and getattr(leaf, "dtype", None) is not None


FORMAT = Format("Orbax", (), lambda path, _: path.is_dir() and not any(path.glob("*.safetensors")), read)
