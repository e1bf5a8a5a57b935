"""The commands of `recon`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

import recon
from recon.cli import choice, completion
from recon.cli.audit import audit
from recon.cli.cache import cache_app
from recon.cli.check import baseline_app, check, compare_with_stored
from recon.cli.console import (
    DataDir,
    Figure,
    Force,
    Images,
    Rule,
    Run,
    Source,
    Task,
    out,
    overall,
    say,
    show,
    task_of,
    with_run_options,
)
from recon.cli.report import report
from recon.cli.sets import distill, dynamics_of, train
from recon.cli.settings import Set, options_of, told_how_to_set
from recon.cli.share import cite, export
from recon.errors import ReconError
from recon.records.places import folder_to_write, made_results, stored_results

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
@with_run_options
def reproduce(
    figure: Figure,
    run: Run,
    store: Annotated[
        bool, typer.Option("--store", help="Write into results/, the stored records, in place of .recon/results/.")
    ] = False,
    out_dir: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for the record and figure (default: .recon/results/).", show_default=False),
    ] = None,
) -> None:
    """Run a benchmark, check its claims, draw its figure. An interrupted run is resumed.

    Nothing that git tracks is changed, unless by --store.
    """
    from recon import benchmark as bench

    if store and out_dir is not None:
        raise ReconError("--store writes into results/, --out elsewhere: give one of the two.")
    project = bench.project_root()
    found = bench.find(project, figure)
    cells, options = found.cells(run.preset), run.options
    folder = out_dir or (stored_results if store else made_results)(project)
    folder_to_write(folder / figure)
    with overall(f"{figure} {run.preset}") as report:
        path = bench.reproduce(found, cells, run.preset, root=project, out=folder, report=report, **options)
    show(found, path)
    if store:
        say("The pages that show it: `make pages`.")
    else:
        compare_with_stored(path, stored_results(project))


@app.command()
def plot(
    figure: Figure,
    preset: choice.Preset = None,
    source: choice.Pictures = None,
    records: choice.Records = None,
    every: Annotated[bool, typer.Option("--all", help="Draw all records that fit, not one.")] = False,
) -> None:
    """Draw a figure again from a record, beside it, computing nothing."""
    from recon import benchmark as bench

    found = bench.find(bench.project_root(), figure)
    asked = figure, preset, source, records
    for path, _ in choice.candidates(*asked) if every else [choice.chosen(*asked)]:
        bench.draw(found, path)
        show(found, path)


@app.command("attack")
def attack_(
    task: Task = None,
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
    cell = AttackCell(task_of(task, images), n, MLP((width,) * depth), rule, attack, options, seed=seed)
    project = bench.project_root()
    found = bench.find(project, "fig1")
    where = {"data_dir": data_dir, "source": source, "images": images}
    folder = out_dir or project / ".recon" / "attacks"
    folder_to_write(folder / found.name)
    with told_how_to_set(attack), overall(cell.title) as report:
        made = bench.measure(found, [cell], cell.slug, root=project, where=where, force=force, report=report)
    path = bench.save(made | {"claims": []}, folder)  # those of the paper are not about a network of one's own
    bench.draw(found, path)
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
