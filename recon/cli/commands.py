"""The commands of `recon`, in the order in which one comes to need them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

import recon
from recon.cli import completion, share
from recon.cli.audit import audit
from recon.cli.baseline import baseline_app
from recon.cli.cache import cache_app
from recon.cli.check import check, compare_with_stored
from recon.cli.console import out, overall, say, show
from recon.cli.data import data_app
from recon.cli.doctor import doctor
from recon.cli.options import Activation, Draw, Figure, Force, Rule, Run, flag, grouped
from recon.cli.sets import distill, dynamics_of, train
from recon.cli.settings import Set, options_of, told_how_to_set
from recon.errors import ReconError
from recon.records.places import folder_to_write, made_results, stored_results

ABOUT = "Reconstruction attacks with the neural tangent kernel: reproduce, check, go beyond."

app = typer.Typer(
    help=ABOUT,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def version(show: bool) -> bool:
    """Print the version and leave."""
    if show:
        out.print(f"recon {recon.__version__}")
        raise typer.Exit
    return show


@app.callback(help=ABOUT)
def root(
    show_version: Annotated[
        bool, typer.Option("--version", callback=version, is_eager=True, help="Print the version.", metavar="")
    ] = False,
) -> None:
    """What all commands share."""


@app.command("list")
def list_() -> None:
    """Figures, tasks, attacks and distillation methods, by name."""
    from recon.attacks import attacks
    from recon.benchmark import benchmarks, project_root
    from recon.distillation import methods
    from recon.tasks import tasks

    table = Table("kind", "name", "what", box=None, header_style="bold")
    kinds: dict[str, Mapping[str, Any]]
    kinds = {"figure": benchmarks(project_root()), "task": tasks(), "attack": attacks(), "distillation": methods()}
    for kind, found in kinds.items():
        for thing in found.values():
            table.add_row(kind, thing.name, escape(thing.title))
    out.print(table)


@app.command("attack")
@grouped
def attack_(
    draw: Draw,
    n: Annotated[int, typer.Option("--n", help="Training images.")] = 20,
    width: Annotated[int, typer.Option(help="Width of each hidden layer.")] = 512,
    depth: Annotated[int, typer.Option(help="Hidden layers.")] = 2,
    activation: Activation = "relu",
    dynamics: Rule = "standard",
    attack: Annotated[
        str, typer.Option(help="Name of an attack, see `recon list`.", autocompletion=completion.attacks)
    ] = "ntk-fast",
    steps: Annotated[int | None, typer.Option(help="Steps of the attack (default: its own).")] = None,
    set_: Set = None,
    seed: Annotated[int, typer.Option(help="Chooses images, weights and the attack's start.")] = 0,
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
    cell = AttackCell(draw.name, n, MLP((width,) * depth, activation=activation), rule, attack, options, seed=seed)
    project = bench.project_root()
    found = bench.find(project, "fig1")
    folder = out_dir or project / ".recon" / "attacks"
    folder_to_write(folder / found.name)
    with told_how_to_set(attack), overall(cell.title) as report:
        made = bench.measure(found, [cell], cell.slug, root=project, where=draw.where, force=force, report=report)
    path = bench.save(made | {"claims": []}, folder)  # those of the paper are not about a network of one's own
    bench.draw(found, path)
    show(found, path)


app.command("audit", no_args_is_help=True)(audit)
app.command("doctor", no_args_is_help=True)(doctor)


@app.command()
@grouped
def reproduce(
    figure: Figure,
    run: Run,
    store: Annotated[
        bool, flag("--store", "Write into results/, the stored records, in place of .recon/results/.")
    ] = False,
    out_dir: Annotated[
        Path | None, typer.Option("--out", help="Folder for the record and figure (default: .recon/results/).")
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
    preset: share.Preset = None,
    source: share.Pictures = None,
    records: share.Records = None,
    every: Annotated[bool, flag("--all", "Draw all records that fit, not one.")] = False,
) -> None:
    """Draw a figure again from a record, beside it, computing nothing."""
    from recon import benchmark as bench

    found = bench.find(bench.project_root(), figure)
    asked = figure, preset, source, records
    for path, _ in share.candidates(*asked) if every else [share.chosen(*asked)]:
        bench.draw(found, path)
        show(found, path)


for command in (share.report, share.cite, share.export, distill, train, check):
    app.command()(command)
for name, group in (("baseline", baseline_app), ("data", data_app), ("cache", cache_app)):
    app.add_typer(group, name=name)
