"""A version of the code that changes when the mathematics does, not when a comment or a docstring does."""

import ast
import hashlib
import sys
from functools import cache
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parent.parent
# What a cell's numbers depend on. The command line, plots, progress and this package do not enter, nor does reading
# pictures: what was read is in the cell's key by its content.
PARTS = ("tasks", "networks", "kernels", "dynamics", "attacks", "distillation", "metrics", "cells")


def syntax_digest(source: str) -> str:
    """Hash of a module's syntax tree without docstrings; comments and layout are not in the tree."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) or not body:
            continue
        first = body[0]
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
            first.value.value = ""
    return hashlib.sha256(_dumped(tree).encode()).hexdigest()


def _dumped(tree: ast.AST) -> str:
    """A syntax tree as Python 3.11 writes it: 3.12 adds type parameters, and 3.13 leaves out what is empty."""
    everything: dict[str, Any] = {"show_empty": True} if sys.version_info >= (3, 13) else {}
    return ast.dump(tree, **everything).replace(", type_params=[]", "")


def module_file(module: str, package: Path = PACKAGE) -> Path | None:
    """The file of a module of this package, or None if there is no such module (a name inside one, say)."""
    inside = package.joinpath(*module.split(".")[1:])
    for path in (inside / "__init__.py", inside.with_suffix(".py")):
        if path.is_file():
            return path
    return None


def imported(source: str) -> set[str]:
    """Names that a module's imports mention, whether modules or things inside them, anywhere in the file."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@cache
def _read(file: Path, changed: int) -> tuple[str, frozenset[str]]:  # noqa: ARG001 (names the file's state)
    """Digest and imports of a file: cells of a figure share most of theirs."""
    source = file.read_text(encoding="utf-8")
    return syntax_digest(source), frozenset(imported(source))


def closure(modules: tuple[str, ...], package: Path = PACKAGE) -> dict[str, Path]:
    """The modules of `PARTS` that the given ones need, by following imports; with the packages they lie in."""
    root, found, todo = package.name, dict[str, Path](), list(modules)
    while todo:
        name = todo.pop()
        parts = name.split(".")
        file = module_file(name, package) if parts[0] == root and len(parts) > 1 and parts[1] in PARTS else None
        if file is None or name in found:
            continue
        found[name] = file
        todo += [".".join(parts[:i]) for i in range(2, len(parts))]
        todo += sorted(_read(file, file.stat().st_mtime_ns)[1])
    return found


def everything(package: Path = PACKAGE) -> tuple[str, ...]:
    """Every module of `PARTS`."""
    files = sorted(f for part in PARTS for f in (package / part).rglob("*.py"))
    return tuple(
        ".".join((package.name, *f.relative_to(package).with_suffix("").parts)).removesuffix(".__init__") for f in files
    )


@cache
def code_version(modules: tuple[str, ...] = (), files: tuple[Path, ...] = ()) -> str:
    """Twelve hex digits over the given modules and all that they import (default: over everything that counts).

    So a cell stays valid when an attack that it does not use is changed, or a task is added.

    Args:
      modules: of `PARTS`.
      files: other source files that a measurement depends on, without what they import.
    """
    found = closure(modules or everything()) | {str(file.relative_to(file.parents[1])): file for file in files}
    lines = [f"{name} {_read(file, file.stat().st_mtime_ns)[0]}" for name, file in sorted(found.items())]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]
