"""What a benchmark asks of a cell, whatever it computes. A new kind of cell is one file in this package."""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, TypeVar

from recon.progress import Report
from recon.records import Stored, provenance
from recon.registry import module_of
from recon.tasks import Split, TaskData, load_task

NEAR = 0.1  # L2 distance under which an image counts as recovered exactly: invisible in 28 × 28 pixels

Kind = TypeVar("Kind", bound="Cell")


class Cell(ABC):
    """One setting that is computed once and stored: subclasses are frozen dataclasses with, among their fields, these.

    Attributes:
      kind: names the cell's kind among stored ones; no field.
      task: name of the task.
      n_train: number of training images N.
      seed: chooses the images, the initial weights and whatever else is drawn.
      n_test: number of test images that are loaded.
      alone: its time is judged: nothing is computed beside it.
    """

    kind: ClassVar[str]

    task: str
    n_train: int
    seed: int
    n_test = 1
    alone = False

    @property
    @abstractmethod
    def title(self) -> str:
        """For progress bars."""

    @abstractmethod
    def compute(self, data: TaskData, report: Report) -> Stored:
        """Do the work.

        Returns:
          A small record with "data", "seconds" and "provenance" among its entries, and arrays for pictures.

        Raises:
          ReconError: it failed.
          KeyboardInterrupt: Ctrl-C; a partial result is none.
        """

    def settings(self) -> dict[str, Any]:
        """All settings as plain values, the kind of the cell and its "seed": what its place in the store comes from."""
        return {"kind": self.kind} | {k: dict(v) if k == "options" else v for k, v in as_plain(self).items()}

    def with_seed(self: Kind, seed: int) -> Kind:
        """The same setting with another seed: other images, initial weights and start of the attack."""
        return dataclasses.replace(self, seed=seed)  # type: ignore[type-var]

    def check(self) -> None:  # noqa: B027  # of many cells nothing can be wrong
        """Say what is wrong with the settings before anything is computed.

        Raises:
          ReconError: an unknown attack, say.
        """

    @property
    def modules(self) -> tuple[str, ...]:
        """The modules that it runs and looks up by name; those that they import follow by themselves."""
        return type(self).__module__, module_of("recon.tasks", "TASK", self.task)

    @property
    def draw(self) -> tuple[Any, ...]:
        """Cells of equal draws load the same images."""
        return self.task, self.n_train, self.seed, self.n_test

    def load(self, **where: Any) -> TaskData:
        """The cell's images; `where` as in `recon.data.load_images`."""
        return load_task(self.task, self.n_train, seed=self.seed, n_test=self.n_test, **where)

    def record(self, data: TaskData, **entries: Any) -> dict[str, Any]:
        """A record of settings, images and provenance, with the measurements as `entries`."""
        told = {"cell": self.settings(), "data": data_record(data)}
        return {**told, **entries, "provenance": provenance(self.modules)}


def as_plain(settings: Any) -> dict[str, Any]:
    """A dataclass as plain values; ReLU goes without saying, as in keys and records from before there were others."""

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


def by_name(rule: Any, key: str = "rule") -> dict[str, Any]:
    """A training rule, or another dataclass, as plain values with its name."""
    return {key: type(rule).__name__, **as_plain(rule)}


def testing_split(data: TaskData) -> tuple[Split, str]:
    """The images that networks are tested on, and which split they are: the held-out ones where there is no other."""
    return (data.test, "test") if len(data.test) else (data.held_out, "held_out")


def as_own(cell: Cell, stored: Stored, **entries: Any) -> Stored:
    """Another cell's result as this cell's: under its settings and provenance, with further entries."""
    own = {"cell": cell.settings(), "provenance": provenance(cell.modules)}
    return Stored({**stored.record, **own, **entries}, stored.arrays)
