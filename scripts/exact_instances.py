"""The instances that `exact_bars.py` measures the exact solver on: trained networks, and what judges an attack."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import Any

import jax
import numpy as np

from recon.dynamics import Dynamics, GradientFlow, Linearised, train
from recon.errors import ReconError
from recon.networks import MLP
from recon.tasks import TaskData, load_task

MNIST, CIFAR10, DIGITS = "mnist_odd_even", "cifar10_animal_vehicle", "mnist_10way"
FEATURES = 512
FLOW = GradientFlow()


@dataclass(frozen=True)
class Instance:
    """Weights before and after training, what the attack is told, and what it is judged by.

    Attributes:
      before, after: weights.
      truth, held_out: training images and as many others, (n, *shape).
      facts: for the record: where the images come from, the training rule, what training took and reached.
      box, linearised, state: as `reconstruct` takes them.
      relative: distances are divided by the norm of the training image.
    """

    before: Any
    after: Any
    truth: np.ndarray
    held_out: np.ndarray
    facts: Mapping[str, Any]
    box: tuple[Any, Any] | None = None
    linearised: bool = False
    state: Any = None
    relative: bool = False


def described(dynamics: Dynamics) -> str:
    """A training rule with the settings that are not its defaults."""
    changed = (f for f in fields(dynamics) if getattr(dynamics, f.name) != f.default)
    return f"{type(dynamics).__name__}({', '.join(f'{f.name}={getattr(dynamics, f.name)!r}' for f in changed)})"


def origin(data: TaskData) -> dict[str, Any]:
    prints = {"train": data.train.fingerprint, "held_out": data.held_out.fingerprint}
    return {"task": data.task.name, "source": data.source, "fingerprints": prints}


def trained(
    seed: int, data: TaskData, network: MLP, dynamics: Dynamics, *, scale: float = 1.0, with_state: bool = False,
    view: Callable[[np.ndarray], np.ndarray] = np.asarray,
) -> Instance:  # fmt: skip
    """A network of `recon.dynamics` on the images of a task, or on what `view` makes of them."""
    x, held_out = view(data.train.x), view(data.held_out.x)
    network = replace(network, outputs=data.outputs)
    before = network.init(jax.random.key(seed), int(np.prod(x.shape[1:])))
    before = jax.tree.map(lambda a: scale * np.asarray(a), before)
    run = train(network, before, x, data.train.y, dynamics)
    took = {"rule": described(dynamics), "train_seconds": run.seconds, "loss": run.final.loss, "steps": run.final.step}
    return Instance(
        run.initial.params, run.final.params, x, held_out, {**origin(data), **took}, data.box, run.linearised,
        run.state if with_state else None,
    )  # fmt: skip


def standard(
    seed: int, n: int, width: int, *, task: str = MNIST, dynamics: Dynamics = FLOW, depth: int = 2,
    bias: bool = True, init_rule: str = "lecun", **options: Any,
) -> Instance:  # fmt: skip
    """A plain network on a plain task."""
    network = MLP((width,) * depth, bias=bias, init_rule=init_rule)
    return trained(seed, load_task(task, n, seed=seed, n_test=1), network, dynamics, **options)


def noisy(seed: int, n: int, width: int, *, sigma: float) -> Instance:
    """Gaussian noise of standard deviation `sigma` on every final weight."""
    clean, rng = standard(seed, n, width), np.random.default_rng(seed)
    return replace(clean, after=jax.tree.map(lambda a: a + sigma * rng.standard_normal(a.shape), clean.after))


def pooled(seed: int, n: int, width: int) -> Instance:
    """Digits averaged over blocks of 4 × 4: 49 inputs."""

    def view(x: np.ndarray) -> np.ndarray:
        return x.reshape(len(x), 7, 4, 7, 4, 1).mean((2, 4))

    return standard(seed, n, width, view=view)


def features(seed: int, n: int, width: int, *, extractor: Callable[[np.ndarray, int], Any]) -> Instance:
    """A head on features of a frozen extractor, which the test split made: no box, relative distances."""
    data = load_task(MNIST, n, seed=seed, n_test=2000)
    extract = extractor(data.test.x.reshape(len(data.test), -1), seed)
    view = lambda x: np.float32(extract(x.reshape(len(x), -1)))  # noqa: E731
    return replace(trained(seed, data, MLP((width, width)), FLOW, view=view), box=None, relative=True)


def random_relu(images: np.ndarray, seed: int) -> Callable[[np.ndarray], np.ndarray]:
    """One hidden layer of random weights."""
    dim = images.shape[1]
    weights = np.random.default_rng(seed).standard_normal((dim, FEATURES)) * np.sqrt(2 / dim)
    return lambda x: np.maximum(x @ weights, 0)


def pca(images: np.ndarray, seed: int) -> Callable[[np.ndarray], np.ndarray]:  # noqa: ARG001
    """Leading principal components."""
    mean = images.mean(0)
    _, _, axes = np.linalg.svd(images - mean, full_matrices=False)
    return lambda x: (x - mean) @ axes[:FEATURES].T


def tree(kernels: Sequence[np.ndarray], biases: Sequence[np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    return {f"Dense_{i}": {"kernel": k.copy(), "bias": b.copy()} for i, (k, b) in enumerate(zip(kernels, biases))}


def foreign(seed: int, n: int, fit: Callable[[np.ndarray, np.ndarray, int], tuple[Any, Any]], rule: str) -> Instance:
    """A network that other code than recon's has trained."""
    data = load_task(MNIST, n, seed=seed, n_test=1)
    began = time.perf_counter()
    before, after = fit(data.train.x.reshape(n, -1), data.train.y, seed)
    facts = {**origin(data), "rule": rule, "train_seconds": time.perf_counter() - began}
    return Instance(before, after, data.train.x, data.held_out.x, facts, data.box)


def scikit_learn(seed: int, n: int, width: int) -> Instance:
    """MLPRegressor, one epoch a call. A twin of the same seed and a rate of 1e-30 tells the initial weights."""
    from sklearn.neural_network import MLPRegressor

    def fit(x: np.ndarray, y: np.ndarray, seed: int) -> tuple[Any, Any]:
        kind = {"hidden_layer_sizes": (width, width), "solver": "sgd", "alpha": 0.0, "momentum": 0.9, "batch_size": n}
        twin, model = (MLPRegressor(**kind, learning_rate_init=r, random_state=seed) for r in (1e-30, 2e-3))
        twin.partial_fit(x, y.ravel())
        for _ in range(5000):
            model.partial_fit(x, y.ravel())
            if model.loss_ < 1e-6:
                return tree(twin.coefs_, twin.intercepts_), tree(model.coefs_, model.intercepts_)
        raise ReconError(f"scikit-learn's loss is {model.loss_:.1e} after 5000 epochs: raise its rate.")

    return foreign(seed, n, fit, "scikit-learn MLPRegressor, sgd, Nesterov momentum 0.9, rate 2e-3, full batch")


def numpy_sgd(seed: int, n: int, width: int, rate: float = 5e-4) -> Instance:
    """Momentum 0.9 and batches of ten, in plain NumPy."""

    def fit(x: np.ndarray, y: np.ndarray, seed: int) -> tuple[Any, Any]:
        rng, sizes = np.random.default_rng(seed), (x.shape[1], width, width, 1)
        w = [np.float32(rng.normal(0, a**-0.5, (a, b))) for a, b in pairwise(sizes)]
        b = [np.zeros(size, np.float32) for size in sizes[1:]]
        before, speed = tree(w, b), [np.zeros_like(a) for a in (*w, *b)]

        def forward(x: np.ndarray) -> list[np.ndarray]:
            h = [x]
            for i in range(3):
                z = h[-1] @ w[i] + b[i]
                h.append(np.maximum(z, 0) if i < 2 else z)
            return h

        for _ in range(2000):
            for batch in np.split(rng.permutation(n), range(10, n, 10)):
                h = forward(x[batch])
                delta = [(h[3] - y[batch]) / len(batch)]
                for i in (2, 1):
                    delta.insert(0, (delta[0] @ w[i].T) * (h[i] > 0))
                gradients = [*(h[i].T @ delta[i] for i in range(3)), *(d.sum(0) for d in delta)]
                for theta, v, gradient in zip((*w, *b), speed, gradients):
                    v *= 0.9
                    v += gradient
                    theta -= np.float32(rate) * v
            if 0.5 * np.mean((forward(x)[3] - y) ** 2) < 1e-5:
                return before, tree(w, b)
        raise ReconError("NumPy's descent did not reach a loss of 1e-5 in 2000 epochs: raise its rate.")

    return foreign(seed, n, fit, f"NumPy sgd, momentum 0.9, rate {rate:g}, batches of 10")


def null(seed: int, n: int, width: int, *, kind: str) -> Instance:
    """A first layer's change that no images made: random of the right rank and size, or its hidden units permuted."""
    true, rng = standard(seed, n, width, dynamics=Linearised()), np.random.default_rng(seed)
    first = true.before["Dense_0"]
    change = np.vstack([true.after["Dense_0"][k] - first[k] for k in ("kernel", "bias")])
    if kind == "random":
        made = rng.standard_normal((len(change), n)) @ rng.standard_normal((n, width))
        change = made * change.std() / made.std()
    else:
        change = change[:, rng.permutation(width)]
    moved = {"kernel": first["kernel"] + change[:-1], "bias": first["bias"] + change[-1]}
    facts = {**true.facts, "rule": f"null: {kind}"}
    return replace(true, after={**true.after, "Dense_0": moved}, facts=facts)
