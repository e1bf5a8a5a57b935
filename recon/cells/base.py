"""What a benchmark asks of a cell, whatever it computes. A new kind of cell is one file in this package."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from recon.progress import Report
from recon.records import Stored, provenance
from recon.tasks import TaskData


@runtime_checkable
class Cell(Protocol):
    """One setting that is computed once and stored: a frozen dataclass with these members.

    One whose time is judged also has `alone`, which is true: nothing is computed beside it.
    """

    @property
    def title(self) -> str:
        """For progress bars."""
        ...

    def settings(self) -> dict[str, Any]:
        """All settings as plain values, the kind of the cell and its "seed": what its place in the store comes from."""
        ...

    def with_seed(self, seed: int) -> "Cell":
        """The same setting with another seed: other images, initial weights and start of the attack."""
        ...

    def check(self) -> None:
        """Say what is wrong with the settings before anything is computed.

        Raises:
          ReconError: an unknown attack, say.
        """
        ...

    @property
    def modules(self) -> tuple[str, ...]:
        """The modules that it runs and looks up by name; those that they import follow by themselves."""
        ...

    @property
    def draw(self) -> tuple[Any, ...]:
        """Cells of equal draws load the same images."""
        ...

    def load(self, **where: Any) -> TaskData:
        """The cell's images; `where` as in `recon.data.load_images`."""
        ...

    def compute(self, data: TaskData, report: Report) -> Stored:
        """Do the work.

        Returns:
          A small record with "data", "seconds" and "provenance" among its entries, and arrays for pictures.

        Raises:
          ReconError: it failed.
          KeyboardInterrupt: Ctrl-C; a partial result is none.
        """
        ...


def as_plain(settings: Any) -> dict[str, Any]:
    """Settings as plain values; ReLU goes without saying, as in keys and records from before there were others."""

    def said(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
        return {name: value for name, value in pairs if (name, value) != ("activation", "relu")}

    return dataclasses.asdict(settings, dict_factory=said)


def fingerprints(data: TaskData) -> dict[str, str]:
    """Content hashes of a draw's three splits."""
    return {name: getattr(data, name).fingerprint for name in ("train", "held_out", "test")}


def data_record(data: TaskData) -> dict[str, Any]:
    """What a record says of its images."""
    return {
        "source": data.source,
        "title": data.task.title,
        "fingerprints": fingerprints(data),
        "pool": data.pool,
        "mean": data.mean,
        "recognisable": data.task.recognisable,
    }


def as_own(cell: Cell, stored: Stored, **entries: Any) -> Stored:
    """Another cell's result as this cell's: under its settings and provenance, with further entries."""
    own = {"cell": cell.settings(), "provenance": provenance(cell.modules)}
    return Stored({**stored.record, **own, **entries}, stored.arrays)
