"""Files of weights: whatever their format, without running anything in them."""

import re
from pathlib import Path
from typing import Any

import numpy as np

from recon.errors import ReconError
from recon.networks import Params
from recon.reading import LIMIT, Objects, plain, refused
from recon.records.files import npz_bytes, write_bytes
from recon.weights.arrange import arranged
from recon.weights.formats import Format, formats
from recon.weights.formats.base import FOREIGN, KIND, PICKLE, Arrays, foreign, leaves, widened
from recon.weights.names import natural

# Protocols 2 to 5. A safetensors header of 640, 896, 1152 or 1408 bytes begins alike, but its length ends in zeros.
PICKLED = re.compile(rb"\x80[\x02-\x05](?!\0{6}\{)")
PICKLES = (".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".bin", ".joblib")
LONGEST = 200  # characters of an array's name, which messages repeat
OWN = re.compile(r"\w+/(kernel|bias)")  # names as `save_weights` writes them


def read_arrays(path: str | Path) -> Arrays:
    """The arrays of a file, or of a folder of Orbax's or Hugging Face's, by name.

    Raises:
      ReconError: the file is absent, damaged, too large, a pickle, or of no known format.
    """
    path = Path(path)
    chosen = format_of(path)
    with refused(f"{path} holds no weights", "save them again"):
        try:
            arrays = chosen.read(path)
        except Objects as error:
            raise ReconError(
                f"{path} holds no weights (an array of Python objects, a pickle, not of plain numbers): save each "
                'array under a name of its own, as by numpy.savez("weights.npz", W1=..., b1=..., W2=...).'
            ) from error
        strange = next((array.dtype for array in arrays.values() if not plain(array.dtype)), None)
        if strange is not None:
            raise ReconError(KIND.format(path, strange))
        if not all(name.isprintable() and len(name) <= LONGEST for name in arrays):
            raise ValueError("an array has a name that is none")
        if not arrays:
            raise ValueError("it is empty")
    return arrays


def told_activation(path: str | Path) -> str | None:
    """The activation of the hidden layers, where a file describes the network beside its weights.

    Keras's files do, scikit-learn's by skops, ONNX's graphs, and folders with Hugging Face's config.json.

    Returns:
      A name as `recon.networks.activations.named` takes it; other words where it has none such, or where hidden layers
      differ ("relu and tanh"); None where the file does not tell.

    Raises:
      ReconError: as `read_arrays`.
    """
    path = Path(path)
    chosen = format_of(path)
    with refused(f"The network's description in {path} cannot be read", "save it again"):
        return chosen.activation(path)


def format_of(path: Path) -> Format:
    """The format of a file or folder.

    Raises:
      ReconError: there is none, it is too large, a pickle, or of no known format.
    """
    known = formats()
    try:
        size = 0 if path.is_dir() else path.stat().st_size
        head = b""
        if path.is_file():
            with path.open("rb") as file:
                head = file.read(16)
    except OSError as error:
        raise ReconError(f"{path} cannot be read ({error.strerror}): give a file of weights.") from error
    chosen = next((f for f in known.values() if f.holds(path, head)), None)
    if PICKLED.match(head) or (path.suffix in PICKLES and chosen is None and not path.is_dir()):
        raise ReconError(PICKLE.format(path))
    if (other := program(path)) is not None:
        raise ReconError(foreign(path, other))
    if size > LIMIT:
        raise ReconError(f"{path} holds more than {LIMIT >> 30} GiB: save the weights by themselves.")
    if chosen is None:
        names = ", ".join(suffix for f in known.values() for suffix in f.suffixes)
        raise ReconError(f"{path} is of no format that holds weights here ({names}, an Orbax folder): save it as one.")
    return chosen


def program(path: Path) -> str | None:
    """The suffix, in `FOREIGN`, of another program's file or folder."""
    if path.is_dir():
        marks = {"saved_model.pb": ".pb", "*.data-*-of-*": ".index"}
        return next((suffix for mark, suffix in marks.items() if any(path.glob(mark))), None)
    if ".data-" in path.name:  # of a TensorFlow checkpoint
        return ".index"
    return path.suffix if path.suffix in FOREIGN else None


def flat(tree: Any) -> Arrays:
    """Arrays by name of nested mappings and lists, such as a parameter tree or scikit-learn's `coefs_`."""
    found = {}
    for name, leaf in leaves(tree):
        if leaf is None:  # as neural-tangents has in the place of a bias
            continue
        value = widened(np.asarray(leaf))
        if value.dtype.kind not in "biuf":
            raise ReconError(f"{name or 'The tree'} is no array of numbers: give a tree or a mapping of arrays.")
        found[name] = value
    return found


def load_weights(
    path: str | Path, *, layers: tuple[str, ...] = (), kernels: str | None = None
) -> dict[str, dict[str, np.ndarray]]:
    """Read a parameter tree: what `save_weights` wrote as it is, other arrays as `recon.weights.arranged` sees them.

    Args:
      layers, kernels: as `recon.weights.arranged` takes them.

    Raises:
      ReconError: the file is absent, damaged or holds no weights, or they are of no plain MLP.
    """
    arrays = read_arrays(path)
    if layers or kernels or not all(OWN.fullmatch(name) for name in arrays):
        return arranged(arrays, layers=layers, kernels=kernels, where=str(path)).tree(arrays)
    params: dict[str, dict[str, np.ndarray]] = {}
    for name in sorted(arrays, key=natural):  # safetensors gives them in any order
        array = arrays[name]
        if array.dtype.kind != "f" or not np.isfinite(array).all():
            raise ReconError(f"{path} holds no weights ({name} is not made of finite numbers): save them again.")
        layer, part = name.split("/")
        params.setdefault(layer, {})[part] = array
    return params


def save_weights(path: str | Path, params: Params) -> None:
    """Write a parameter tree, an array for each entry, named by its path, 'Dense_0/kernel'.

    Args:
      path: a file; .safetensors is written as such, everything else as .npz.

    Raises:
      ReconError: the place cannot be written.
    """
    # The library writes memory as it lies: of an array that is not contiguous, other numbers.
    flat = {
        f"{layer}/{name}": np.ascontiguousarray(value)
        for layer, parts in params.items()
        for name, value in parts.items()
    }
    if Path(path).suffix == ".safetensors":
        from safetensors.numpy import save

        write_bytes(Path(path), save(flat))
    else:
        write_bytes(Path(path), npz_bytes(flat))
