"""Networks that other code than this package's trains: what an attack gets of them, and the files that it would find.

The arrays of each are named and ordered as the library stores them.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from itertools import pairwise
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from recon.cells.instances import Instance, Setting
from recon.cells.kinds import Weights, as_tree, backward, forward
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


class Foreign(ABC):
    """Other code that trains a network of two hidden layers: subclasses are frozen dataclasses.

    Attributes:
      width: units of each hidden layer.
      suffix: of the files that its arrays lie in.
    """

    suffix: ClassVar[str] = ".npz"

    width: int

    def check(self) -> None:  # noqa: B027  # NumPy is there
        """Look for the library.

        Raises:
          ReconError: it is not installed; how to install it.
        """

    @abstractmethod
    def fit(self, x: Flat, y: Targets, seed: int) -> Fit:
        """Train a network of a seed.

        Raises:
          ReconError: it does not reach its loss.
        """


def look_for(module: str, library: str, package: str) -> None:
    """Look for a library by the module that it brings.

    Raises:
      ReconError: it is not installed.
    """
    try:
        import_module(module)
    except ImportError as error:
        raise ReconError(f"A network of {library}'s needs it: pip install {package}.") from error


def timed_fit(foreign: Foreign, data: TaskData, seed: int) -> Fit:
    """Train on a task's images, and take the time."""
    began = time.perf_counter()
    made = foreign.fit(data.train.x.reshape(len(data.train), -1), data.train.y, seed)
    return replace(made, seconds=time.perf_counter() - began)


def instance(made: Fit, data: TaskData, kernels_first: bool = False) -> Instance:
    """What an attack gets of arrays that lie in turn, kernel and bias, or all kernels before all biases."""

    def tree(arrays: Arrays) -> dict[str, Arrays]:
        values, n = list(arrays.values()), len(arrays) // 2
        return as_tree([a for pair in zip(values[:n], values[n:]) for a in pair] if kernels_first else values)

    told = {"rule": made.rule, "loss": made.loss, "seconds": made.seconds}
    return Instance(tree(made.before), tree(made.after), data.train.x, data.held_out.x, told, data.box)


@dataclass(frozen=True)
class ScikitLearn(Foreign, Setting):
    """MLPRegressor, one epoch a call. A twin of the same seed and a rate of 1e-30 tells the initial weights.

    Attributes:
      loss: where training stops.
    """

    width: int
    loss: float = 1e-6

    def check(self) -> None:
        """Look for scikit-learn."""
        look_for("sklearn", "scikit-learn", "scikit-learn")

    def fit(self, x: Flat, y: Targets, seed: int) -> Fit:
        """Train it."""
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
        """Train it."""
        return instance(timed_fit(self, data, seed), data, kernels_first=True)


def named_by_number(arrays: Sequence[np.ndarray]) -> Arrays:
    """Arrays as `numpy.savez` names those that have no names."""
    return {f"arr_{i}": np.asarray(a) for i, a in enumerate(arrays)}


def named_by_layer(weights: Weights) -> Arrays:
    """Kernels and biases in turn: w0, b0, w1, ..."""
    return {f"{'wb'[i % 2]}{i // 2}": w for i, w in enumerate(weights)}


def draw_weights(rng: np.random.Generator, dim: int, width: int) -> Weights:
    """Initial weights of two hidden layers and an output, kernel and bias in turn."""
    weights: Weights = []
    for a, b in pairwise((dim, width, width, 1)):
        weights += [rng.normal(0, a**-0.5, (a, b)).astype(np.float32), np.zeros(b, np.float32)]
    return weights


def output(weights: Weights, x: Flat) -> Targets:
    """Of the network; weights are kernel, bias, kernel, ..."""
    return forward(weights, plain_scales(weights), x)[0][-1]


def gradients(weights: Weights, x: Flat, y: Targets) -> Weights:
    """Of the mean of ½(f − y)², shaped like the weights."""
    inputs, active = forward(weights, plain_scales(weights), x)
    return backward(weights, plain_scales(weights), inputs, active, (inputs[-1] - y) / len(x))


def plain_scales(weights: Weights) -> list[tuple[float, float]]:
    """Of a network in standard parametrisation."""
    return [(1.0, 1.0)] * (len(weights) // 2)


def epochs(
    weights: Weights, x: Flat, y: Targets, rng: np.random.Generator, batch: int, rate: float, momentum: float
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
class NumpyDescent(Foreign, Setting):
    """Momentum 0.9 and batches of ten, in plain NumPy, to a loss of 1e-5.

    Attributes:
      rate: learning rate.
    """

    width: int
    rate: float = 5e-4

    def fit(self, x: Flat, y: Targets, seed: int) -> Fit:
        """Train it."""
        rng = np.random.default_rng(seed)
        weights = draw_weights(rng, x.shape[1], self.width)
        before = [w.copy() for w in weights]
        for _, _ in zip(range(2000), epochs(weights, x, y, rng, 10, self.rate, 0.9)):
            loss = 0.5 * np.mean((output(weights, x) - y) ** 2)
            if loss < 1e-5:
                rule = f"NumPy sgd, momentum 0.9, rate {self.rate:g}, batches of 10"
                return Fit(named_by_layer(before), named_by_layer(weights), rule, float(loss))
        raise ReconError("NumPy's descent did not reach a loss of 1e-5 in 2000 epochs: raise its rate.")

    def instance(self, data: TaskData, seed: int) -> Instance:
        """Train it."""
        return instance(timed_fit(self, data, seed), data)


@dataclass(frozen=True)
class FederatedAveraging(Foreign):
    """Rounds of federated averaging in NumPy, equal shares of the images; the last round is what is seen.

    Attributes:
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

    def fit(self, x: Flat, y: Targets, seed: int) -> Fit:
        """Train it."""
        rng = np.random.default_rng(seed)
        shares = np.split(rng.permutation(len(x)), self.clients)
        server = draw_weights(rng, x.shape[1], self.width)

        def sent() -> list[Weights]:
            return [self.locally(server, x[mine], y[mine], rng) for mine in shares]

        for _ in range(self.rounds - 1):
            server = average(sent())
        updates = sent()
        seen = average(updates) if self.average else updates[0]
        chosen = np.arange(len(x)) if self.average else shares[0]
        steps = self.local[0] * -(-len(shares[0]) // self.local[1])
        rule = f"NumPy FedAvg, {self.clients} clients, round {self.rounds}, {steps} local SGD steps, rate {self.rate}"
        loss = float(np.mean((output(seen, x[chosen]) - y[chosen]) ** 2))
        return Fit(named_by_layer(server), named_by_layer(seen), rule, loss, chosen)

    def locally(self, server: Weights, x: Flat, y: Targets, rng: np.random.Generator) -> Weights:
        """A client's SGD on its own images, from the server's weights."""
        own, (times, batch) = [w.copy() for w in server], self.local
        for _ in zip(range(times), epochs(own, x, y, rng, batch, self.rate, 0.0)):
            pass
        return own


def average(all_weights: Sequence[Weights]) -> Weights:
    """The mean of several networks' weights."""
    return [np.asarray(np.mean(part, axis=0, dtype=np.float32)) for part in zip(*all_weights, strict=True)]
