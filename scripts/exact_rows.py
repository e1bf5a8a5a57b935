"""The instances that `exact_bars.py` measures the exact solver on, and the bars that they have to meet."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from itertools import cycle, pairwise, product
from typing import Any

import jax
import numpy as np

from recon.dynamics import Descent, Dynamics, GradientFlow, Linearised, train
from recon.errors import ReconError
from recon.networks import MLP
from recon.records import code_version
from recon.tasks import TaskData, load_task

MNIST, CIFAR10, DIGITS = "mnist_odd_even", "cifar10_animal_vehicle", "mnist_10way"
FEATURES = 512
POOL_SECONDS = 20.0  # limit of each run of the certificate's pool
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
            ("recon.dynamics", "recon.metrics", f"recon.attacks.{self.attack.replace('-', '_')}", *tasks)
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
