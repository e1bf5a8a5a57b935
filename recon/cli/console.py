"""What the commands share: consoles, options, progress of a run, and how a record is shown."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import TaskID
from rich.table import Table

from recon.cli import completion
from recon.errors import ReconError

if TYPE_CHECKING:
    from recon.ray_workers import Resources

out = Console()
if not out.is_terminal:
    out = Console(width=120)  # a log has no width of its own
err = Console(stderr=True)

Figure = Annotated[str, typer.Argument(help="Name of a figure, see `recon list`.", autocompletion=completion.figures)]
DataDir = Annotated[
    Path | None,
    typer.Option(
        help="Prepared TFDS directory (default: TFDS_DATA_DIR, else ~/tensorflow_datasets).", show_default=False
    ),
]
Source = Annotated[
    str,
    typer.Option(
        help="auto: prepared TFDS directory, else package pictures; tfds; samples.", autocompletion=completion.sources
    ),
]
Images = Annotated[Path | None, typer.Option(help="Folder of class folders of your own pictures.", show_default=False)]
Out = Annotated[
    Path | None, typer.Option("--out", help="Folder for records and figures (default: results/).", show_default=False)
]
Task = Annotated[str, typer.Option(help="Name of a task, see `recon list`.", autocompletion=completion.tasks)]
Rule = Annotated[
    str,
    typer.Option(help="linearised, standard (gradient flow), descent or momentum.", autocompletion=completion.dynamics),
]
Jobs = Annotated[
    int | None,
    typer.Option(
        "--jobs", "-j", min=1, help="Cells computed at a time (default: one for each core).", show_default=False
    ),
]
Executor = Annotated[
    Literal["local", "ray"],
    typer.Option(help="local: processes on this machine; ray: the Ray cluster whose address is in RAY_ADDRESS."),
]
Cpus = Annotated[
    int | None,
    typer.Option("--cpus-per-cell", min=1, help="On Ray: cores of a cell (default: 1).", show_default=False),
]
Gpus = Annotated[
    float | None,
    typer.Option(
        "--gpus-per-cell", min=0, help="On Ray: GPUs of a cell, or a part of one (default: 0).", show_default=False
    ),
]
Memory = Annotated[
    float | None,
    typer.Option(
        "--memory-per-cell", min=0, help="On Ray: memory of a cell (default: any).", metavar="GB", show_default=False
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Compute cells again even if they are stored.")]


def on_ray(
    executor: str, jobs: int | None, cpus: int | None, gpus: float | None, memory: float | None
) -> "Resources | None":
    """What each cell is given on the Ray cluster; None: cells are computed on this machine.

    Raises:
      ReconError: an option of the other executor.
    """
    if executor == "local":
        if (cpus, gpus, memory) != (None, None, None):
            raise ReconError("--cpus-per-cell, --gpus-per-cell and --memory-per-cell are for --executor ray: add it.")
        return None
    if jobs is not None:
        raise ReconError("--jobs is for --executor local: on Ray, as many cells run as there is room for.")
    if gpus is not None and gpus > 1 and gpus % 1:
        raise ReconError(f"--gpus-per-cell {gpus:g}: a cell gets a part of one GPU, or whole ones.")
    from recon.ray_workers import Resources

    return Resources(cpus or 1, gpus or 0.0, memory or 0.0)


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

        yield both


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
