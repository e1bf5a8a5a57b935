"""`recon check`: the regression gate."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from recon.cli import completion
from recon.cli.baseline import Kernels, baselines_of, folder_of, stored_records
from recon.cli.console import err, out, overall, say, shown, table
from recon.cli.options import Run, flag, grouped
from recon.errors import ReconError
from recon.records.places import file_to_write, folder_to_write, stored_results

if TYPE_CHECKING:
    from recon.regression import Row

COLOURS = {"worse": "red", "missing": "red", "better": "green"}


@grouped
def check(
    run: Run,
    figures: Annotated[
        list[str] | None,
        typer.Argument(help="Names of figures (default: all).", autocompletion=completion.figures),
    ] = None,
    out_dir: Annotated[
        Path | None, typer.Option("--out", help="Folder for the records (default: .recon/check).")
    ] = None,
    records: Annotated[
        Path | None,
        typer.Option(help="Compare the records in this folder, such as results/, and compute nothing.", metavar="DIR"),
    ] = None,
    kernels: Kernels = None,
    every: Annotated[bool, flag("--all", "Print every metric, not only those that changed.")] = False,
    times: Annotated[
        bool, flag("--times/--no-times", "Compare times too: of little use on another or a busy machine.")
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

    preset, project, options = run.preset, bench.project_root(), run.options
    names = figures or (list(bench.benchmarks(project)) if kernels is None else [])
    found = [bench.find(project, name) for name in names]
    lacking: dict[str, str] = {}  # what has no baseline, and the command that stores it
    unrecorded: dict[str, str] = {}  # the same of records
    compared: dict[str, list[Row]] = {}

    def against(record: dict[str, Any]) -> None:
        figure, preset, source = record["figure"], record["preset"], record["source"]
        baseline = regression.read(regression.path(folder_of(project), figure, preset, source))
        if baseline is None:
            lacking[f"{figure} on {source}"] = update_command(figure, preset, source)
            return
        rows = regression.compare(baseline, regression.groups(record["cells"]))
        title = f"{figure}, {preset}, {source}"
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
                lacking[benchmark.name] = update_command(benchmark.name, preset)
            continue
        if records is None:
            with overall(f"{benchmark.name} {preset}") as report:
                cells = benchmark.cells(preset)
                made = [bench.measure(benchmark, cells, preset, root=project, report=report, **options)]
            bench.save(made[0], folder)
        elif not made:
            unrecorded[benchmark.name] = f"recon reproduce {benchmark.name} --preset {preset}"
        for record in made:
            against(record)
    missing = {"baseline": lacking, "record": unrecorded}
    if json is not None:
        gated = {
            t: {"failed": any(r.failed for r in rows), "rows": regression.plain(rows)} for t, rows in compared.items()
        }
        without = {f"without_{what}": [*names] for what, names in missing.items()}
        write_bytes(json, json_bytes({"preset": preset, "figures": gated, **without, "code": code}))
    if markdown is not None:
        sections = [regression.markdown(title, rows) for title, rows in compared.items()]
        sections += [f"## {n}: no {what}\n\n`{c}`\n" for what, names in missing.items() for n, c in names.items()]
        append(markdown, "\n".join(sections))
    tell(code)
    for command in lacking.values():
        say(f"No baseline: store one with `{command}`.", err)
    for command in unrecorded.values():
        say(f"No record: make one with `{command}`.", err)
    if failed := sum(r.failed for rows in compared.values() for r in rows):
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


def update_command(figure: str, preset: str, source: str = "") -> str:
    """The command that stores a missing baseline."""
    if figure == "kernels":
        return "recon baseline update kernels --kernels FILE --why REASON"
    samples = " --source samples" if source == "samples" else ""
    return f"recon baseline update {figure} --preset {preset}{samples} --repeats 3 --why REASON"


def append(file: Path, text: str) -> None:
    """Write at the end of a file, which is made if need be."""
    try:
        with open(file, "a", encoding="utf-8") as page:
            page.write(text)
    except OSError as error:
        raise ReconError(f"Cannot write {file} ({error.strerror}): choose another place.") from error


def show(title: str, rows: "list[Row]", every: bool = False) -> None:
    """A table of the metrics that changed, or of all, and how many have which status."""
    from recon.regression import CHANGED, COLUMNS, cells_of, counted

    if listed := [r for r in rows if every or r.status in CHANGED]:
        drawn = table(*COLUMNS)
        for row in listed:
            drawn.add_row(*map(escape, cells_of(row)), style=COLOURS.get(row.status, ""))
        out.print(drawn)
    out.print(f"{escape(title)}: {counted(rows)}.")
