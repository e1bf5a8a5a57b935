"""Attack a network, drop training images in some order, train again from the same initial weights, and test."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float, Int

from recon.cells.attack import AttackVariant, initialise
from recon.cells.base import as_own, by_name, testing_split
from recon.dynamics import Dynamics, Linearised, outputs, train
from recon.metrics import share_right
from recon.progress import Report, silent
from recon.records import Stored
from recon.tasks import Split, TaskData, load_task

TEST_IMAGES = 5000  # of the test split: five times what decides the margin of the figure's claim
# Training images in the order in which they are dropped: largest first. Ease is minus the attack's distance.
CRITERIA = ("ease", "ease_balanced", "dual_norm", "loss_initial", "loss_path")


@dataclass(frozen=True)
class PruningCell(AttackVariant):
    """An attacked network, and the networks trained on what is left of its images.

    Attributes:
      retrain: training rule of the networks on fewer images.
      kept: fractions of the images to keep, below 1.
      draws: random orders to compare with.
      reverse: criteria that are also followed from the other end.
    """

    kind: ClassVar[str] = "pruning"

    retrain: Dynamics
    kept: tuple[float, ...] = (0.75, 0.5, 0.25)
    draws: int = 5
    reverse: tuple[str, ...] = ("ease",)

    @property
    def title(self) -> str:
        """For progress bars."""
        return f"pruning {self.base.title}"

    def settings(self) -> dict[str, Any]:
        """The attacked cell's, and those of the networks trained again."""
        return super().settings() | {"retrain": by_name(self.retrain)}

    @property
    def draw(self) -> tuple[Any, ...]:
        """Cells of equal draws load the same images."""
        return "pruning", *self.base.draw

    def load(self, **where: Any) -> TaskData:
        """The attacked cell's images, with more of the test split."""
        a = self.base
        return load_task(a.task, a.n_train, seed=a.seed, n_test=TEST_IMAGES, **where)

    def compute(self, data: TaskData, report: Report = silent) -> Stored:
        """Attack, then train and test every subset: "pruning" has a row for each."""
        stored = self.base.compute(data, lambda f, text: report(0.5 * f, text))
        began = time.perf_counter()
        columns = {name: np.asarray(values) for name, values in stored.record["images"].items() if values is not None}
        test, split = testing_split(data)
        plans = list(subsets(self, columns, data.train.y))
        rows = []
        for i, (order, reverse, draw, kept, index) in enumerate(plans):
            accuracy = trained_accuracy(self, data, index, test)
            how = {"order": order, "reverse": reverse, "draw": draw, "kept": kept}
            rows.append(how | {"n": len(index), "accuracy": accuracy})
            report(0.5 + 0.5 * (i + 1) / len(plans), f"trained on {len(index)}: {accuracy:.1%}")
        tests = {"rows": rows, "tested_on": split, "test_images": len(test), "seconds": time.perf_counter() - began}
        return as_own(self, stored, pruning=tests)


def subsets(
    cell: PruningCell, columns: dict[str, np.ndarray], y: Float[np.ndarray, "n c"]
) -> Iterator[tuple[str, bool, int, float, np.ndarray]]:
    """(order, reversed, random draw, fraction kept, indices kept) of every subset, the whole set first.

    Args:
      columns: the attacked cell's, by training image.
      y: targets.
    """
    n = len(y)
    yield "all", False, 0, 1.0, np.arange(n)
    rng = np.random.default_rng(cell.base.seed)
    orders = [(name, False, 0, drop_order(name, columns, y)) for name in CRITERIA]
    orders += [(name, True, 0, drop_order(name, columns, y, reverse=True)) for name in cell.reverse]
    orders += [("random", False, draw, rng.permutation(n)) for draw in range(cell.draws)]
    for kept in cell.kept:
        for name, reverse, draw, order in orders:
            yield name, reverse, draw, kept, np.sort(order[n - max(1, round(kept * n)) :])


def drop_order(
    name: str, columns: dict[str, np.ndarray], y: Float[np.ndarray, "n c"], reverse: bool = False
) -> Int[np.ndarray, " n"]:
    """Training images in the order in which a criterion drops them.

    "ease" drops the most easily reconstructed first; "ease_balanced" too, but the same share of every class; the others
    drop large duals and large losses first.

    Args:
      reverse: from the other end.
    """
    value = -columns["distance"] if name.startswith("ease") else columns[name]
    order = np.argsort(value if reverse else -value, kind="stable")
    if not name.endswith("balanced"):
        return order
    # An image's place is the share of its own class that goes before it.
    _, group = np.unique(y, axis=0, return_inverse=True)
    place = np.empty(len(y))
    for g in range(group.max() + 1):
        mine = order[group[order] == g]
        place[mine] = np.arange(len(mine)) / len(mine)
    return np.argsort(place, kind="stable")


def trained_accuracy(cell: PruningCell, data: TaskData, index: Int[np.ndarray, " k"], tested: Split) -> float:
    """Fraction of `tested` classified right after training on a subset from the attacked network's initial weights."""
    network, params0, _ = initialise(cell.base, data)
    trained = train(network, params0, data.train.x[index], data.train.y[index], cell.retrain)
    f = outputs(network, params0, trained.final.params, tested.x, isinstance(cell.retrain, Linearised))
    return share_right(f, tested.y)
