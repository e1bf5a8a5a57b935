"""Hugging Face's .safetensors, by the NumPy half of its library: what PyTorch, JAX and others save without pickles."""

from pathlib import Path

from recon.errors import ReconError
from recon.reading import content
from recon.weights.formats.base import Arrays, Format


def read(path: Path) -> Arrays:
    """The arrays.

    Raises:
      ReconError: numbers of a kind that NumPy does not have.
      ValueError: a damaged file.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        return load(content(path))
    except SafetensorError as error:
        raise ValueError(str(error)) from error
    except KeyError as error:
        raise ReconError(f"{path} holds numbers of the kind {error.args[0]}: save them as float32.") from error


def holds(path: Path, head: bytes) -> bool:
    """Its header is JSON behind eight bytes of length."""
    return head[8:9] == b"{" or (path.suffix == ".safetensors" and not head.startswith((b"PK", b"\x80")))


FORMAT = Format("safetensors", (".safetensors",), holds, read)
