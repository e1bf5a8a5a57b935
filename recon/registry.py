"""Things that are found by the file that defines them: tasks, attacks."""

import importlib
import pkgutil
from collections.abc import Iterable
from functools import cache
from typing import Any


@cache
def defined(package: str, attribute: str) -> dict[str, Any]:
    """What the modules of a package define as `attribute`, by its name."""
    path: Iterable[str] = importlib.import_module(package).__path__
    modules = (importlib.import_module(f"{package}.{m.name}") for m in pkgutil.iter_modules(path))
    found = [getattr(m, attribute) for m in modules if hasattr(m, attribute)]
    return {thing.name: thing for thing in found}
