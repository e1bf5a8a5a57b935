"""Make a small training set, train networks on it, test them: the cell of table 1, figure 8 and the two theorems."""

import dataclasses
import time
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import numpy as np
from jaxtyping import Float

from recon.cells.attack import thin
from recon.cells.base import Cell, as_plain, by_name, testing_split
from recon.distillation import DistilledSet, chosen, distill, finite_accuracy, infinite_accuracy, with_options
from recon.distillation.chosen import CHOICES, choose
from recon.distillation.score import set_losses
from recon.dynamics import Dynamics
from recon.errors import ReconError
from recon.kernels.infinite import InfiniteMLP, InfiniteNetwork
from recon.metrics import distances, greedy, nearest
from recon.networks import MLP
from recon.progress import Report, silent
from recon.records import Stored
from recon.registry import module_of
from recon.tasks import TaskData

TEST_IMAGES = 2000  # of the test split: the standard error of an accuracy of 90 % is then 0.7 points


@dataclass(frozen=True)
class DistillationCell(Cell):
    """A small training set, and the networks trained on it.

    Attributes:
      n_per_class: images of each class in the set.
      method: a distillation method, or a choice of real images (`recon.distillation.chosen`).
      options: settings of the method that differ from its own; groups of settings as pairs again.
      networks: finite networks to train on the set, as (name in the record, architecture, training rule).
      alone: no part of what it is.
    """

    kind: ClassVar[str] = "distillation"
    n_test = TEST_IMAGES

    task: str
    n_train: int
    n_per_class: int
    method: str
    options: tuple[tuple[str, Any], ...] = ()
    networks: tuple[tuple[str, MLP, Dynamics], ...] = ()
    seed: int = 0
    alone: bool = False

    @property
    def title(self) -> str:
        """For progress bars."""
        return f"{self.task} N={self.n_train} to {self.n_per_class} a class by {self.method}, seed {self.seed}"

    @property
    def chosen(self) -> bool:
        """Whether the set is made of real images."""
        return self.method in CHOICES

    @property
    def given(self) -> dict[str, Any]:
        """The options as the method takes them."""
        return {name: dict(value) if isinstance(value, tuple) else value for name, value in self.options}

    @property
    def kernel(self) -> InfiniteNetwork:
        """The infinitely wide network that the set is scored on."""
        kernel: InfiniteNetwork = self.given.get("kernel", InfiniteMLP())
        return kernel

    def settings(self) -> dict[str, Any]:
        """With training rules by name, and without `alone`."""
        options = {name: _plain(value) for name, value in self.given.items()}
        networks = [{"name": k, "network": _plain(n), "dynamics": _plain(rule)} for k, n, rule in self.networks]
        plain = super().settings() | {"options": options, "networks": networks}
        del plain["alone"]
        return plain

    def check(self) -> None:
        """Look up the method and its options.

        Raises:
          ReconError: there is no such method, or it has no such option.
        """
        if not self.chosen:
            with_options(self.method, self.given)
        elif self.options:
            raise ReconError(f"The choice {self.method!r} has no settings: give it no options.")

    @property
    def modules(self) -> tuple[str, ...]:
        """With the method's, and those of the attacks that it looks up."""
        maker = chosen.__name__ if self.chosen else module_of("recon.distillation", "METHOD", self.method)
        attacks = ("recon.attacks.ntk", "recon.attacks.ntk_fast") if self.method == "rkip-finite" else ()
        return *super().modules, maker, *attacks

    def compute(self, data: TaskData, report: Report = silent) -> Stored:
        """Distil, train, test; the arrays are the set's images, labels and start."""
        k_set, k_networks = jax.random.split(jax.random.key(self.seed))
        if self.chosen:
            made = choose(self.method, data.train.x, data.train.y, self.n_per_class, self.seed)
        else:
            options = {"method": self.method, "key": k_set, "progress": lambda f, text: report(0.5 * f, text)}
            made = distill(data, self.n_per_class, **options, **self.given)
        if made.interrupted:
            raise KeyboardInterrupt
        test, split = testing_split(data)
        pairs = made.images, made.labels, test.x, test.y
        began = time.perf_counter()
        accuracy = {"infinite": infinite_accuracy(*pairs, kernel=self.kernel)}
        for i, (name, network, dynamics) in enumerate(self.networks):
            report(0.5 + 0.5 * i / len(self.networks), f"training {name} on {len(made)}")
            accuracy[name] = finite_accuracy(*pairs, network, dynamics, k_networks)
        record = self.record(
            data,
            set={
                "n": len(made),
                "loss": None if self.chosen else made.loss,
                "step": made.step,
                "steps": made.steps,
                "why": made.why,
                "work": made.work,
                "seconds": made.seconds,
                "trace": thin(made.trace),
                "held_out": thin(made.held_out),
            },
            losses=set_losses(made.images, made.labels, data.train.x, data.train.y, self.kernel),
            accuracy=accuracy,
            tested={"split": split, "images": len(test), "seconds": time.perf_counter() - began},
            **closeness(made, data),
        )
        return Stored(record, {"images": made.images, "labels": made.labels, "start": made.start})


def closeness(made: DistilledSet, data: TaskData) -> dict[str, Any]:
    """L2 distances between a set and real images.

    Returns:
      "nearest": mean distance from an image of the set to the nearest training image, and to the nearest held-out one.
      "matched", of a set as large as the training set or larger, else None: distance of each training image, and of
      each held-out one, to its own image of the set, and of each training image to that of the start (greedy).
    """

    def matched(images: Float[np.ndarray, "n *shape"], found: Float[np.ndarray, "m *shape"]) -> np.ndarray:
        return greedy(distances(images, found)).distance

    splits = {"train": data.train.x, "held_out": data.held_out.x}
    return {
        "nearest": {name: float(nearest(distances(made.images, x)).distance.mean()) for name, x in splits.items()},
        "matched": {name: matched(x, made.images) for name, x in splits.items()}
        | {"start": matched(data.train.x, made.start)}
        if len(made) >= len(data.train)
        else None,
    }


def _plain(value: Any) -> Any:
    """Settings as plain values: a dataclass with its name where that tells training rules apart."""
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return value
    return as_plain(value) if isinstance(value, MLP | InfiniteMLP) else by_name(value)
