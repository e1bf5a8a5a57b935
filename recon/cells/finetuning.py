"""Fine-tuning: a network trained on public images first, then on a few private ones, whose public weights are known.

The change that is attacked is that from the public weights, so it is made of the private images alone.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from recon.cells.attack import AttackVariant, attack_and_score, initialise
from recon.cells.base import as_own, by_name
from recon.dynamics import Dynamics, outputs, train
from recon.dynamics.base import HostParams
from recon.errors import ReconError
from recon.metrics import distances, greedy, share_right
from recon.networks import Network
from recon.progress import Report, silent
from recon.records import Stored
from recon.tasks import Split, TaskData


@dataclass(frozen=True)
class FinetuneCell(AttackVariant):
    """A network, what it is trained on first, and the attack on what it is trained on afterwards.

    The public images are of the test split, so neither trained on later nor among the held-out ones. Their targets are
    of another task: the first half of the data set's classes (−1) against the second (+1). The head keeps its weights,
    as it has one output for either task.

    Attributes:
      n_public: number of public images; 0: no training before, the initial weights are random.
      pretraining: training rule on the public images.
    """

    kind: ClassVar[str] = "finetune"

    n_public: int
    pretraining: Dynamics

    @property
    def title(self) -> str:
        """For progress bars."""
        return f"{self.base.title} after {self.n_public} public images"

    def settings(self) -> dict[str, Any]:
        """The attacked cell's, and those of the training before."""
        return super().settings() | {"pretraining": by_name(self.pretraining)}

    def check(self) -> None:
        """As the attacked cell, and the number of public images."""
        super().check()
        if self.n_public < 0:
            raise ReconError(f"Cannot train on {self.n_public} public images: choose 0 for none, or more.")

    @property
    def modules(self) -> tuple[str, ...]:
        """With the rule's of the training before."""
        return *super().modules, type(self.pretraining).__module__

    def compute(self, data: TaskData, report: Report = silent) -> Stored:
        """Train on the public images, then on the private ones; attack the change between; score: `public_record`."""
        public, fresh = split(data.test, self.n_public, data)
        network, params, key = initialise(self.base, data)
        known: dict[str, Any] = {"n": self.n_public}
        if self.n_public:
            params, known = pretrain(self, network, params, public, fresh, data)
        trained = train(network, params, data.train.x, data.train.y, self.base.dynamics)
        left = dataclasses.replace(data, test=fresh)
        stored = attack_and_score(self.base, left, network, trained, key, report)
        told = public_record(stored.arrays["found"], public, fresh, len(data.train))
        return as_own(self, stored, public=known | told)


def split(test: Split, n: int, data: TaskData) -> tuple[Split, Split]:
    """The public images, and as many or more of their kind that no network has seen.

    Raises:
      ReconError: fewer than twice so many test images.
    """
    if 2 * n > len(test):
        raise ReconError(
            f"{n} public images and as many for comparison are more than the {len(test)} test images of {data.source}: "
            "choose fewer, or run `make data` for the full set."
        )
    return part(test, slice(0, n)), part(test, slice(n, None))


def part(whole: Split, which: slice) -> Split:
    """Some images of a split. Their fingerprint stays the whole's, which they are a fixed part of."""
    return Split(whole.x[which], whole.y[which], whole.labels[which], whole.fingerprint)


def first_or_second_half(images: Split, data: TaskData) -> Float[np.ndarray, "n outputs"]:
    """The public task's targets: −1 for the first half of the data set's classes, +1 for the second.

    Raises:
      ReconError: the attacked task has more than one output, which would ask for another head.
    """
    if data.outputs != 1:
        raise ReconError(f"{data.task.name} has {data.outputs} outputs, the public task one: choose a binary task.")
    classes = sum(map(len, data.task.groups.values()))
    return np.where(images.labels < classes / 2, -1.0, 1.0).astype(np.float32)[:, None]


def pretrain(
    cell: FinetuneCell, network: Network, params: HostParams, public: Split, fresh: Split, data: TaskData
) -> tuple[HostParams, dict[str, Any]]:
    """Public weights, and what training to them reached, on the public task and on fresh images of it.

    Raises:
      ReconError: training failed, or as `first_or_second_half`.
    """
    y, y_fresh = (first_or_second_half(images, data) for images in (public, fresh))
    trained = train(network, params, public.x, y, cell.pretraining)
    f = outputs(network, trained.initial.params, trained.final.params, fresh.x, trained.linearised)
    told = {"n": cell.n_public, "loss": trained.final.loss, "accuracy": share_right(f, y_fresh)}
    return trained.final.params, told


def public_record(found: np.ndarray, public: Split, fresh: Split, n: int) -> dict[str, Any]:
    """How near the reconstructions come to public images, and to as many that no network has seen.

    Args:
      found: reconstructions, as matched to the private images.
      n: as many of either are matched one to one, as for the other controls.

    Returns:
      "mean" and "mean_fresh": mean L2 distances so matched; "nearest" and "nearest_fresh": each reconstruction's
      distance to its nearest one of all public images, and of equally many unseen ones. None without public images.
    """
    k = len(public)
    if not k:
        return dict.fromkeys(("mean", "mean_fresh", "nearest", "nearest_fresh"))
    seen, unseen = distances(found, public.x), distances(found, fresh.x[:k])
    return {
        "mean": float(greedy(seen[:, :n].T).distance.mean()),
        "mean_fresh": float(greedy(unseen[:, :n].T).distance.mean()),
        "nearest": seen.min(axis=1),
        "nearest_fresh": unseen.min(axis=1),
    }
