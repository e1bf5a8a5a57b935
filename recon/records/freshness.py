"""Whether what is stored was made by the code as it is: what an edit has overtaken is stale until it is made again."""

from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal

from recon.errors import ReconError
from recon.records.code_version import code_version, library_versions

State = Literal["current", "stale", "unknown"]


def code_state(facts: Mapping[str, Any], libraries: bool = False) -> State:
    """Whether a cell's code is the code as it is; unknown if no module is named.

    Args:
      facts: the cell's provenance.
      libraries: the libraries that it computes with count, too: of the cells here, not of records, which others read.
    """
    modules = facts.get("modules")
    if modules is None:
        return "unknown"
    modules = tuple(modules)
    try:
        same = code_version(modules) == facts.get("code_version")
        same &= not libraries or library_versions(modules).items() <= facts.get("versions", {}).items()
    except ReconError:  # a module of that name is gone
        return "stale"
    return "current" if same else "stale"


def cells_by_code(made: Mapping[str, Any]) -> Counter[State]:
    """How many of a figure's cells are of current, of stale, of unknown code."""
    return Counter(code_state(cell["provenance"]) for cell in made["cells"])


def record_state(made: Mapping[str, Any]) -> State:
    """A figure's record is stale if any of its cells is, else unknown if any is or there is none, else current."""
    cells = cells_by_code(made)
    return "stale" if cells["stale"] else "unknown" if cells["unknown"] or not cells else "current"


def code_words(made: Mapping[str, Any]) -> str:
    """The state of a record's code in words: current, or how many of its cells are not."""
    cells = cells_by_code(made)
    others = (f"{cells[state]} of {cells.total()} cells {state}" for state in ("stale", "unknown") if cells[state])
    return ", ".join(others) or record_state(made)
