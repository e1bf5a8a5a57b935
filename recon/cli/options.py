"""Options that several commands have."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from recon.cli import completion
from recon.errors import ReconError

if TYPE_CHECKING:
    from recon.ray_workers import Resources


def flag(name: str, text: str) -> Any:
    """An option that is there or not, without a value."""
    return typer.Option(name, help=text, metavar="")


Figure = Annotated[str, typer.Argument(help="Name of a figure, see `recon list`.", autocompletion=completion.figures)]
DataDir = Annotated[
    Path | None, typer.Option(help="Prepared TFDS directory (default: TFDS_DATA_DIR, else ~/tensorflow_datasets).")
]
Source = Annotated[
    str,
    typer.Option(
        help="auto: prepared TFDS directory, else package pictures; tfds; samples.", autocompletion=completion.sources
    ),
]
Layers = Annotated[str | None, typer.Option(help="Names of the layers from the input on, with commas, if unclear.")]
Kernels = Annotated[Literal["in-out", "out-in"] | None, typer.Option(help="How kernels are stored, if unclear.")]
Images = Annotated[Path | None, typer.Option(help="Folder of class folders of your own pictures.")]
Task = Annotated[
    str | None,
    typer.Option(
        help="Name of a task, see `recon list` (default: mnist_odd_even, with --images: pictures).",
        autocompletion=completion.tasks,
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
    int | None, typer.Option("--jobs", "-j", min=1, help="Cells computed at a time (default: one for each core).")
]
Executor = Annotated[
    Literal["local", "ray"],
    typer.Option(help="local: processes on this machine; ray: the Ray cluster whose address is in RAY_ADDRESS."),
]
Cpus = Annotated[int | None, typer.Option("--cpus-per-cell", min=1, help="On Ray: cores of a cell (default: 1).")]
Gpus = Annotated[
    float | None, typer.Option("--gpus-per-cell", min=0, help="On Ray: GPUs of a cell, or a part of one (default: 0).")
]
Memory = Annotated[
    float | None,
    typer.Option("--memory-per-cell", min=0, help="On Ray: memory of a cell (default: any).", metavar="GB"),
]
Force = Annotated[bool, flag("--force", "Compute cells again even if they are stored.")]


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
        """What each cell is given on the Ray cluster; None: cells are computed on this machine."""
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


@dataclass(frozen=True)
class Draw:
    """The options of every command that draws the images of a task."""

    task: Task = None
    data_dir: DataDir = None
    source: Source = "auto"
    images: Images = None

    @property
    def name(self) -> str:
        """The task that is asked for; unsaid, that of one's own pictures where there are any, else of digits."""
        return self.task or ("pictures" if self.images is not None else "mnist_odd_even")

    @property
    def where(self) -> dict[str, Any]:
        """What `recon.data.load_images` takes of it."""
        return {"data_dir": self.data_dir, "source": self.source, "images": self.images}


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """A command that Typer gives the options of a `Run` or a `Draw` in the place of its parameter of that type."""
    signature = inspect.signature(command)
    groups = {p.name: p.annotation for p in signature.parameters.values() if p.annotation in (Run, Draw)}
    parameters: list[inspect.Parameter] = []
    for p in signature.parameters.values():
        options = fields(groups[p.name]) if p.name in groups else ()
        parameters += [p.replace(name=o.name, annotation=o.type, default=o.default) for o in options] or [p]

    @functools.wraps(command)
    def called(**given: Any) -> None:
        for name, group in groups.items():
            given[name] = group(**{option.name: given.pop(option.name) for option in fields(group)})
        command(**given)

    vars(called)["__signature__"] = signature.replace(parameters=parameters)
    called.__annotations__ = {p.name: p.annotation for p in parameters} | {"return": None}
    return called
