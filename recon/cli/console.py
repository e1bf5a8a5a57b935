"""What the commands share: consoles, options, progress of a run, and how a record is shown."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import TaskID
from rich.table import Table

out = Console()
if not out.is_terminal:
    out = Console(width=120)  # a log has no width of its own
err = Console(stderr=True)

DataDir = Annotated[
    Path | None,
    typer.Option(
        help="Prepared TFDS directory (default: TFDS_DATA_DIR, else ~/tensorflow_datasets).", show_default=False
    ),
]
Source = Annotated[str, typer.Option(help="auto: prepared TFDS directory, else package pictures; tfds; samples.")]
Images = Annotated[Path | None, typer.Option(help="Folder of class folders of your own pictures.", show_default=False)]
Out = Annotated[
    Path | None, typer.Option("--out", help="Folder for records and figures (default: results/).", show_default=False)
]
Jobs = Annotated[
    int | None,
    typer.Option(
        "--jobs", "-j", min=1, help="Cells computed at a time (default: one for each core).", show_default=False
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Compute cells again even if they are stored.")]


@contextmanager
def overall(title: str) -> Iterator[Callable[[Sequence[Any]], Callable[[int, float, str], None]]]:
    """Bars on a terminal, the whole run's and one for each cell at work; a line now and then elsewhere."""
    from recon.progress import bars, plain

    if not err.is_terminal:

        def lines(planned: Sequence[Any]) -> Callable[[int, float, str], None]:
            announce(planned)
            report, done = plain(title), [0.0] * len(planned)

            def line(i: int, fraction: float, text: str) -> None:
                done[i] = fraction
                report(sum(done) / len(done), f"({planned[i].cell.title}: {text})")

            return line

        yield lines
        return
    with bars(err) as display:

        def both(planned: Sequence[Any]) -> Callable[[int, float, str], None]:
            announce(planned)
            whole = display.add_task(title, total=float(len(planned)), text="")
            running: dict[str, TaskID] = {}
            done = [0.0] * len(planned)

            def report(i: int, fraction: float, text: str) -> None:
                name, done[i] = planned[i].cell.title, fraction
                finished = sum(f == 1.0 for f in done)
                display.update(whole, completed=sum(done), text=f"{finished} of {len(planned)} cells")
                if fraction == 1.0:
                    if name in running:
                        display.remove_task(running.pop(name))
                    return
                if name not in running:
                    running[name] = display.add_task(name, total=1.0, text="")
                display.update(running[name], completed=fraction, text=text)

            return report

        try:
            yield both
        except KeyboardInterrupt:
            err.print("Interrupted: finished cells are stored, the same command goes on from there.")
            raise


def announce(planned: Sequence[Any]) -> None:
    """Say where the pictures come from."""
    for source in dict.fromkeys(p.data.source for p in planned):
        err.print(f"Pictures: {escape(source)}", highlight=False)


def show(found: Any, path: Path) -> None:
    """Print a record's table, its claims, and where the files are."""
    from recon.records import read_figure

    made = read_figure(path)
    title, columns, rows = found.module().table(made["summary"])
    names, bold = map(escape, columns), "bold"
    table = Table(
        *names, title=escape(title), title_style=bold, header_style=bold, box=SIMPLE_HEAD, padding=(0, 1, 0, 0)
    )
    for row in rows:
        table.add_row(*map(escape, row))
    out.print(table)
    colours = {"reproduced": "green", "not reproduced": "red", "inconclusive": "yellow"}
    for claim in made["claims"]:
        verdict = claim["verdict"]
        out.print(f"[{colours[verdict]}]{verdict}[/]: {escape(claim['statement'])} {escape(claim['effect'])}")
    out.print(
        f"{made['seconds']:.0f} s. Record and figure: {path.with_suffix('')}.{{json,png,pdf,svg}}", soft_wrap=True
    )
