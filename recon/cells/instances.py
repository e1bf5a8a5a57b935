"""Networks that the exact recovery is measured on: how each is trained, and what an attack gets of it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Literal

import jax
import numpy as np
from jaxtyping import Float

from recon.dynamics import Dynamics, GradientFlow, Linearised, train
from recon.networks import MLP, Network
from recon.tasks import TaskData

FLOW = GradientFlow()
FEATURES = 512  # that a frozen extractor gives
FEATURE_IMAGES = 2000  # of the test split, which the extractor is made of

Images = Float[np.ndarray, "n *shape"]


@dataclass(frozen=True)
class Instance:
    """Weights before and after training, what the attack is told, and what it is judged by.

    Attributes:
      before, after: weights.
      truth, held_out: training images and as many others.
      training: for the record: the rule, what training took and reached.
      box, linearised, state: as `recon.reconstruct` takes them.
      relative: distances are divided by the norm of the training image.
      network: where it is not plain.
    """

    before: Any
    after: Any
    truth: Images
    held_out: Images
    training: Mapping[str, Any]
    box: tuple[Any, Any] | None = None
    linearised: bool = False
    state: Any = None
    relative: bool = False
    network: Network | None = None


class Setting(ABC):
    """How a network is trained: subclasses are frozen dataclasses.

    Attributes:
      test_images: number that it needs.
    """

    test_images: ClassVar[int] = 1

    @property
    def modules(self) -> tuple[str, ...]:
        """The modules that it runs."""
        return (type(self).__module__,)

    def check(self) -> None:  # noqa: B027  # most need nothing
        """Look for what it needs.

        Raises:
          ReconError: a library is not installed; how to install it.
        """

    @abstractmethod
    def instance(self, data: TaskData, seed: int) -> Instance:
        """Train the network of a seed on a task's images.

        Raises:
          ReconError: training failed.
        """


def plain(setting: Any) -> dict[str, Any]:
    """A setting as plain values: its name, and what differs from its defaults; training rules in a word."""
    words = {k: in_words(v) if hasattr(v, "linearised") else v for k, v in changed(setting).items()}
    return {"by": type(setting).__name__} | words


def in_words(rule: Dynamics) -> str:
    """A training rule with the settings that are not its defaults."""
    return f"{type(rule).__name__}({', '.join(f'{k}={v!r}' for k, v in changed(rule).items())})"


def changed(thing: Any) -> dict[str, Any]:
    """The values of a dataclass that are not its defaults."""
    return {f.name: v for f in fields(thing) if (v := getattr(thing, f.name)) != f.default}


@dataclass(frozen=True)
class Plain(Setting):
    """A plain network of this package, trained on a task's images.

    Attributes:
      width, depth: units of a hidden layer, and hidden layers.
      dynamics: training rule.
      bias, init_rule, activation: of the network.
      scale: factor of the initial weights.
      with_state: the attack is given the optimiser's state, not the weights' change.
      noise: standard deviation of what is added to every final weight.
      block: images are averaged over squares of so many pixels a side.
    """

    width: int
    dynamics: Dynamics = FLOW
    depth: int = 2
    bias: bool = True
    init_rule: str = "lecun"
    activation: str = "relu"
    scale: float = 1.0
    with_state: bool = False
    noise: float = 0.0
    block: int = 1

    @property
    def modules(self) -> tuple[str, ...]:
        """With the training rule's."""
        return *super().modules, type(self.dynamics).__module__

    def instance(self, data: TaskData, seed: int) -> Instance:
        """Train it."""
        return self.trained(data, seed, self.pooled)

    def pooled(self, x: Float[np.ndarray, "n h w c"]) -> Float[np.ndarray, "n u v c"]:
        """Images averaged over blocks."""
        if self.block == 1:
            return x
        n, h, w, c = x.shape
        b = self.block
        return np.asarray(x.reshape(n, h // b, b, w // b, b, c).mean((2, 4)))

    def trained(self, data: TaskData, seed: int, view: Callable[[Images], Images]) -> Instance:
        """The network trained on what `view` makes of the images."""
        x, held_out = view(data.train.x), view(data.held_out.x)
        options = {name: getattr(self, name) for name in ("bias", "init_rule", "activation")}
        network = MLP((self.width,) * self.depth, outputs=data.outputs, **options)
        before = network.init(jax.random.key(seed), int(np.prod(x.shape[1:])))
        before = jax.tree.map(lambda a: self.scale * np.asarray(a), before)
        run = train(network, before, x, data.train.y, self.dynamics)
        after = run.final.params
        if self.noise:
            rng = np.random.default_rng(seed)
            after = jax.tree.map(lambda a: a + self.noise * rng.standard_normal(a.shape), after)
        told = {
            "rule": in_words(self.dynamics),
            "loss": run.final.loss,
            "steps": run.final.step,
            "seconds": run.seconds,
        }
        state = run.state if self.with_state else None
        return Instance(run.initial.params, after, x, held_out, told, data.box, run.linearised, state, network=network)


@dataclass(frozen=True)
class Head(Setting):
    """A head on features of a frozen extractor that the test split made: no box, distances by the features' norm.

    Attributes:
      width: units of each of its two hidden layers.
      extractor: leading principal components, or one hidden ReLU layer of random weights.
    """

    width: int
    extractor: Literal["PCA", "random ReLU"]

    test_images: ClassVar[int] = FEATURE_IMAGES

    @property
    def modules(self) -> tuple[str, ...]:
        """With the training rule's."""
        return Plain(self.width).modules

    def instance(self, data: TaskData, seed: int) -> Instance:
        """Train it."""
        made = {"PCA": principal, "random ReLU": random_relu}[self.extractor]
        extract = made(data.test.x.reshape(len(data.test), -1), seed)

        def view(x: Images) -> Images:
            made: Images = extract(x.reshape(len(x), -1)).astype(np.float32)
            return made

        return replace(Plain(self.width).trained(data, seed, view), box=None, relative=True)


def random_relu(images: Float[np.ndarray, "n d"], seed: int) -> Callable[[np.ndarray], np.ndarray]:
    """One hidden layer of random weights."""
    dim = images.shape[1]
    weights = np.random.default_rng(seed).standard_normal((dim, FEATURES)) * np.sqrt(2 / dim)
    return lambda x: np.maximum(x @ weights, 0)


def principal(images: Float[np.ndarray, "n d"], seed: int) -> Callable[[np.ndarray], np.ndarray]:  # noqa: ARG001
    """Leading principal components."""
    mean = images.mean(0)
    _, _, axes = np.linalg.svd(images - mean, full_matrices=False)
    return lambda x: (x - mean) @ axes[:FEATURES].T


@dataclass(frozen=True)
class Null(Setting):
    """A first layer's change that no images made: nothing may be certified.

    Attributes:
      width: units of each of two hidden layers.
      change: random of the right rank and size, or the true one with its hidden units permuted.
    """

    width: int
    change: Literal["random", "permuted units"]

    @property
    def modules(self) -> tuple[str, ...]:
        """With the training rule's."""
        return Plain(self.width, Linearised()).modules

    def instance(self, data: TaskData, seed: int) -> Instance:
        """Train a network and replace its change."""
        true, rng = Plain(self.width, Linearised()).instance(data, seed), np.random.default_rng(seed)
        first = true.before["Dense_0"]
        change = np.vstack([true.after["Dense_0"][k] - first[k] for k in ("kernel", "bias")])
        if self.change == "random":
            n = len(true.truth)
            made = rng.standard_normal((len(change), n)) @ rng.standard_normal((n, self.width))
            change = made * change.std() / made.std()
        else:
            change = change[:, rng.permutation(self.width)]
        moved = {"kernel": first["kernel"] + change[:-1], "bias": first["bias"] + change[-1]}
        training = {**true.training, "rule": f"null: {self.change}"}
        return replace(true, after={**true.after, "Dense_0": moved}, training=training)
