"""What the commands print: consoles, progress of a run, and how a record is shown."""

import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import TaskID
from rich.table import Table

OPEN = {"darwin": "open", "win32": "start"}  # the command that opens a file, by system
VERDICTS = {"reproduced": "green", "not reproduced": "red", "inconclusive": "yellow"}
CellReport = Callable[[int, float, str], None]
"""Called with the number of a cell, the fraction of it that is done, and a short text."""

out = Console()
if not out.is_terminal:
    out = Console(width=120)  # a log has no width of its own
err = Console(stderr=True)


@contextmanager
def overall(title: str) -> Iterator[Callable[[Sequence[Any]], CellReport]]:
    """Bars on a terminal, the whole run's and one for each cell at work; a line now and then elsewhere.

    Yields:
      What makes the `CellReport` of planned cells; it says where their pictures come from.
    """
    from recon.progress import bars, plain

    def reports(planned: Sequence[Any]) -> CellReport:
        for source in dict.fromkeys(p.data.source for p in planned):
            err.print(f"Pictures: {escape(source)}", highlight=False)
        names, done, line = [p.cell.title for p in planned], [0.0] * len(planned), plain(title)
        whole = display.add_task(title, total=float(len(planned)), text="")
        running: dict[int, TaskID] = {}

        def report(i: int, fraction: float, text: str) -> None:
            done[i] = fraction
            if not err.is_terminal:
                line(sum(done) / len(done), f"({names[i]}: {text})")
                return
            display.update(whole, completed=sum(done), text=f"{done.count(1.0)} of {len(done)} cells")
            if fraction < 1.0:
                if i not in running:
                    running[i] = display.add_task(names[i], total=1.0, text="")
                display.update(running[i], completed=fraction, text=text)
            elif i in running:
                display.remove_task(running.pop(i))

        return report

    display = bars(err)
    with display if err.is_terminal else nullcontext():
        yield reports


def say(text: str, console: Console = out) -> None:
    """Print a line as it is: whole however long, without markup, in one colour."""
    console.print(text, soft_wrap=True, markup=False, highlight=False)


def shown(path: Path) -> str:
    """A path as one types it here: relative to the current folder if it lies inside."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def table(*columns: str, title: str | None = None) -> Table:
    """An empty table with these columns."""
    names = map(escape, columns)
    return Table(*names, title=title, title_style="bold", header_style="bold", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))


def show(found: Any, path: Path) -> None:
    """Print a record's table, its claims, where the files are, and how to open the picture."""
    from recon.records import read_figure

    made = read_figure(path)
    title, columns, rows = found.module().table(made["summary"])
    drawn = table(*columns, title=escape(title))
    for row in rows:
        drawn.add_row(*map(escape, row))
    out.print(drawn)
    for claim in made["claims"]:
        verdict = claim["verdict"]
        out.print(f"[{VERDICTS[verdict]}]{verdict}[/]: {escape(claim['statement'])} {escape(claim['effect'])}")
    stem = shown(path.with_suffix(""))
    say(f"{made['seconds']:.0f} s. Record, table and figure: {stem}.{{json,md,csv,tex,png,pdf,svg}}")
    say(f"Open it: {OPEN.get(sys.platform, 'xdg-open')} {shlex.quote(f'{stem}.png')}")
