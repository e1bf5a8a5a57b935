"""A version of the code that changes when the mathematics does, not when a comment or a docstring does."""

import ast
import hashlib
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent
# What a cell's numbers depend on; the command line, plots, progress and this package do not enter.
PARTS = ("data", "tasks", "networks", "kernels", "dynamics", "attacks", "metrics", "cell.py")


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
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


@cache
def code_version() -> str:
    """Twelve hex digits over all modules that a cell's numbers depend on."""
    files = sorted(
        f for part in PARTS for f in ([PACKAGE / part] if part.endswith(".py") else (PACKAGE / part).rglob("*.py"))
    )
    lines = [f"{f.relative_to(PACKAGE).as_posix()} {syntax_digest(f.read_text(encoding='utf-8'))}" for f in files]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]
