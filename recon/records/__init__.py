"""Results on disk, and what made them."""

from recon.records.code_version import code_version
from recon.records.files import json_bytes, read_json, write_bytes
from recon.records.provenance import provenance
from recon.records.rows import attack_row, rounded
from recon.records.store import Store, Stored, cell_key

__all__ = [
    "Store",
    "Stored",
    "attack_row",
    "cell_key",
    "code_version",
    "json_bytes",
    "provenance",
    "read_json",
    "rounded",
    "write_bytes",
]
