"""`recon cite` and `recon export`: a record for papers and for other programs."""

from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from recon.cli.choice import Pictures, Preset, Records, chosen
from recon.cli.console import Figure, err, say, shown


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
        typer.Option(
            "--format", help="csv or parquet, or both by giving it twice (default: all installed).", show_default=False
        ),
    ] = None,
    out_dir: Annotated[
        Path | None, typer.Option("--out", help="Folder for the tables (default: .recon/export).", show_default=False)
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
