"""Which of a figure's records a command is about: `recon plot`, `cite` and `export`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from recon.cli import completion
from recon.cli.console import err, say, shown
from recon.records.places import made_results, records_of, stored_results

Record = tuple[Path, dict[str, Any]]
"""A record's file and content."""

Preset = Annotated[
    str | None,
    typer.Option(
        help="Preset of the record (default: the run made here last, else the fullest stored).",
        show_default=False,
        autocompletion=completion.presets,
    ),
]
Pictures = Annotated[
    str | None,
    typer.Option(
        "--source",
        help="Its source of pictures: tfds, folder, mixed, samples.",
        show_default=False,
        autocompletion=completion.one_of("tfds", "folder", "mixed", "samples"),
    ),
]
Records = Annotated[
    Path | None,
    typer.Option(
        "--records",
        help="Folder of records (default: .recon/results/ if a run there fits, else results/).",
        metavar="DIR",
        show_default=False,
    ),
]


def candidates(figure: str, preset: str | None, source: str | None, records: Path | None) -> list[Record]:
    """The records that fit: those made here, the newest first, if there are any; else the stored ones, fullest first.

    Args:
      records: the folder to look in instead.

    Raises:
      ReconError: there is no such figure, or no such record of it.
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
    """The first of the `candidates`; which one that is, is said.

    Raises:
      ReconError: as `candidates`.
    """
    first, *others = candidates(figure, preset, source, records)
    also = ", ".join(f"--preset {made['preset']} --source {made['source']}" for _, made in others)
    say(f"Record: {shown(first[0])}{f' (for others: {also})' if others else ''}", err)
    return first
