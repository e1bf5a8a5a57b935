"""Stored records for others: as citations, as tidy tables, all as one page; and which record a command is about."""

from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from recon.cli import completion
from recon.cli.console import err, say, shown
from recon.cli.options import Figure
from recon.errors import ReconError
from recon.records.places import folder_to_write, made_results, records_of, stored_results

Record = tuple[Path, dict[str, Any]]
"""A record's file and content."""

Preset = Annotated[
    str | None,
    typer.Option(
        help="Preset of the record (default: the run made here last, else the fullest stored).",
        autocompletion=completion.presets,
    ),
]
Pictures = Annotated[
    Literal["tfds", "folder", "mixed", "samples"] | None, typer.Option("--source", help="Its source of pictures.")
]
Records = Annotated[
    Path | None,
    typer.Option(
        "--records",
        help="Folder of records (default: .recon/results/ if a run there fits, else results/).",
        metavar="DIR",
    ),
]


def candidates(figure: str, preset: str | None, source: str | None, records: Path | None) -> list[Record]:
    """The records that fit: those made here, the newest first, if there are any; else the stored ones, fullest first.

    Args:
      records: the folder to look in instead.
    """
    from recon.benchmark import find, project_root

    project = project_root()
    made, stored = made_results(project), stored_results(project)
    if records is None and any((made / figure).glob(f"{preset or '*'}-{source or '*'}.json")):
        found = records_of(made, figure, preset, source)
        return sorted(found, key=lambda record: record[1]["provenance"]["made_at"], reverse=True)
    folder = records or stored
    if not (folder / figure).is_dir():
        find(project, figure)
    return records_of(folder, figure, preset, source)


def chosen(figure: str, preset: str | None, source: str | None, records: Path | None) -> Record:
    """The first of the `candidates`; which one that is, is said."""
    first, *others = candidates(figure, preset, source, records)
    also = ", ".join(f"--preset {made['preset']} --source {made['source']}" for _, made in others)
    say(f"Record: {shown(first[0])}{f' (for others: {also})' if others else ''}", err)
    return first


class Format(StrEnum):
    """Formats of tables."""

    CSV = "csv"
    PARQUET = "parquet"


def cite(figure: Figure, preset: Preset = None, source: Pictures = None, records: Records = None) -> None:
    """Print BibTeX of the paper, of this suite at its commit, and of the exact record, by the hash of its bytes."""
    from recon.benchmark import project_root
    from recon.publish.citation import bibliography, read_cff

    path, made = chosen(figure, preset, source, records)
    print(bibliography(path, made, read_cff(), project_root()), end="")


def export(
    figure: Figure,
    preset: Preset = None,
    source: Pictures = None,
    formats: Annotated[
        list[Format] | None,
        typer.Option("--format", help="csv or parquet, or both by giving it twice (default: all installed)."),
    ] = None,
    out_dir: Annotated[
        Path | None, typer.Option("--out", help="Folder for the tables (default: .recon/export).")
    ] = None,
    records: Records = None,
) -> None:
    """Write a record's numbers as tidy tables: a row for each cell, for each image, for each number drawn.

    PRESET-SOURCE-columns.csv says what every column holds. Parquet needs DuckDB, the extra `parquet`.
    """
    from recon.benchmark import project_root
    from recon.publish.tidy import export as write

    _, made = chosen(figure, preset, source, records)
    installed = find_spec("duckdb") is not None
    wanted = formats or (list(Format) if installed else [Format.CSV])
    for path in write(made, out_dir or project_root() / ".recon" / "export", wanted):
        say(shown(path))
    if formats is None and not installed:
        err.print("No Parquet: it needs DuckDB, the extra `parquet` (`pip install duckdb`).", highlight=False)


def report(
    records: Annotated[Path | None, typer.Option(help="Folder of records (default: results/).", metavar="DIR")] = None,
    out_dir: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for index.html (default: results/report/)."),
    ] = None,
) -> None:
    """Write one self-contained page with every stored figure: claims, baselines, costs, provenance, an explorer.

    Computes nothing and needs no network, neither here nor in the browser.
    """
    from recon import benchmark as bench
    from recon.progress import reporter
    from recon.report import write

    project = bench.project_root()
    folder = records or project / "results"
    if not folder.is_dir():
        raise ReconError(f"There is no folder {folder}: name the folder of records with --records.")
    page = folder_to_write(out_dir or project / "results" / "report")
    modules = {name: benchmark.path for name, benchmark in bench.benchmarks(project).items()}
    with reporter("report") as told:
        file = write(page, folder, modules, told)
    say(f"{file} ({file.stat().st_size / 1e6:.1f} MB)")
