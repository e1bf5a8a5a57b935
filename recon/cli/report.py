"""`recon report`: the stored records as one page."""

from pathlib import Path
from typing import Annotated

import typer

from recon.cli.console import out
from recon.errors import ReconError
from recon.records.places import folder_to_write


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
    out.print(f"{file} ({file.stat().st_size / 1e6:.1f} MB)", soft_wrap=True)
