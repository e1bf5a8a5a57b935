"""The commands of `recon`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

import recon
from recon.cli import completion
from recon.cli.audit import audit
from recon.cli.cache import cache_app
from recon.cli.check import baseline_app, check
from recon.cli.console import (
    Cpus,
    DataDir,
    Executor,
    Figure,
    Force,
    Gpus,
    Images,
    Jobs,
    Memory,
    Out,
    Rule,
    Source,
    Task,
    on_ray,
    out,
    overall,
    show,
)
from recon.cli.report import report
from recon.cli.sets import distill, dynamics_of, train
from recon.cli.settings import Set, options_of, told_how_to_set
from recon.cli.share import cite, export
from recon.errors import ReconError
from recon.records.places import folder_to_write

app = typer.Typer(
    help="Reconstruction attacks with the neural tangent kernel: reproduce, check, go beyond.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
data_app = typer.Typer(help="Data sets: what is there, and downloading.", no_args_is_help=True)
app.add_typer(data_app, name="data")
app.add_typer(cache_app, name="cache")
app.add_typer(baseline_app, name="baseline")
app.command("audit")(audit)
app.command("check")(check)
app.command("report")(report)
app.command("cite")(cite)
app.command("export")(export)
app.command("distill")(distill)
app.command("train")(train)
DOWNLOADED = ("mnist", "cifar10")  # by `make data`
DataSets = Annotated[
    list[str] | None,
    typer.Argument(
        help="Data sets (default: mnist cifar10).",
        show_default=False,
        autocompletion=completion.one_of(*DOWNLOADED, "tiny_imagenet"),
    ),
]


def version(show: bool) -> bool:
    """Print the version and leave."""
    if show:
        out.print(f"recon {recon.__version__}")
        raise typer.Exit
    return show


@app.callback()
def root(
    show_version: Annotated[
        bool, typer.Option("--version", callback=version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Reconstruction attacks with the neural tangent kernel: reproduce, check, go beyond."""


@app.command("list")
def list_() -> None:
    """Figures, tasks, attacks and distillation methods, by name."""
    from recon.attacks import attacks
    from recon.benchmark import benchmarks, project_root
    from recon.distillation import methods
    from recon.tasks import tasks

    table = Table("kind", "name", "what", box=None, header_style="bold")
    for b in benchmarks(project_root()).values():
        table.add_row("figure", b.name, escape(b.title))
    for task in tasks().values():
        table.add_row("task", task.name, task.title)
    for attack in attacks().values():
        table.add_row("attack", attack.name, escape(attack.title))
    for method in methods().values():
        table.add_row("distillation", method.name, method.title)
    out.print(table)


@app.command()
def reproduce(
    figure: Figure,
    preset: Annotated[
        str,
        typer.Option(
            help="quick (minutes), full (the authors' example) or paper (for a GPU).", autocompletion=completion.presets
        ),
    ] = "quick",
    data_dir: DataDir = None,
    source: Source = "auto",
    force: Force = False,
    executor: Executor = "local",
    jobs: Jobs = None,
    cpus: Cpus = None,
    gpus: Gpus = None,
    memory: Memory = None,
    out_dir: Out = None,
) -> None:
    """Run a benchmark, check its claims, draw its figure. Goes on where an interrupted run stopped."""
    from recon import benchmark as bench

    ray = on_ray(executor, jobs, cpus, gpus, memory)
    project = bench.project_root()
    found = bench.find(project, figure)
    cells = found.cells(preset)
    folder = out_dir or project / "results"
    folder_to_write(folder / figure)
    where = {"data_dir": data_dir, "source": source}
    with overall(f"{figure} {preset}") as report:
        path = bench.reproduce(
            found,
            cells,
            preset,
            root=project,
            out=folder,
            where=where,
            force=force,
            report=report,
            jobs=jobs,
            ray=ray,
        )
    show(found, path)


@app.command()
def plot(
    figure: Figure,
    out_dir: Out = None,
) -> None:
    """Draw a figure again from its stored records, computing nothing."""
    from recon import benchmark as bench

    project = bench.project_root()
    found = bench.find(project, figure)
    folder = (out_dir or project / "results") / figure
    paths = sorted(folder.glob("*.json"))
    if not paths:
        raise ReconError(f"There is no record in {folder}: make one with `recon reproduce {figure}`.")
    for path in paths:
        bench.draw(found, path)
        show(found, path)


@app.command("attack")
def attack_(
    task: Task = "mnist_odd_even",
    n: Annotated[int, typer.Option("--n", help="Training images.")] = 20,
    width: Annotated[int, typer.Option(help="Width of each hidden layer.")] = 512,
    depth: Annotated[int, typer.Option(help="Hidden layers.")] = 2,
    dynamics: Rule = "standard",
    attack: Annotated[
        str, typer.Option(help="Name of an attack, see `recon list`.", autocompletion=completion.attacks)
    ] = "ntk-fast",
    steps: Annotated[
        int | None, typer.Option(help="Steps of the attack (default: its own).", show_default=False)
    ] = None,
    set_: Set = None,
    seed: Annotated[int, typer.Option(help="Chooses images, weights and the attack's start.")] = 0,
    data_dir: DataDir = None,
    source: Source = "auto",
    images: Images = None,
    force: Force = False,
    out_dir: Annotated[
        Path | None, typer.Option("--out", help="Folder for the record and figure (default: .recon/attacks).")
    ] = None,
) -> None:
    """Train one network, attack it, and show what comes back. Takes your own pictures with --images."""
    from recon import benchmark as bench
    from recon.cells import AttackCell
    from recon.networks import MLP

    rule = dynamics_of(dynamics)
    if depth < 1 or width < 1:
        raise ReconError(
            f"A network of {depth} hidden layers of width {width} has no hidden unit: choose at least 1 each."
        )
    options = options_of(attack, set_ or (), steps)
    name = "pictures" if images is not None and task == "mnist_odd_even" else task
    cell = AttackCell(name, n, MLP((width,) * depth), rule, attack, options, seed=seed)
    project = bench.project_root()
    found = bench.find(project, "fig1")
    where = {"data_dir": data_dir, "source": source, "images": images}
    folder = out_dir or project / ".recon" / "attacks"
    folder_to_write(folder / found.name)
    with told_how_to_set(attack), overall(cell.title) as report:
        path = bench.reproduce(
            found, [cell], cell.slug, root=project, out=folder, where=where, force=force, report=report
        )
    show(found, path)


@data_app.command("prepare")
def data_prepare(
    datasets: DataSets = None,
    archive: Annotated[
        Path | None,
        typer.Option(help="tiny-imagenet-200.zip, or a folder that holds it; no network is used.", show_default=False),
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Download and prepare data sets through TFDS. The only command that uses the network."""
    from recon.data.prepare import from_archive, prepare

    if archive is not None and datasets != ["tiny_imagenet"]:
        raise ReconError("Only tiny_imagenet is prepared from an archive: name it, and nothing else, with --archive.")
    for name in datasets or DOWNLOADED:
        out.print(f"{name}: {prepare(name, data_dir) if archive is None else from_archive(archive, data_dir)}")


@data_app.command("reachable", hidden=True)
def data_reachable(datasets: DataSets = None, data_dir: DataDir = None) -> None:
    """Fail at once if a data set is neither prepared nor within reach, before `make data` installs TensorFlow."""
    from recon.data.prepare import found_or_reachable

    for name in datasets or DOWNLOADED:
        found_or_reachable(name, data_dir)


@data_app.command("show")
def data_show(data_dir: DataDir = None, source: Source = "auto") -> None:
    """Which source each data set would be read from."""
    from recon.data import load_images

    table, missing = Table("data set", "source", "train", "test", box=None, header_style="bold"), []
    for name in (*DOWNLOADED, "tiny_imagenet"):
        try:
            train, test = (load_images(name, split, source=source, data_dir=data_dir) for split in ("train", "test"))
            table.add_row(name, train.source, str(len(train.images)), str(len(test.images)))
        except ReconError as error:
            missing.append(error)
            table.add_row(name, escape(str(error)), "", "")
    if len(missing) == table.row_count:
        raise missing[0]
    out.print(table)
