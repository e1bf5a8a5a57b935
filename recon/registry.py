"""Things that are found by the file that defines them: tasks, attacks, distillation methods."""

import dataclasses
import importlib
import pkgutil
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from recon.errors import ReconError, unknown

Thing = TypeVar("Thing")


@cache
def homes(package: str, attribute: str) -> dict[str, ModuleType]:
    """The modules of a package that define `attribute`, by its name."""
    path: Iterable[str] = importlib.import_module(package).__path__
    modules = [importlib.import_module(f"{package}.{m.name}") for m in pkgutil.iter_modules(path)]
    return {getattr(m, attribute).name: m for m in modules if hasattr(m, attribute)}


@cache
def defined(package: str, attribute: str) -> dict[str, Any]:
    """What the modules of a package define as `attribute`, by its name."""
    return {name: getattr(module, attribute) for name, module in homes(package, attribute).items()}


def module_of(package: str, attribute: str, name: str) -> str:
    """The name of the module of a package that defines the thing called `name`."""
    known = homes(package, attribute)
    if name not in known:
        raise ReconError(f"No module of {package} defines {name!r}: choose one of {', '.join(sorted(known))}.")
    return known[name].__name__


def names(package: str, attribute: str) -> list[str]:
    """The names of what `defined` finds, by the text of the files: nothing is imported."""
    folder = Path(__file__).parent.joinpath(*package.split(".")[1:])
    first = re.compile(rf'^{attribute} = \w+\(\s*(?:name=)?"([^"]+)"', re.MULTILINE)
    return [name for file in sorted(folder.glob("*.py")) for name in first.findall(file.read_text(encoding="utf-8"))]


def changed(known: Mapping[str, Thing], kind: str, name: str, options: Mapping[str, Any]) -> tuple[Thing, Any]:
    """The thing called `name`, and its settings with `options` changed.

    Args:
      known: things by name; each has `settings`, a dataclass.
      kind: what they are, for errors.
    """
    if name not in known:
        raise unknown(kind, name, sorted(known))
    settings: Any = known[name].settings  # type: ignore[attr-defined]
    own = {f.name for f in dataclasses.fields(settings)}
    if set(options) - own:
        wrong = ", ".join(sorted(set(options) - own))
        raise ReconError(f"The {kind} {name!r} has no setting {wrong}: it has {', '.join(sorted(own))}.")
    return known[name], dataclasses.replace(settings, **options)
