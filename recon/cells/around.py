"""Cells that do something to an attack cell: other images, other initial weights, another start."""

import dataclasses
from dataclasses import dataclass
from typing import Any, Self

from recon.cells.attack import AttackCell
from recon.cells.base import Cell
from recon.tasks import TaskData


@dataclass(frozen=True)
class AroundAttack(Cell):
    """An attack cell, and what a subclass adds to it; what the subclass does not say is the attack cell's.

    Attributes:
      attacked: the task, the network, its training rule and the attack.
    """

    attacked: AttackCell

    @property
    def linearised(self) -> bool:
        """Whether the attacked network is a Taylor model."""
        return self.attacked.linearised

    def settings(self) -> dict[str, Any]:
        """The attacked cell's as plain values, the kind, and what the subclass adds."""
        own = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "attacked"}
        return {**self.attacked.settings(), "kind": self.kind, **own}

    def with_seed(self, seed: int) -> Self:
        """The same setting on another draw."""
        return dataclasses.replace(self, attacked=self.attacked.with_seed(seed))

    def check(self) -> None:
        """As the attacked cell."""
        self.attacked.check()

    @property
    def modules(self) -> tuple[str, ...]:
        """What its numbers depend on."""
        return type(self).__module__, *self.attacked.modules

    @property
    def draw(self) -> tuple[Any, ...]:
        """Cells of equal draws load the same images."""
        return self.attacked.draw

    def load(self, **where: Any) -> TaskData:
        """The attacked cell's images; `where` as in `recon.data.load_images`."""
        return self.attacked.load(**where)
