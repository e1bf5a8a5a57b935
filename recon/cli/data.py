"""`recon data`: which data sets are there, and downloading them."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from recon.cli import completion
from recon.cli.console import out
from recon.cli.options import DataDir, Source
from recon.errors import ReconError

DOWNLOADED = ("mnist", "cifar10")  # by `make data`
ALL = (*DOWNLOADED, "tiny_imagenet")
DataSets = Annotated[
    list[str] | None,
    typer.Argument(help="Data sets (default: mnist cifar10).", autocompletion=completion.one_of(*ALL)),
]

data_app = typer.Typer(help="Data sets: what is there, and downloading.", no_args_is_help=True)


@data_app.command()
def show(data_dir: DataDir = None, source: Source = "auto") -> None:
    """Which source each data set would be read from."""
    from recon.data import load_images

    table, missing = Table("data set", "source", "train", "test", box=None, header_style="bold"), []
    for name in ALL:
        try:
            train, test = (load_images(name, split, source=source, data_dir=data_dir) for split in ("train", "test"))
            table.add_row(name, train.source, str(len(train.images)), str(len(test.images)))
        except ReconError as error:
            missing.append(error)
            table.add_row(name, escape(str(error)), "", "")
    if len(missing) == table.row_count:
        raise missing[0]
    out.print(table)


data_app.command("ls", hidden=True)(show)  # as `recon cache` calls it


@data_app.command()
def prepare(
    datasets: DataSets = None,
    archive: Annotated[
        Path | None, typer.Option(help="tiny-imagenet-200.zip, or a folder that holds it; no network is used.")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Download and prepare data sets through TFDS. The only command that uses the network."""
    from recon.data import prepare as data

    if archive is not None and datasets != ["tiny_imagenet"]:
        raise ReconError("Only tiny_imagenet is prepared from an archive: name it, and nothing else, with --archive.")
    for name in datasets or DOWNLOADED:
        made = data.prepare(name, data_dir) if archive is None else data.from_archive(archive, data_dir)
        out.print(f"{name}: {made}")


@data_app.command(hidden=True)
def reachable(datasets: DataSets = None, data_dir: DataDir = None) -> None:
    """Fail at once if a data set is neither prepared nor within reach, before `make data` installs TensorFlow."""
    from recon.data.prepare import found_or_reachable

    for name in datasets or DOWNLOADED:
        found_or_reachable(name, data_dir)
