"""`recon cache`: what is stored, whether it is whole, and what can go."""

from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer
from rich.filesize import decimal
from rich.markup import escape

from recon.cli.console import out, table
from recon.cli.options import flag
from recon.errors import ReconError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from recon.records import Entry, Store

DAY = 86400.0  # seconds

cache_app = typer.Typer(help="Computed cells: list, verify, prune.", no_args_is_help=True)


@cache_app.command()
def ls() -> None:
    """Every stored cell: its settings, whether the code that made it is the code as it is, its size and age."""
    from recon.records import entries

    show(entries(store()))


@cache_app.command()
def verify() -> None:
    """Check every cell against its checksums and set damaged ones aside: exit code 1 if there are any."""
    from recon.records import entries

    cells = [e for e in entries(store()) if e.is_cell]
    wrong = [text for e in cells if (text := store().verified(e.key)[1])]
    for text in wrong:
        out.print(escape(text), soft_wrap=True)
    if wrong:
        raise ReconError(f"{len(wrong)} of {len(cells)} cells did not verify: the next run computes them again.")
    out.print(f"{len(cells)} cells verified.")


@cache_app.command()
def prune(
    dry_run: Annotated[bool, flag("--dry-run", "Only say what would go.")] = False,
    older_than: Annotated[
        float | None,
        typer.Option(help="Remove cells of so many days and more too, current ones among them.", metavar="DAYS"),
    ] = None,
) -> None:
    """Remove cells that other code made, damaged ones, and what killed runs left behind."""
    from recon.records import entries, prunable, remove

    going = prunable(entries(store()), None if older_than is None else older_than * DAY)
    if going:
        show(going)
    for entry in [] if dry_run else going:
        remove(entry)
    freed = decimal(sum(e.bytes for e in going))
    out.print(
        f"{len(going)} folders, {freed}: would be removed." if dry_run else f"{len(going)} removed, {freed} freed."
    )


def store() -> "Store":
    """The store of this checkout."""
    from recon.benchmark import cell_store, project_root

    return cell_store(project_root())


def show(found: "Sequence[Entry]") -> None:
    """A table of folders and their sum."""
    colours = {"current": "green", "stale": "yellow", "unknown": "yellow"}
    drawn = table("key", "what", "code", "size", "age")
    for e in found:
        code = f"[{colours.get(e.state, 'red')}]{e.state}[/] {escape(e.code)}"
        drawn.add_row(escape(e.key), escape(e.what), code, decimal(e.bytes), age(e.age))
    out.print(drawn)
    counts = ", ".join(f"{n} {state}" for state, n in Counter(e.state for e in found).items())
    out.print(f"{decimal(sum(e.bytes for e in found))} in all: {counts or 'nothing stored'}.")


def age(seconds: float) -> str:
    """A length of time in its largest unit."""
    for unit, length in (("d", DAY), ("h", 3600.0), ("min", 60.0)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
