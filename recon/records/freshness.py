"""Whether what is stored was made by the code as it is: what an edit has overtaken is stale until it is made again."""

from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal

from recon.records.code_version import code_version, module_file

State = Literal["current", "stale", "unknown"]


def code_state(facts: Mapping[str, Any]) -> State:
    """Whether a cell's code is the code as it is, by its provenance; unknown if that names no modules."""
    modules = facts.get("modules")
    if modules is None:
        return "unknown"
    there = all(module_file(name) is not None for name in modules)
    return "current" if there and code_version(tuple(modules)) == facts.get("code_version") else "stale"


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
