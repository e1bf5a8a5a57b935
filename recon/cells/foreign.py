"""Networks that other code than this package's trains: what an attack gets of them, and the files that it would find.

The arrays of each are named and ordered as the library stores them.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from recon.cells.instances import Instance
from recon.errors import ReconError
from recon.tasks import TaskData

Arrays = dict[str, np.ndarray]
Flat = Float[np.ndarray, "n d"]
Targets = Float[np.ndarray, "n c"]


@dataclass(frozen=True)
class Fit:
    """A training run.

    Attributes:
      before, after: arrays by name, in order.
      rule: library and training rule.
      loss: at the end, as the library counts it.
      chosen: which of the images it was trained on (None: all).
      seconds: wall time of training.
    """

    before: Arrays
    after: Arrays
    rule: str
    loss: float
    chosen: np.ndarray | None = None
    seconds: float = field(default=0.0, kw_only=True)


@runtime_checkable
class Foreign(Protocol):
    """Other code that trains: a frozen dataclass with these members.

    Attributes:
      suffix: of the files that its arrays lie in.
    """

    suffix: ClassVar[str]

    @property
    def width(self) -> int:
        """Units of each of two hidden layers."""
        ...

    def check(self) -> None:
        """Look for the library.

        Raises:
          ReconError: it is not installed; how to install it.
        """
        ...

    def fit(self, x: Flat, y: Targets, seed: int) -> Fit:
        """Train a network of a seed.

        Raises:
          ReconError: it does not reach its loss.
        """
        ...


def fitted(foreign: Foreign, data: TaskData, seed: int) -> Fit:
    """Train on a task's images, and take the time."""
    began = time.perf_counter()
    made = foreign.fit(data.train.x.reshape(len(data.train), -1), data.train.y, seed)
    return replace(made, seconds=time.perf_counter() - began)


def tree(arrays: Arrays, kernels_first: bool) -> dict[str, Arrays]:
    """Arrays as this package's parameters: all kernels and then all biases, or in turn."""
    values, n = list(arrays.values()), len(arrays) // 2
    pairs = zip(values[:n], values[n:]) if kernels_first else zip(values[::2], values[1::2])
    return {f"Dense_{i}": {"kernel": k.copy(), "bias": b.copy()} for i, (k, b) in enumerate(pairs)}


def instance(made: Fit, data: TaskData, kernels_first: bool) -> Instance:
    """What an attack gets."""
    before, after = (tree(arrays, kernels_first) for arrays in (made.before, made.after))
    told = {"rule": made.rule, "loss": made.loss, "seconds": made.seconds}
    return Instance(before, after, data.train.x, data.held_out.x, told, data.box)


@dataclass(frozen=True)
class ScikitLearn:
    """MLPRegressor, one epoch a call. A twin of the same seed and a rate of 1e-30 tells the initial weights.

    Attributes:
      width: units of each of two hidden layers.
      loss: where training stops.
    """

    width: int
    loss: float = 1e-6

    suffix: ClassVar[str] = ".npz"
    test_images: ClassVar[int] = 1

    @property
    def modules(self) -> tuple[str, ...]:
        """This one."""
        return (__name__,)

    def check(self) -> None:
        """Look for scikit-learn.

        Raises:
          ReconError: it is not installed.
        """
        try:
            import sklearn  # noqa: F401
        except ImportError as error:
            raise ReconError("A network of scikit-learn's needs it: pip install scikit-learn.") from error

    def fit(self, x: Flat, y: Targets, seed: int) -> Fit:
        """Train it; see `Foreign.fit`."""
        from sklearn.neural_network import MLPRegressor

        sizes = (self.width, self.width)
        kind = {"hidden_layer_sizes": sizes, "solver": "sgd", "alpha": 0.0, "momentum": 0.9, "batch_size": len(x)}
        twin, model = (MLPRegressor(**kind, learning_rate_init=r, random_state=seed) for r in (1e-30, 2e-3))
        twin.partial_fit(x, y.ravel())
        for _ in range(5000):
            model.partial_fit(x, y.ravel())
            if model.loss_ < self.loss:
                before, after = (named_by_number([*m.coefs_, *m.intercepts_]) for m in (twin, model))
                rule = "scikit-learn MLPRegressor, sgd, Nesterov momentum 0.9, rate 2e-3, full batch"
                return Fit(before, after, rule, float(model.loss_))
        raise ReconError(f"scikit-learn's loss is {model.loss_:.1e} after 5000 epochs: raise its rate.")

    def instance(self, data: TaskData, seed: int) -> Instance:
        """Train it; see `Setting.instance`."""
        return instance(fitted(self, data, seed), data, kernels_first=True)


def named_by_number(arrays: Sequence[np.ndarray]) -> Arrays:
    """Arrays as `numpy.savez` names those that have no names."""
    return {f"arr_{i}": np.asarray(a) for i, a in enumerate(arrays)}


def named_by_layer(weights: Sequence[np.ndarray]) -> Arrays:
    """Kernels and biases in turn: w0, b0, w1, ..."""
    return {f"{'wb'[i % 2]}{i // 2}": w for i, w in enumerate(weights)}


def drawn(rng: np.random.Generator, dim: int, width: int) -> list[np.ndarray]:
    """Initial weights of two hidden layers and an output, kernel and bias in turn."""
    weights: list[np.ndarray] = []
    for a, b in pairwise((dim, width, width, 1)):
        weights += [rng.normal(0, a**-0.5, (a, b)).astype(np.float32), np.zeros(b, np.float32)]
    return weights


def forward(weights: Sequence[np.ndarray], x: Flat) -> list[np.ndarray]:
    """What goes into each layer, and the output; weights are kernel, bias, kernel, ..."""
    h = [x]
    for i in range(0, len(weights), 2):
        z = h[-1] @ weights[i] + weights[i + 1]
        h.append(z if i == len(weights) - 2 else np.maximum(z, 0))
    return h


def gradients(weights: Sequence[np.ndarray], x: Flat, y: Targets) -> list[np.ndarray]:
    """Of the mean of ½(f − y)², shaped like the weights."""
    h = forward(weights, x)
    delta, found = (h[-1] - y) / len(x), list[np.ndarray]()
    for i in reversed(range(0, len(weights), 2)):
        found = [h[i // 2].T @ delta, delta.sum(0), *found]
        delta = (delta @ weights[i].T) * (h[i // 2] > 0) if i else delta
    return found


def epochs(
    weights: list[np.ndarray], x: Flat, y: Targets, rng: np.random.Generator, batch: int, rate: float, momentum: float
) -> Iterator[None]:
    """Train the weights in place, in plain NumPy, an epoch for each time that this is asked."""
    speed = [np.zeros_like(w) for w in weights]
    while True:
        for chosen in np.split(rng.permutation(len(x)), range(batch, len(x), batch)):
            for theta, v, gradient in zip(weights, speed, gradients(weights, x[chosen], y[chosen])):
                v *= momentum
                v += gradient
                theta -= np.float32(rate) * v
        yield


@dataclass(frozen=True)
class NumpyDescent:
    """Momentum 0.9 and batches of ten, in plain NumPy, to a loss of 1e-5.

    Attributes:
      width: units of each of two hidden layers.
      rate: learning rate.
    """

    width: int
    rate: float = 5e-4

    suffix: ClassVar[str] = ".npz"
    test_images: ClassVar[int] = 1

    @property
    def modules(self) -> tuple[str, ...]:
        """This one."""
        return (__name__,)

    def check(self) -> None:
        """NumPy is there."""

    def fit(self, x: Flat, y: Targets, seed: int) -> Fit:
        """Train it; see `Foreign.fit`."""
        rng = np.random.default_rng(seed)
        weights = drawn(rng, x.shape[1], self.width)
        before = [w.copy() for w in weights]
        for _, _ in zip(range(2000), epochs(weights, x, y, rng, 10, self.rate, 0.9)):
            loss = 0.5 * np.mean((forward(weights, x)[-1] - y) ** 2)
            if loss < 1e-5:
                rule = f"NumPy sgd, momentum 0.9, rate {self.rate:g}, batches of 10"
                return Fit(named_by_layer(before), named_by_layer(weights), rule, float(loss))
        raise ReconError("NumPy's descent did not reach a loss of 1e-5 in 2000 epochs: raise its rate.")

    def instance(self, data: TaskData, seed: int) -> Instance:
        """Train it; see `Setting.instance`."""
        return instance(fitted(self, data, seed), data, kernels_first=False)


@dataclass(frozen=True)
class FederatedAveraging:
    """Rounds of federated averaging in NumPy, equal shares of the images; the last round is what is seen.

    Attributes:
      width: units of each of two hidden layers.
      average: the server sees the clients' average, not one client's weights.
      clients, rounds: how many; the last round counts.
      local: local epochs and batch of a client.
      rate: of the clients' SGD.
    """

    width: int
    average: bool = False
    clients: int = 3
    rounds: int = 4
    local: tuple[int, int] = (2, 20)
    rate: float = 0.05

    suffix: ClassVar[str] = ".npz"

    def check(self) -> None:
        """NumPy is there."""

    def fit(self, x: Flat, y: Targets, seed: int) -> Fit:
        """Train it; see `Foreign.fit`."""
        rng = np.random.default_rng(seed)
        shares = np.split(rng.permutation(len(x)), self.clients)
        server = drawn(rng, x.shape[1], self.width)

        def sent() -> list[list[np.ndarray]]:
            return [self.locally(server, x[mine], y[mine], rng) for mine in shares]

        for _ in range(self.rounds - 1):
            server = averaged(sent())
        updates = sent()
        seen = averaged(updates) if self.average else updates[0]
        chosen = np.arange(len(x)) if self.average else shares[0]
        steps = self.local[0] * -(-len(shares[0]) // self.local[1])
        rule = f"NumPy FedAvg, {self.clients} clients, round {self.rounds}, {steps} local SGD steps, rate {self.rate}"
        loss = float(np.mean((forward(seen, x[chosen])[-1] - y[chosen]) ** 2))
        return Fit(named_by_layer(server), named_by_layer(seen), rule, loss, chosen)

    def locally(self, server: Sequence[np.ndarray], x: Flat, y: Targets, rng: np.random.Generator) -> list[Any]:
        """A client's SGD on its own images, from the server's weights."""
        own, (times, batch) = [w.copy() for w in server], self.local
        for _ in zip(range(times), epochs(own, x, y, rng, batch, self.rate, 0.0)):
            pass
        return own


def averaged(all_weights: Sequence[Sequence[np.ndarray]]) -> list[np.ndarray]:
    """The mean of several networks' weights."""
    return [np.asarray(np.mean(part, axis=0, dtype=np.float32)) for part in zip(*all_weights, strict=True)]
