"""`recon check` and `recon baseline`: the regression gate."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from recon.cli import completion
from recon.cli.console import Run, err, out, overall, say, shown, with_run_options
from recon.errors import ReconError
from recon.records.places import file_to_write, folder_to_write, stored_results

if TYPE_CHECKING:
    from recon.regression import Baseline, Row

Kernels = Annotated[
    Path | None,
    typer.Option(help="A file that `make benchmark-kernels` wrote: of it, and of no figure.", metavar="FILE"),
]
COLOURS = {"worse": "red", "missing": "red", "better": "green"}

baseline_app = typer.Typer(help="Baselines of `recon check`: results/baselines/.", no_args_is_help=True)


@with_run_options
def check(
    run: Run,
    figures: Annotated[
        list[str] | None,
        typer.Argument(help="Names of figures (default: all).", show_default=False, autocompletion=completion.figures),
    ] = None,
    out_dir: Annotated[
        Path | None, typer.Option("--out", help="Folder for the records (default: .recon/check).", show_default=False)
    ] = None,
    records: Annotated[
        Path | None,
        typer.Option(help="Compare the records in this folder, such as results/, and compute nothing.", metavar="DIR"),
    ] = None,
    kernels: Kernels = None,
    every: Annotated[bool, typer.Option("--all", help="Print every metric, not only those that changed.")] = False,
    times: Annotated[
        bool, typer.Option("--times/--no-times", help="Compare times too: of little use on another or a busy machine.")
    ] = True,
    json: Annotated[Path | None, typer.Option(help="Write all comparisons to this file.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Append a summary to this file, for a CI job's page.")] = None,
) -> None:
    """Compare figures with their baselines, and list stored records of stale code.

    Exit code 0: no regression, 1: some, 2: a baseline or record is missing. Stale records do not change it.
    """
    from recon import benchmark as bench
    from recon import regression
    from recon.records import json_bytes, write_bytes

    preset, project = run.preset, bench.project_root()
    names = figures or (list(bench.benchmarks(project)) if kernels is None else [])
    found = [bench.find(project, name) for name in names]
    options = run.options
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
        rows = regression.compare(baseline, regression.groups(record["cells"]))
        compared[title] = [r for r in rows if times or regression.KINDS[r.metric] != "time"]
        show(title, compared[title], every)

    if records is not None and not records.is_dir():
        raise ReconError(f"There is no folder {records}: name the folder of records with --records.")
    folder = folder_to_write(out_dir or project / ".recon" / "check") if records is None else records
    if json is not None:
        file_to_write(json)
    if markdown is not None:
        append(markdown, "")
    code = codes(records or stored_results(project), names)
    if kernels is not None:
        against(regression.kernels_record(kernels))
    for benchmark in found:
        made = [] if records is None else stored_records(folder, benchmark.name, preset)
        if not baselines_of(project, benchmark.name, preset):
            # It is not computed only to say so; nor missed where all records are compared and it has none.
            if records is None or made or figures:
                lacking.append(benchmark.name)
            continue
        if records is None:
            with overall(f"{benchmark.name} {preset}") as report:
                cells = benchmark.cells(preset)
                made = [bench.measure(benchmark, cells, preset, root=project, report=report, **options)]
            bench.save(made[0], folder)
        elif not made:
            unrecorded.append(benchmark.name)
        for record in made:
            against(record)
    if json is not None:
        figures_ = {
            t: {"failed": any(r.failed for r in rows), "rows": regression.plain(rows)} for t, rows in compared.items()
        }
        without = {"without_baseline": lacking, "without_record": unrecorded}
        write_bytes(json, json_bytes({"preset": preset, "figures": figures_, **without, "code": code}))
    if markdown is not None:
        sections = [regression.markdown(title, rows) for title, rows in compared.items()]
        sections += [f"## {name}: no baseline\n\n`{update_command(name, preset)}`\n" for name in lacking]
        sections += [f"## {name}: no record\n\n`{record_command(name, preset)}`\n" for name in unrecorded]
        append(markdown, "\n".join(sections))
    tell(code)
    for name in lacking:
        say(f"No baseline: store one with `{update_command(name, preset)}`.", err)
    for name in unrecorded:
        say(f"No record: make one with `{record_command(name, preset)}`.", err)
    failed = sum(r.failed for rows in compared.values() for r in rows)
    if failed:
        raise ReconError(
            f"{failed} {'metric' if failed == 1 else 'metrics'} got worse than the baseline allows: put it right, or "
            f"store a new baseline with `recon baseline update FIGURE --preset {preset} --why REASON`."
        )
    if lacking or unrecorded:
        raise typer.Exit(2)


def codes(folder: Path, figures: Sequence[str]) -> dict[str, str]:
    """Whether the code of the figures' records in a folder is today's, in words, by the record's place in it."""
    from recon.records import code_words, read_figure

    paths = [path for name in figures for path in sorted((folder / name).glob("*.json"))]
    return {str(path.relative_to(folder)): code_words(read_figure(path)) for path in paths}


def tell(code: dict[str, str]) -> None:
    """How many records are of current, of stale, of unknown code, and which are not of current code."""
    # A record with stale cells is stale, whatever else is unknown of it.
    states = {s: [r for r, words in code.items() if s in words] for s in ("current", "stale", "unknown")}
    states["unknown"] = [r for r in states["unknown"] if r not in states["stale"]]
    if code:
        counts = ", ".join(f"{len(mine)} {state}" for state, mine in states.items())
        say(f"Code of {len(code)} stored records: {counts}.")
    for state in ("stale", "unknown"):
        if states[state]:
            say(f"{state}: {', '.join(states[state])}")


def compare_with_stored(path: Path, results: Path) -> None:
    """Print how a run's record differs from the stored one of its name: metrics by the gate's rules, and verdicts."""
    from recon import regression
    from recon.reading import refused
    from recon.records import code_words, read_figure

    stored = results / path.parent.name / path.name
    if not stored.exists():
        say(f"No record {shown(stored)} to compare it with.")
        return
    before, now = read_figure(stored), read_figure(path)
    with refused(f"{stored} cannot be compared with", f"make it again with `recon reproduce {now['figure']} --store`"):
        rows = regression.compare(regression.make(before, [], "stored"), regression.groups(now["cells"]))
        verdicts = {claim["name"]: claim["verdict"] for claim in before["claims"]}
    facts = before["provenance"]
    made_by = f"{facts['made_at'][:10]}, commit {(facts['commit'] or 'unknown')[:12]}, code {code_words(before)}"
    say(f"Beside {shown(stored)} ({made_by}):")
    show("metrics", rows)
    others = [c for c in now["claims"] if verdicts.get(c["name"]) != c["verdict"]]
    for claim in others:
        was = verdicts.get(claim["name"], "no such claim")
        say(f"{claim['name']}: {was} there, {claim['verdict']} here.")
    if not others:
        say("verdicts: the same.")


@baseline_app.command("update")
@with_run_options
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
    extra = [cells[i].with_seed(seed) for i, seed in wanted]
    more: list[dict[str, Any]] = []
    if extra:
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
        with refused(f"{file} holds no cells to compare", f"make it again with `recon reproduce {figure} --store`"):
            regression.groups(made[-1]["cells"])
    return made


def one_record(folder: Path, figure: str, preset: str, source: str) -> dict[str, Any]:
    """A figure's record in a folder of results; with the source "auto" the only one of the preset.

    Raises:
      ReconError: there is none, or several.
    """
    found = [m for m in stored_records(folder, figure, preset) if source in ("auto", m["source"])]
    if len(found) != 1:
        there = f"has {len(found)} records" if found else "has no record"
        raise ReconError(f"{folder / figure} {there} of {preset}, pictures {source}: name one with --source.")
    return found[0]


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


def show(title: str, rows: "list[Row]", every: bool = False) -> None:
    """A table of the metrics that changed, or of all, and how many have which status."""
    from recon.regression import CHANGED, COLUMNS, cells_of, counted

    listed = [r for r in rows if every or r.status in CHANGED]
    if listed:
        table = Table(*COLUMNS, header_style="bold", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for row in listed:
            table.add_row(*map(escape, cells_of(row)), style=COLOURS.get(row.status, ""))
        out.print(table)
    out.print(f"{escape(title)}: {counted(rows)}.")
