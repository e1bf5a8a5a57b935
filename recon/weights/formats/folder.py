"""Folders as Hugging Face's libraries write them: one .safetensors, or several with an index of their arrays."""

from pathlib import Path

import msgspec

from recon import reading
from recon.errors import ReconError
from recon.reading import LIMIT
from recon.weights.formats import safetensors
from recon.weights.formats.base import Arrays, Format
from recon.weights.names import few

INDEX = ".safetensors.index.json"
CONFIG = "config.json"
WORDS = ("hidden_act", "activation_function", "hidden_activation", "activation")  # of the activation, in it


class Index(msgspec.Struct):
    """What an index tells.

    Attributes:
      weight_map: the file of each array.
    """

    weight_map: dict[str, str]


def read(path: Path) -> Arrays:
    """The arrays of all the files."""
    folder = path if path.is_dir() else path.parent
    indexes = [path] if path != folder else sorted(folder.glob(f"*{INDEX}"))
    files = sorted(folder.glob("*.safetensors"))
    if len(indexes) > 1 or (not indexes and len(files) > 1):
        several = few([file.name for file in indexes or files])
        raise ReconError(f"{path} holds several sets of weights ({several}): give one of these files.")
    if indexes:
        index = reading.json(indexes[0], Index)
        names = sorted(set(index.weight_map.values()))
        if not all(Path(name).name == name and name.endswith(".safetensors") for name in names):
            raise ValueError("its index tells of other files than .safetensors beside it")
        files = [folder / name for name in names]
        if absent := [file.name for file in files if not file.exists()]:
            raise ReconError(f"{path} lacks {few(absent)}, which its index names: copy all the files there.")
    if sum(file.stat().st_size for file in files) > LIMIT:
        raise ReconError(f"{path} holds more than {LIMIT >> 30} GiB: save the weights by themselves.")
    held = {file.name: safetensors.read(file) for file in files}
    if not indexes:
        return held[files[0].name]
    if any(name not in held[file] for name, file in index.weight_map.items()):
        raise ValueError("an array is not in the file that its index tells")
    return {name: held[file][name] for name, file in index.weight_map.items()}


def activation(path: Path) -> str | None:
    """As the configuration beside the weights tells that Hugging Face's libraries write."""
    config = (path if path.is_dir() else path.parent) / CONFIG
    told = reading.json(config) if config.is_file() else None
    words = [told[key] for key in WORDS if isinstance(told.get(key), str)] if isinstance(told, dict) else []
    return words[0] if words else None


def holds(path: Path, _: bytes) -> bool:
    """The index, or the folder around it or one file."""
    return path.name.endswith(INDEX) or (path.is_dir() and any(path.glob("*.safetensors")))


FORMAT = Format("safetensors in parts", (INDEX,), holds, read, activation)
