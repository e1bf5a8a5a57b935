"""Results on disk, and what made them."""

from recon.records.cache import Entry, described, entries, prunable, remove
from recon.records.code_version import code_version, library_versions
from recon.records.differences import cells_differ, differences, lasting
from recon.records.files import (
    ClaimRecord,
    FigureRecord,
    compact_bytes,
    figure_bytes,
    json_bytes,
    outline,
    read_figure,
    read_json,
    write_bytes,
)
from recon.records.freshness import cells_by_code, code_state, code_words, record_state
from recon.records.provenance import LIBRARIES, cores, provenance
from recon.records.rows import attack_row, mean_and_spread, rounded
from recon.records.store import Store, Stored, as_read, cell_key

__all__ = [
    "LIBRARIES",
    "ClaimRecord",
    "Entry",
    "FigureRecord",
    "Store",
    "Stored",
    "as_read",
    "attack_row",
    "cell_key",
    "cells_by_code",
    "cells_differ",
    "code_state",
    "code_version",
    "code_words",
    "compact_bytes",
    "cores",
    "described",
    "differences",
    "entries",
    "figure_bytes",
    "json_bytes",
    "lasting",
    "library_versions",
    "mean_and_spread",
    "outline",
    "provenance",
    "prunable",
    "read_figure",
    "read_json",
    "record_state",
    "remove",
    "rounded",
    "write_bytes",
]
