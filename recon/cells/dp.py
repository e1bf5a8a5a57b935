"""An attacked network that was trained under differential privacy: what its noise promises, beside what comes back."""

from dataclasses import dataclass
from typing import ClassVar

from recon.cells.attack import AttackCell
from recon.cells.base import as_own, testing_split
from recon.metrics import distances
from recon.metrics.privacy import prior_success
from recon.progress import Report, silent
from recon.records import Stored
from recon.tasks import TaskData


@dataclass(frozen=True)
class DPCell(AttackCell):
    """An `AttackCell`, with the chance that its attack has of success before it has seen any network."""

    kind: ClassVar[str] = "private"

    def compute(self, data: TaskData, report: Report = silent) -> Stored:
        """Train, attack, score; and the share of the test images that so many guesses could hit."""
        stored = super().compute(data, report)
        (prior, split), radius = testing_split(data), data.task.recognisable
        kappa = None if radius is None else prior_success(distances(prior.x, prior.x), radius, self.m)
        added = {"kappa": kappa, "radius": radius, "guesses": self.m, "images": len(prior), "split": split}
        return as_own(self, stored, prior=added)
