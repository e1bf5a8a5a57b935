"""`recon check` and `recon baseline`: the regression gate."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from recon.cli import completion
from recon.cli.console import Cpus, DataDir, Executor, Force, Gpus, Jobs, Memory, Source, err, on_ray, out, overall
from recon.errors import ReconError
from recon.records.places import file_to_write, folder_to_write

if TYPE_CHECKING:
    from recon.ray_workers import Resources
    from recon.regression import Baseline, Row

Preset = Annotated[str, typer.Option(help="quick, full or paper.", autocompletion=completion.presets)]
Kernels = Annotated[
    Path | None,
    typer.Option(help="A file that `make benchmark-kernels` wrote: of it, and of no figure.", metavar="FILE"),
]
COLOURS = {"worse": "red", "missing": "red", "better": "green"}

baseline_app = typer.Typer(help="Baselines of `recon check`: results/baselines/.", no_args_is_help=True)


def check(
    figures: Annotated[
        list[str] | None,
        typer.Argument(help="Names of figures (default: all).", show_default=False, autocompletion=completion.figures),
    ] = None,
    preset: Preset = "quick",
    data_dir: DataDir = None,
    source: Source = "auto",
    force: Force = False,
    executor: Executor = "local",
    jobs: Jobs = None,
    cpus: Cpus = None,
    gpus: Gpus = None,
    memory: Memory = None,
    out_dir: Annotated[
        Path | None, typer.Option("--out", help="Folder for the records (default: .recon/check).", show_default=False)
    ] = None,
    records: Annotated[
        Path | None,
        typer.Option(help="Compare the records in this folder, such as results/, and compute nothing.", metavar="DIR"),
    ] = None,
    kernels: Kernels = None,
    json: Annotated[Path | None, typer.Option(help="Write all comparisons to this file.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Append a summary to this file, for a CI job's page.")] = None,
) -> None:
    """Compare figures with their baselines. Exit code 0: no regression, 1: some, 2: a baseline or record is missing."""
    from recon import benchmark as bench
    from recon import regression
    from recon.records import json_bytes, write_bytes

    ray = on_ray(executor, jobs, cpus, gpus, memory)
    project = bench.project_root()
    names = figures or (list(bench.benchmarks(project)) if kernels is None else [])
    found = [bench.find(project, name) for name in names]
    lacking: list[str] = []
    unrecorded: list[str] = []
    compared: dict[str, list[Row]] = {}

    def against(record: dict[str, Any]) -> None:
        names = record["figure"], record["preset"], record["source"]
        baseline = regression.read(regression.path(folder_of(project), *names))
        if baseline is None:
            lacking.append(f"{record['figure']} on {record['source']}")
            return
        title = ", ".join(names)
        compared[title] = regression.compare(baseline, regression.groups(record["cells"]))
        show(title, compared[title])

    if records is not None and not records.is_dir():
        raise ReconError(f"There is no folder {records}: name the folder of records with --records.")
    folder = folder_to_write(out_dir or project / ".recon" / "check") if records is None else records
    if json is not None:
        file_to_write(json)
    if markdown is not None:
        append(markdown, "")
    if kernels is not None:
        against(regression.kernels_record(kernels))
    for benchmark in found:
        if not baselines_of(project, benchmark.name, preset):
            # It is not computed only to say so.
            lacking.append(benchmark.name)
            continue
        if records is None:
            made = [measured(benchmark, preset, data_dir, source, force, jobs, ray)]
            bench.save(made[0], folder)
        elif not (made := stored_records(folder, benchmark.name, preset)):
            unrecorded.append(benchmark.name)
        for record in made:
            against(record)
    if json is not None:
        figures_ = {
            t: {"failed": any(r.failed for r in rows), "rows": regression.plain(rows)} for t, rows in compared.items()
        }
        without = {"without_baseline": lacking, "without_record": unrecorded}
        write_bytes(json, json_bytes({"preset": preset, "figures": figures_, **without}))
    if markdown is not None:
        sections = [regression.markdown(title, rows) for title, rows in compared.items()]
        sections += [f"## {name}: no baseline\n\n`{update_command(name, preset)}`\n" for name in lacking]
        sections += [f"## {name}: no record\n\n`{record_command(name, preset)}`\n" for name in unrecorded]
        append(markdown, "\n".join(sections))
    for name in lacking:
        err.print(f"No baseline: store one with `{update_command(name, preset)}`.", highlight=False, soft_wrap=True)
    for name in unrecorded:
        err.print(f"No record: make one with `{record_command(name, preset)}`.", highlight=False, soft_wrap=True)
    failed = sum(r.failed for rows in compared.values() for r in rows)
    if failed:
        raise ReconError(
            f"{failed} metrics got worse than their baselines allow: mend it, or store the new ones with "
            f"`recon baseline update FIGURE --preset {preset} --why REASON`."
        )
    if lacking or unrecorded:
        raise typer.Exit(2)


@baseline_app.command("update")
def update(
    figure: Annotated[
        str,
        typer.Argument(
            help="Name of a figure, see `recon list`; kernels with --kernels.", autocompletion=completion.figures
        ),
    ],
    why: Annotated[str, typer.Option(help="The reason, kept in the baseline.")],
    preset: Preset = "quick",
    repeats: Annotated[
        int, typer.Option(min=1, help="Seeds to run of every setting; those beyond the figure's own measure spread.")
    ] = 1,
    data_dir: DataDir = None,
    source: Source = "auto",
    force: Force = False,
    executor: Executor = "local",
    jobs: Jobs = None,
    cpus: Cpus = None,
    gpus: Gpus = None,
    memory: Memory = None,
    kernels: Kernels = None,
) -> None:
    """Store a figure's metrics as the baseline of `recon check`. Metrics of a single seed have no spread to gate by."""
    from recon import benchmark as bench
    from recon import regression

    if not why.strip():
        raise ReconError("A baseline is stored for a reason: give one with --why.")
    ray = on_ray(executor, jobs, cpus, gpus, memory)
    project = bench.project_root()
    if kernels is not None:
        store(project, regression.make(regression.kernels_record(kernels), [], why))
        return
    if figure == "kernels":
        raise ReconError("The kernels are timed apart: give the file of `make benchmark-kernels` with --kernels FILE.")
    benchmark = bench.find(project, figure)
    folder_to_write(folder_of(project))
    for file in baselines_of(project, benchmark.name, preset):
        regression.read(file)  # its reasons are kept: if it is damaged, said before anything is computed
    record = measured(benchmark, preset, data_dir, source, force, jobs, ray)
    cells: Sequence[Any] = benchmark.cells(preset)
    wanted = regression.seeds_wanted([c.settings() for c in cells], repeats)
    extra = [cells[i].with_seed(seed) for i, seed in wanted]
    more: list[dict[str, Any]] = []
    if extra:
        planned = bench.plan(extra, {"data_dir": data_dir, "source": source})
        with overall(f"{figure} {preset}, other seeds") as report:
            results = bench.run_cells(planned, bench.cell_store(project), force, report(planned), jobs, ray)
        more = [r.record for r in results]
    store(project, regression.make(record, more, why))


def store(project: Path, baseline: "Baseline") -> None:
    """Write a baseline, and say how much of it gates."""
    from recon import regression

    file = regression.path(folder_of(project), baseline.figure, baseline.preset, baseline.source)
    regression.write(file, baseline)
    metrics = [m for g in baseline.groups.values() for m in g.metrics.values()]
    gating = sum(m.tolerance.value is not None for m in metrics)
    out.print(f"{len(metrics)} metrics, {gating} of them gate: {file}", soft_wrap=True)


def measured(
    benchmark: Any,
    preset: str,
    data_dir: Path | None,
    source: str,
    force: bool,
    jobs: int | None,
    ray: "Resources | None",
) -> dict[str, Any]:
    """A figure's record, from the cells that are stored or computed now."""
    from recon import benchmark as bench

    with overall(f"{benchmark.name} {preset}") as report:
        return bench.measure(
            benchmark,
            benchmark.cells(preset),
            preset,
            root=bench.project_root(),
            where={"data_dir": data_dir, "source": source},
            force=force,
            report=report,
            jobs=jobs,
            ray=ray,
        )


def folder_of(project: Path) -> Path:
    """Where baselines lie."""
    return project / "results" / "baselines"


def baselines_of(project: Path, figure: str, preset: str) -> list[Path]:
    """A figure's baselines under a preset, for any source of pictures."""
    return sorted(folder_of(project).glob(f"{figure}-{preset}-*.json"))


def stored_records(folder: Path, figure: str, preset: str) -> list[dict[str, Any]]:
    """A figure's records in a folder of results, none or several.

    Raises:
      ReconError: one cannot be compared.
    """
    from recon import regression
    from recon.reading import refused
    from recon.records import read_figure

    made: list[dict[str, Any]] = []
    for file in sorted((folder / figure).glob(f"{preset}-*.json")):
        made.append({**read_figure(file)})
        with refused(f"{file} holds no cells to compare", f"make it again with `recon reproduce {figure}`"):
            regression.groups(made[-1]["cells"])
    return made


def update_command(lacking: str, preset: str) -> str:
    """The command that stores a missing baseline; `lacking` begins with the figure's name."""
    name, _, source = lacking.partition(" on ")
    if name == "kernels":
        return "recon baseline update kernels --kernels FILE --why REASON"
    samples = " --source samples" if source == "samples" else ""
    return f"recon baseline update {name} --preset {preset}{samples} --repeats 3 --why REASON"


def append(file: Path, text: str) -> None:
    """Write at the end of a file, which is made if need be.

    Raises:
      ReconError: it cannot be written.
    """
    try:
        with open(file, "a", encoding="utf-8") as page:
            page.write(text)
    except OSError as error:
        raise ReconError(f"Cannot write {file} ({error.strerror}): choose another place.") from error


def record_command(figure: str, preset: str) -> str:
    """The command that makes a missing record."""
    return f"recon reproduce {figure} --preset {preset}"


def show(title: str, rows: "list[Row]") -> None:
    """A table of all that moved or does not gate as usual, and how many metrics have which status."""
    from recon.regression import COLUMNS, cells_of, counted

    moved = [r for r in rows if r.status != "same"]
    title = escape(title)
    table = Table(*COLUMNS, title=title, title_style="bold", header_style="bold", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for row in moved:
        table.add_row(*map(escape, cells_of(row)), style=COLOURS.get(row.status, ""))
    if moved:
        out.print(table)
    out.print(f"{title}: {counted(rows)}.")
