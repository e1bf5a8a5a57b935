"""`recon cite` and `recon export`: a stored record for papers and for other programs."""

from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from recon.cli import completion
from recon.cli.console import Figure, err, out

Preset = Annotated[
    str | None,
    typer.Option(
        help="Preset of the record (default: the fullest there is).",
        show_default=False,
        autocompletion=completion.presets,
    ),
]
Pictures = Annotated[
    str | None,
    typer.Option(
        "--source",
        help="Its source of pictures: tfds, folder, mixed, samples (default: in this order).",
        show_default=False,
        autocompletion=completion.one_of("tfds", "folder", "mixed", "samples"),
    ),
]
Records = Annotated[
    Path | None,
    typer.Option("--records", help="Folder of records (default: results/).", metavar="DIR", show_default=False),
]


class Format(StrEnum):
    """Formats of tables."""

    CSV = "csv"
    PARQUET = "parquet"


def cite(figure: Figure, preset: Preset = None, source: Pictures = None, records: Records = None) -> None:
    """Print BibTeX of the paper, of this suite at its commit, and of the exact record, by the hash of its bytes."""
    from recon.benchmark import project_root
    from recon.records.citation import bibliography, read_cff

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
    from recon.records.tidy import export as write

    _, made = chosen(figure, preset, source, records)
    installed = find_spec("duckdb") is not None
    wanted = formats or (list(Format) if installed else [Format.CSV])
    for path in write(made, out_dir or project_root() / ".recon" / "export", wanted):
        out.print(str(path), soft_wrap=True, highlight=False)
    if formats is None and not installed:
        err.print("No Parquet: it needs DuckDB, the extra `parquet` (`pip install duckdb`).", highlight=False)


def chosen(figure: str, preset: str | None, source: str | None, records: Path | None) -> tuple[Path, dict[str, Any]]:
    """The record that is asked for; of several, the fullest one of the original data, which is said.

    Raises:
      ReconError: there is no such figure, or no such record of it.
    """
    from recon.benchmark import find, project_root
    from recon.records.citation import records_of

    project = project_root()
    folder = records or project / "results"
    if not (folder / figure).is_dir():
        find(project, figure)
    found = records_of(folder, figure, preset, source)
    path, made = found[0]
    if len(found) > 1:
        others = ", ".join(f"--preset {m['preset']} --source {m['source']}" for _, m in found[1:])
        err.print(f"Of {len(found)} records, {path}; for others: {others}.", soft_wrap=True, highlight=False)
    return path, made
