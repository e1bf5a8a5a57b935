"""`recon baseline`: what `recon check` compares runs with, in results/baselines/."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recon.cli import completion
from recon.cli.console import overall, say, shown
from recon.cli.options import Run, grouped
from recon.errors import ReconError
from recon.records.places import folder_to_write, stored_results

if TYPE_CHECKING:
    from recon.regression import Baseline

Kernels = Annotated[
    Path | None,
    typer.Option(help="A file that `make benchmark-kernels` wrote: of it, and of no figure.", metavar="FILE"),
]

baseline_app = typer.Typer(help="Baselines of `recon check`: results/baselines/.", no_args_is_help=True)


@baseline_app.command()
@grouped
def update(
    figure: Annotated[
        str,
        typer.Argument(
            help="Name of a figure, see `recon list`; kernels with --kernels.", autocompletion=completion.figures
        ),
    ],
    why: Annotated[str, typer.Option(help="The reason, kept in the baseline.")],
    run: Run,
    repeats: Annotated[
        int, typer.Option(min=1, help="Seeds to run of every setting; those beyond the figure's own measure spread.")
    ] = 1,
    records: Annotated[
        Path | None,
        typer.Option(help="Take the record in this folder, such as results/, and compute nothing.", metavar="DIR"),
    ] = None,
    kernels: Kernels = None,
) -> None:
    """Store a figure's metrics as the baseline of `recon check`. Metrics of a single seed have no spread to gate by."""
    from recon import benchmark as bench
    from recon import regression

    if not why.strip():
        raise ReconError("A baseline is stored for a reason: give one with --why.")
    preset, options, project = run.preset, run.options, bench.project_root()
    if kernels is not None:
        store(project, regression.make(regression.kernels_record(kernels), [], why))
        return
    if figure == "kernels":
        raise ReconError("The kernels are timed apart: give the file of `make benchmark-kernels` with --kernels FILE.")
    benchmark = bench.find(project, figure)
    folder_to_write(folder_of(project))
    for file in baselines_of(project, benchmark.name, preset):
        regression.read(file)  # its reasons are kept: if it is damaged, said before anything is computed
    if records is not None:
        if repeats > 1:
            raise ReconError("--repeats runs other seeds, --records computes nothing: give one of the two.")
        store(project, regression.make(one_record(records, benchmark.name, preset, run.source), [], why))
        return
    cells: Sequence[Any] = benchmark.cells(preset)
    with overall(f"{figure} {preset}") as report:
        record = bench.measure(benchmark, cells, preset, root=project, report=report, **options)
    wanted = regression.seeds_wanted([c.settings() for c in cells], repeats)
    more: list[dict[str, Any]] = []
    if extra := [cells[i].with_seed(seed) for i, seed in wanted]:
        planned = bench.plan(extra, options["where"])
        with overall(f"{figure} {preset}, other seeds") as report:
            results = bench.run_cells(
                planned, bench.cell_store(project), run.force, report(planned), run.jobs, options["ray"]
            )
        more = [r.record for r in results]
    store(project, regression.make(record, more, why))


def store(project: Path, baseline: "Baseline") -> None:
    """Write a baseline, and say how much of it gates."""
    from recon import regression

    file = regression.path(folder_of(project), baseline.figure, baseline.preset, baseline.source)
    regression.write(file, baseline)
    metrics = [m for g in baseline.groups.values() for m in g.metrics.values()]
    gating = sum(m.tolerance.value is not None for m in metrics)
    say(f"{len(metrics)} metrics, {gating} of them gate: {shown(file)}")


def folder_of(project: Path) -> Path:
    """Where baselines lie."""
    return stored_results(project) / "baselines"


def baselines_of(project: Path, figure: str, preset: str) -> list[Path]:
    """A figure's baselines under a preset, for any source of pictures."""
    return sorted(folder_of(project).glob(f"{figure}-{preset}-*.json"))


def stored_records(folder: Path, figure: str, preset: str) -> list[dict[str, Any]]:
    """A figure's records in a folder of results, none or several, which can be compared."""
    from recon import regression
    from recon.reading import refused
    from recon.records import read_figure

    made: list[dict[str, Any]] = []
    for file in sorted((folder / figure).glob(f"{preset}-*.json")):
        made.append({**read_figure(file)})
        with refused(f"{file} holds no cells to compare", f"make it again with `recon reproduce {figure} --store`"):
            regression.groups(made[-1]["cells"])
    return made


def one_record(folder: Path, figure: str, preset: str, source: str) -> dict[str, Any]:
    """A figure's only record in a folder of results, under a preset and a source, or "auto" for any."""
    found = [m for m in stored_records(folder, figure, preset) if source in ("auto", m["source"])]
    if len(found) != 1:
        there = f"has {len(found)} records" if found else "has no record"
        raise ReconError(f"{folder / figure} {there} of {preset}, pictures {source}: name one with --source.")
    return found[0]
