"""What the commands share: consoles, options, progress of a run, and how a record is shown."""

import functools
import inspect
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
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

OPEN = {"darwin": "open", "win32": "start"}  # the command that opens a file, by system

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
Task = Annotated[
    str | None,
    typer.Option(
        help="Name of a task, see `recon list` (default: mnist_odd_even, with --images: pictures).",
        autocompletion=completion.tasks,
        show_default=False,
    ),
]
Preset = Annotated[
    str,
    typer.Option(
        help="quick (minutes), full (hours) or paper (the published sizes, for a GPU).",
        autocompletion=completion.presets,
    ),
]
Rule = Annotated[
    str,
    typer.Option(help="linearised, standard (gradient flow), descent or momentum.", autocompletion=completion.dynamics),
]
Activation = Annotated[
    str,
    typer.Option(
        help="Of the hidden units: relu, leaky_relu (leaky_relu:0.2 for another slope), gelu, silu, tanh, elu, "
        "softplus or sigmoid.",
        autocompletion=completion.activations,
    ),
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


@dataclass(frozen=True)
class Run:
    """The options of every command that computes a figure's cells."""

    preset: Preset = "quick"
    data_dir: DataDir = None
    source: Source = "auto"
    force: Force = False
    executor: Executor = "local"
    jobs: Jobs = None
    cpus: Cpus = None
    gpus: Gpus = None
    memory: Memory = None

    @property
    def ray(self) -> "Resources | None":
        """What each cell is given on the Ray cluster; None: cells are computed on this machine.

        Raises:
          ReconError: an option of the other executor.
        """
        if self.executor == "local":
            if (self.cpus, self.gpus, self.memory) != (None, None, None):
                raise ReconError(
                    "--cpus-per-cell, --gpus-per-cell and --memory-per-cell are for --executor ray: add it."
                )
            return None
        if self.jobs is not None:
            raise ReconError("--jobs is for --executor local: on Ray, as many cells run as there is room for.")
        if self.gpus is not None and self.gpus > 1 and self.gpus % 1:
            raise ReconError(f"--gpus-per-cell {self.gpus:g}: a cell gets a part of one GPU, or whole ones.")
        from recon.ray_workers import Resources

        return Resources(self.cpus or 1, self.gpus or 0.0, self.memory or 0.0)

    @property
    def options(self) -> dict[str, Any]:
        """What `recon.benchmark.measure` takes of it."""
        where = {"data_dir": self.data_dir, "source": self.source}
        return {"where": where, "force": self.force, "jobs": self.jobs, "ray": self.ray}


def with_run_options(command: Callable[..., None]) -> Callable[..., None]:
    """A command that Typer gives the options of a `Run`, in place of the parameter `run`, by its signature."""
    signature, options = inspect.signature(command), fields(Run)
    parameters: list[inspect.Parameter] = []
    for p in signature.parameters.values():
        mine = [p.replace(name=f.name, annotation=f.type, default=f.default) for f in options]
        parameters += mine if p.name == "run" else [p]

    @functools.wraps(command)
    def called(**given: Any) -> None:
        run = Run(**{f.name: given.pop(f.name) for f in options})
        command(run=run, **given)

    vars(called)["__signature__"] = signature.replace(parameters=parameters)
    called.__annotations__ = {p.name: p.annotation for p in parameters} | {"return": None}
    return called


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


def task_of(task: str | None, images: Path | None) -> str:
    """The task that is asked for; unsaid, that of one's own pictures where there are any, else of digits."""
    return task or ("pictures" if images is not None else "mnist_odd_even")


def announce(planned: Sequence[Any]) -> None:
    """Say where the pictures come from."""
    for source in dict.fromkeys(p.data.source for p in planned):
        err.print(f"Pictures: {escape(source)}", highlight=False)


def say(text: str, console: Console = out) -> None:
    """Print a line as it is: whole however long, without markup, in one colour."""
    console.print(text, soft_wrap=True, markup=False, highlight=False)


def shown(path: Path) -> str:
    """A path as one types it here: relative to the current folder if it lies inside."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def show(found: Any, path: Path) -> None:
    """Print a record's table, its claims, where the files are, and how to open the picture."""
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
    stem = shown(path.with_suffix(""))
    say(f"{made['seconds']:.0f} s. Record, table and figure: {stem}.{{json,md,csv,tex,png,pdf,svg}}")
    say(f"Open it: {OPEN.get(sys.platform, 'xdg-open')} {shlex.quote(f'{stem}.png')}")
