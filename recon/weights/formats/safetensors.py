"""Hugging Face's .safetensors: what PyTorch, JAX and others save without pickles. Its library checks the file."""

from pathlib import Path

import numpy as np

from recon.errors import ReconError
from recon.reading import LIMIT, content
from recon.weights.formats.base import KIND, Arrays, Format, narrow

# By their names in the header.
KINDS = {
    **{f"F{bits}": np.dtype(f"<f{bits // 8}") for bits in (16, 32, 64)},
    **{f"I{bits}": np.dtype(f"<i{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"U{bits}": np.dtype(f"<u{bits // 8}") for bits in (8, 16, 32, 64)},
    "BOOL": np.dtype(bool),
}
NARROWS = {"BF16": "bfloat16", "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2"}


def read(path: Path) -> Arrays:
    """The arrays; those of the `NARROW` kinds as float32."""
    from safetensors import SafetensorError, deserialize

    try:
        found = deserialize(content(path))  # type: ignore[no-untyped-call]
    except SafetensorError as error:
        raise ValueError(str(error)) from error
    made = {}
    for name, told in found:
        kind = told["dtype"]
        if kind in NARROWS:
            array = narrow(told["data"], NARROWS[kind])
        elif kind in KINDS:
            array = np.frombuffer(told["data"], KINDS[kind])
        else:
            raise ReconError(KIND.format(path, kind))
        made[name] = array.reshape(told["shape"])
    return made


def holds(path: Path, head: bytes) -> bool:
    """Its header is JSON behind eight bytes of length."""
    told = head[8:9] == b"{" and int.from_bytes(head[:8], "little") < LIMIT
    return told or (path.suffix == ".safetensors" and not head.startswith((b"PK", b"\x80")))


FORMAT = Format("safetensors", (".safetensors",), holds, read)
