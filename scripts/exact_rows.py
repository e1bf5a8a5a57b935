"""What `exact_bars.py` measures: kinds of instances, over which seeds, with the bars that they have to meet."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle, product
from pathlib import Path
from typing import Any

import exact_instances
import numpy as np
from exact_instances import (
    CIFAR10,
    DIGITS,
    FLOW,
    MNIST,
    Instance,
    features,
    noisy,
    null,
    numpy_sgd,
    pca,
    pooled,
    random_relu,
    scikit_learn,
    standard,
)

from recon.dynamics import Descent, Linearised
from recon.records import code_version

POOL_SECONDS = 20.0  # limit of each run of the certificate's pool


@dataclass(frozen=True)
class Bar:
    """What the runs of a row have to reach.

    Attributes:
      certified, certified_within, within: least counts of a run.
      worst: upper bound of the largest distance.
      seconds, median: upper bounds of the time of each run and of their median.
      runs: so many runs must meet the counts and bounds (None: all).
    """

    certified: int = 0
    certified_within: int = 0
    within: int = 0
    worst: float = np.inf
    seconds: float = np.inf
    median: float = np.inf
    runs: int | None = None

    @property
    def text(self) -> str:
        """In words."""
        parts = (
            (self.certified, f"≥ {self.certified} certified"),
            (self.certified_within, f"≥ {self.certified_within} certified within"),
            (self.within, f"≥ {self.within} within"),
            (self.worst < np.inf, f"max < {self.worst:g}"),
            (self.seconds < np.inf, f"time < {self.seconds:g} s"),
            (self.runs, f"on {self.runs} runs"),
            (self.median < np.inf, f"median time < {self.median:g} s"),
        )
        return ", ".join(text for asked, text in parts if asked)

    def passes(self, run: Mapping[str, Any]) -> bool:
        """Whether one run reaches the counts and bounds."""
        if "error" in run:
            return False
        counts = all((run[k] or 0) >= getattr(self, k) for k in ("certified", "certified_within", "within"))
        near = self.worst == np.inf or (run["max"] is not None and run["max"] < self.worst)
        return counts and near and run["seconds"] < self.seconds

    def met(self, runs: Sequence[Mapping[str, Any]]) -> bool:
        """Whether all the runs of a row meet the bar."""
        enough = sum(map(self.passes, runs)) >= (len(runs) if self.runs is None else self.runs)
        return bool(enough and np.median([run.get("seconds", np.inf) for run in runs]) < self.median)


@dataclass(frozen=True)
class Row:
    """A named kind of instance over seeds.

    Attributes:
      make: seed, n, width → the instance.
      bar: None: reported as measured.
      options: of the attack.
    """

    group: str
    name: str
    n: int
    width: int
    make: Callable[..., Instance]
    bar: Bar | None = None
    seeds: tuple[int, ...] = (0, 1, 2)
    attack: str = "exact"
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def version(self) -> str:
        """Of the code that its numbers depend on."""
        tasks = (f"recon.tasks.{task}" for task in (MNIST, CIFAR10, DIGITS))
        return code_version(
            ("recon.dynamics", "recon.metrics", f"recon.attacks.{self.attack.replace('-', '_')}", *tasks),
            (Path(exact_instances.__file__),),
        )


def large_rows() -> list[Row]:
    linear, cifar = partial(standard, dynamics=Linearised()), partial(standard, task=CIFAR10)
    return [
        Row("mnist-50", "50/1024 MNIST standard", 50, 1024, standard, Bar(certified=50, worst=0.01, seconds=3)),
        Row("mnist-200", "200/2048 MNIST standard", 200, 2048, standard, Bar(certified_within=199, median=25),
            tuple(range(5)), options={"seconds": 180.0}),
        Row("mnist-300", "300/4096 MNIST linearised", 300, 4096, linear, Bar(certified_within=300, seconds=180), (0,),
            options={"seconds": 600.0}),
        Row("mnist-500", "500/4096 MNIST linearised, 900 s", 500, 4096, linear, None, (0,),
            options={"seconds": 900.0, "starts": 10**6, "patience": 10**6}),
        Row("cifar10-200", "200/2048 CIFAR-10 standard", 200, 2048, cifar,
            Bar(certified_within=199, runs=2, median=40), options={"seconds": 180.0}),
        Row("mnist-100", "100/512 MNIST standard", 100, 512, standard, Bar(certified_within=99, seconds=15),
            options={"seconds": 60.0}),
        Row("mnist-100", "100/512 MNIST linearised", 100, 512, linear, Bar(certified_within=99, seconds=15),
            options={"seconds": 60.0}),
    ]  # fmt: skip


def foreign_rows() -> list[Row]:
    bar = Bar(certified=60, worst=0.01, seconds=5)
    kinds = (("scikit-learn", scikit_learn), ("NumPy, batches of 10", numpy_sgd))
    return [Row("foreign", f"60/1024 {name}", 60, 1024, make, bar) for name, make in kinds]


def decay_rows() -> list[Row]:
    """With a weight decay of λ descent reaches a loss of λ, but not much less."""
    return [
        Row("decay", f"50/1024 weight decay {decay:g}", 50, 1024,
            partial(standard, dynamics=Descent(weight_decay=decay, loss=decay)), Bar(certified_within=50))
        for decay in (1e-4, 1e-3, 1e-2)
    ]  # fmt: skip


def state_rows() -> list[Row]:
    rows = []
    for (n, width, least), loss in product(((20, 512, 20), (50, 1024, 48)), (1e-2, 1e-6)):
        adam = Descent(optimiser="adam", learning_rate=1e-4, loss=loss)
        momentum = Descent(momentum=0.9, rate=0.3, loss=loss)
        for name, rule, bar in (("Adam", adam, Bar(within=least, seconds=10)), ("momentum", momentum, None)):
            make = partial(standard, dynamics=rule, with_state=True)
            rows.append(Row("state", f"{n}/{width} {name}'s state, loss {loss:g}", n, width, make, bar))
    return rows


def feature_rows() -> list[Row]:
    kinds = (("random ReLU", random_relu), ("PCA", pca))
    return [
        Row("features", f"100/1024 {name} features", 100, 1024, partial(features, extractor=extractor),
            Bar(certified_within=100))
        for name, extractor in kinds
    ]  # fmt: skip


def hybrid_rows() -> list[Row]:
    return [
        Row("hybrid", f"100/512 MNIST standard, {attack}", 100, 512, standard, None, (0,), attack)
        for attack in ("exact", "ntk-fast", "hybrid")
    ]


def beyond_rows() -> list[Row]:
    """What nobody promises: reported as measured."""
    kinds: list[tuple[str, int, int, Callable[..., Instance]]] = [
        ("no biases", 50, 1024, partial(standard, bias=False)),
        ("10 outputs", 60, 1024, partial(standard, task=DIGITS)),
        *((f"{depth} hidden", 60, 1024, partial(standard, depth=depth)) for depth in (1, 3)),
        *((rule, 60, 1024, partial(standard, init_rule=rule)) for rule in ("he", "glorot", "uniform")),
        ("linearised", 100, 400, partial(standard, dynamics=Linearised())),
        ("linearised", 100, 256, partial(standard, dynamics=Linearised())),
        ("flow", 100, 384, standard),
        ("CIFAR-10", 100, 512, partial(standard, task=CIFAR10)),
        *((f"noise {sigma:g}", 50, 1024, partial(noisy, sigma=sigma)) for sigma in (1e-6, 1e-5, 1e-4)),
        ("descent at 1.8/L", 50, 1024, partial(standard, dynamics=Descent(rate=1.8))),
        ("initial weights × 0.3", 50, 1024, partial(standard, scale=0.3)),
        ("decay 1e-3, momentum 0.9", 50, 1024,
         partial(standard, dynamics=Descent(rate=0.3, momentum=0.9, weight_decay=1e-3, loss=1e-3))),
        ("Adam without its state", 50, 1024,
         partial(standard, dynamics=Descent(optimiser="adam", learning_rate=1e-4, loss=1e-6))),
        ("7 × 7 pixels, N ≥ d", 60, 1024, pooled),
    ]  # fmt: skip
    return [
        Row("beyond", f"{n}/{width} {name}", n, width, make, None, (0, 1), options={"seconds": 60.0})
        for name, n, width, make in kinds
    ]


def pool_rows() -> list[Row]:
    """The certificate's pool: fresh seeds, two widths for every task, rule and N, wide to narrow; null instances."""
    ratios = cycle((20, 6, 12, 4, 8, 2.5))
    kinds = [
        (f"{'CIFAR-10' if task == CIFAR10 else 'MNIST'} {name}", n, round(n * next(ratios)),
         partial(standard, task=task, dynamics=rule))
        for task, (name, rule), n, _ in product(
            (MNIST, CIFAR10), (("linearised", Linearised()), ("standard", FLOW)), (20, 40, 60, 80), range(2))
    ]  # fmt: skip
    batches = Descent(rate=0.05, momentum=0.9, batch_size=10, loss=1e-6)
    adam = Descent(optimiser="adam", learning_rate=1e-4, loss=1e-6)
    for name, rule in (("momentum, minibatches", batches), ("Adam without its state", adam)):
        kinds += [(f"MNIST {name}", n, width, partial(standard, dynamics=rule)) for n, width in ((40, 640), (60, 480))]
    options = {"seconds": POOL_SECONDS}
    rows = [
        Row("certificate", f"{n}/{width} {name}", n, width, make, None, (1000 + i,), options=options)
        for i, (name, n, width, make) in enumerate(kinds)
    ]
    nulls = [
        Row("null", f"40/512 null, {kind}", 40, 512, partial(null, kind=kind), None, (2000, 2001, 2002),
            options=options)
        for kind in ("random", "permuted units")
    ]  # fmt: skip
    return rows + nulls


def narrow_rows() -> list[Row]:
    """Few units for each image, where wrong vectors pass for right ones, on fresh seeds."""
    kinds = [(MNIST, "MNIST", 20, width) for width in (90, 100, 120, 160)]
    kinds += [(MNIST, "MNIST", 40, 200), (CIFAR10, "CIFAR-10", 20, 120), (DIGITS, "MNIST, ten classes", 20, 120)]
    return [
        Row("narrow", f"{n}/{width} {name} standard, narrow", n, width, partial(standard, task=task), None,
            tuple(range(3000, 3030)), options={"seconds": POOL_SECONDS})
        for task, name, n, width in kinds
    ]  # fmt: skip


def all_rows() -> list[Row]:
    makers = (
        large_rows, foreign_rows, decay_rows, state_rows, feature_rows, hybrid_rows, beyond_rows, pool_rows,
        narrow_rows,
    )  # fmt: skip
    return [row for make in makers for row in make()]
