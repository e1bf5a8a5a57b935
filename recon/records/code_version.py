"""A version of the code that changes when the mathematics does, not when a comment or a docstring does."""

import ast
import hashlib
import sys
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from recon.errors import ReconError

PACKAGE = Path(__file__).resolve().parent.parent
# What a cell's numbers depend on. The command line, plots, progress and this package do not enter, nor does reading
# pictures: what was read is in the cell's key by its content.
PARTS = (
    "arrays", "tasks", "networks", "kernels", "dynamics", "attacks", "distillation", "metrics", "weights", "auditing",
    "cells", "loops",
)  # fmt: skip
# Packages of others that compute what a cell's numbers are, by the name they are imported by; those that carry types,
# text or pictures are left out.
COMPUTING = {
    "jax": ("jax", "jaxlib"),
    "numpy": ("numpy",),
    "scipy": ("scipy",),
    "optax": ("optax",),
    "skimage": ("scikit-image",),
    "sklearn": ("scikit-learn",),
    "torch": ("torch",),
    "neural_tangents": ("neural-tangents",),
    "dp_accounting": ("dp-accounting",),
}
DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def syntax_digest(source: str) -> str:
    """Hash of a module's syntax tree without docstrings; comments and layout are not in the tree."""
    return _studied(source)[0]


def imported(source: str) -> frozenset[str]:
    """Names that a module's imports mention, whether modules or things inside them, anywhere in the file."""
    return _studied(source)[1]


def _studied(source: str) -> tuple[str, frozenset[str]]:
    """Digest and imports, by one look at each node of the tree: a command that stores something waits for all files."""
    tree, names = ast.parse(source), set[str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            if node.module and not node.level:
                names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, DOCUMENTED) and node.body:
            first = node.body[0]
            if (
                isinstance(first, ast.Expr)
                and isinstance(text := first.value, ast.Constant)
                and isinstance(text.value, str)
            ):
                text.value = ""
    return hashlib.sha256(_dumped(tree).encode()).hexdigest(), frozenset(names)


def _dumped(tree: ast.AST) -> str:
    """A syntax tree as Python 3.11 writes it: 3.12 adds type parameters, and 3.13 leaves out what is empty."""
    everything: dict[str, Any] = {"show_empty": True} if sys.version_info >= (3, 13) else {}
    return ast.dump(tree, **everything).replace(", type_params=[]", "")


def module_file(module: str, package: Path = PACKAGE) -> Path | None:
    """The file of a module of this package, or None if there is no such module (a name inside one, say).

    One that was added to the package from another folder is found where it was loaded from.
    """
    inside = package.joinpath(*module.split(".")[1:])
    for path in (inside / "__init__.py", inside.with_suffix(".py")):
        if path.is_file():
            return path
    loaded = getattr(sys.modules.get(module), "__file__", None)
    return Path(loaded) if loaded and package == PACKAGE else None


@cache
def _read(file: Path, changed: int) -> tuple[str, frozenset[str]]:  # noqa: ARG001 (names the file's state)
    """Digest and imports of a file: cells of a figure share most of theirs."""
    return _studied(file.read_text(encoding="utf-8"))


def closure(modules: tuple[str, ...], package: Path = PACKAGE) -> dict[str, Path]:
    """The modules of `PARTS` that the given ones need, by following imports; with the packages they lie in.

    Raises:
      ReconError: a given name is not that of a module of `PARTS`: its edits would go unseen.
    """

    def counts(name: str) -> Path | None:
        root, *parts = name.split(".")
        return module_file(name, package) if root == package.name and parts and parts[0] in PARTS else None

    for name in modules:
        if counts(name) is None:
            raise ReconError(f"{name} is no module of {package.name}'s {', '.join(PARTS)}: name one that is.")
    found, todo = dict[str, Path](), list(modules)
    while todo:
        name = todo.pop()
        file = counts(name)
        if file is None or name in found:
            continue
        found[name] = file
        parts = name.split(".")
        todo += [".".join(parts[:i]) for i in range(2, len(parts))]
        todo += sorted(_read(file, file.stat().st_mtime_ns)[1])
    return found


def everything(package: Path = PACKAGE) -> tuple[str, ...]:
    """Every module of `PARTS`."""
    places = [package / part for part in PARTS]
    files = [f for place in places for f in (place.rglob("*.py") if place.is_dir() else [place.with_suffix(".py")])]
    return tuple(
        ".".join((package.name, *f.relative_to(package).with_suffix("").parts)).removesuffix(".__init__")
        for f in sorted(files)
    )


@cache
def library_versions(modules: tuple[str, ...] = ()) -> dict[str, str]:
    """Versions of the installed packages of `COMPUTING` that the given modules, or what they need, import.

    Raises:
      ReconError: as `closure`.
    """
    files = closure(modules or everything()).values()
    names = {name.split(".")[0] for file in files for name in _read(file, file.stat().st_mtime_ns)[1]}
    found = {}
    for library in (library for name in names & COMPUTING.keys() for library in COMPUTING[name]):
        try:
            found[library] = metadata.version(library)
        except metadata.PackageNotFoundError:  # what needs it says so
            continue
    return dict(sorted(found.items()))


@cache
def code_version(modules: tuple[str, ...] = ()) -> str:
    """Twelve hex digits over the given modules and all that they import (default: over everything that counts).

    So a cell stays valid when an attack that it does not use is changed, or a task is added.

    Args:
      modules: of `PARTS`.

    Raises:
      ReconError: as `closure`.
    """
    found = closure(modules or everything())
    lines = [f"{name} {_read(file, file.stat().st_mtime_ns)[0]}" for name, file in sorted(found.items())]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]
