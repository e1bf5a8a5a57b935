"""Networks on which a certificate may lie: ordinary training that leaves what the exact attack takes for granted.

The attack reads an image's size off the bias's change, and takes the images for fixed. Each kind here breaks one of
these, or comes near to it, and `plain` is the control. All are trained by one descent, full batch, in float64, of the
network itself or of its Taylor model around the initial weights. Beside them stand this package's own training rules,
and networks whose first layer is a patch embedding.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np

from recon.cells.instances import Instance
from recon.dynamics import GradientFlow, Linearised, train
from recon.networks import MLP, Network
from recon.networks.conv import CNN
from recon.tasks import TaskData

SIDES = {1: 14, 3: 16}  # pixels of a patch, by number of channels: of 28 × 28 and of 32 × 32 ones
SHIFT = 4  # pixels that digits are moved, so that they share blank patches
RATE = 0.5  # of 1/L, L the largest eigenvalue of the tangent kernel over the number of images
SIMILAR = 0.05  # standard deviation of what similar images differ by
MIXUP = 0.4  # of the beta distribution of shares, as its authors use it
FAINT = 0.02  # of their size that faint images have
View = Callable[[np.ndarray, np.random.Generator], np.ndarray]
Weights = list[np.ndarray]  # kernel, bias, kernel, ..., a bias of zeros where there is none


@dataclass(frozen=True)
class Kind:
    """A way of training.

    Attributes:
      name: in tables.
      network: what is trained, of the given widths.
      decay: of kernels and of biases, the weight decay a step adds to their gradients.
      bias_rate: of the biases, as a multiple of the kernels'.
      view: what a step sees of the images.
      images: what is done to images and targets before training.
      raw: pixels are in [0, 1], without their mean.
      box: what the attacker takes for the box, of what it is.
      loss: where training stops.
      steps: at most.
    """

    name: str
    network: Callable[..., MLP] = MLP
    decay: tuple[float, float] = (0.0, 0.0)
    bias_rate: float = 1.0
    view: View | None = None
    images: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]] | None = None
    raw: bool = False
    box: Callable[[np.ndarray], np.ndarray] | None = None
    loss: float = 1e-7
    steps: int = 3000


def noise(sigma: float) -> View:
    """White noise, anew at each step."""
    return lambda x, rng: x + sigma * rng.standard_normal(x.shape)


def contrast(share: float) -> View:
    """Each image at another contrast, anew at each step."""
    return lambda x, rng: x * (1 + share * rng.standard_normal((len(x), 1)))


def flips(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Left and right swapped in half of the images, of square pictures."""
    channels = 3 if x.shape[1] % 3 == 0 else 1
    side = round((x.shape[1] / channels) ** 0.5)
    turned = x.reshape(len(x), side, side, channels)[:, :, ::-1].reshape(x.shape)
    return np.where(rng.random((len(x), 1)) < 0.5, turned, x)


def second_contrast(factor: float) -> Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """The last image is the first at another contrast, of the same label."""
    return lambda x, y: (np.vstack([x[:-1], factor * x[:1]]), np.vstack([y[:-1], y[:1]]))


def near_duplicate(distance: float) -> Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """The last image is the first but for noise of an L2 norm, of the opposite label."""

    def made(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        off = np.random.default_rng(0).standard_normal(x.shape[1])
        twin = x[:1] + distance * off / np.linalg.norm(off)
        return np.vstack([x[:-1], twin]), np.vstack([y[:-1], -y[:1]])

    return made


def duplicates(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The last image is the first, of the opposite label."""
    return np.vstack([x[:-1], x[:1]]), np.vstack([y[:-1], -y[:1]])


def similar(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The second half are the first half's images, with noise of their own in each pixel."""
    half = len(x) // 2
    noisy = x[:half] + SIMILAR * np.random.default_rng(0).standard_normal(x[:half].shape)
    return np.vstack([x[: len(x) - half], noisy]), y


def mixup(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each image has a share of the next one in it, and of its label, the same in every step."""
    share = np.random.default_rng(0).beta(MIXUP, MIXUP, (len(x), 1))
    return share * x + (1 - share) * np.roll(x, 1, 0), share * y + (1 - share) * np.roll(y, 1, 0)


def faint(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two images are shrunk towards zero."""
    return np.vstack([FAINT * x[:2], x[2:]]), y


def no_bias(widths: Sequence[int], **options: Any) -> MLP:
    """A network without biases."""
    return MLP(tuple(widths), bias=False, **options)


def ntk(b_std: float) -> Callable[..., MLP]:
    """A network in NTK parametrisation, its biases scaled by `b_std`."""
    return lambda widths, **options: MLP(tuple(widths), parametrisation="ntk", b_std=b_std, **options)


KINDS = (
    Kind("plain"),
    Kind("no biases, raw pixels", no_bias, raw=True),
    Kind("no biases, centred", no_bias),
    Kind("NTK parametrisation, b 0.1", ntk(0.1)),
    Kind("NTK parametrisation, b 1", ntk(1.0), steps=800),
    Kind("biases at twice the rate", bias_rate=2.0),
    Kind("biases at a tenth of the rate", bias_rate=0.1),
    Kind("frozen biases", bias_rate=0.0),
    Kind("decay 1e-3 on kernels", decay=(1e-3, 0.0), loss=1e-5),
    Kind("decay 1e-2 on kernels", decay=(1e-2, 0.0), loss=1e-5),
    Kind("decay 1e-3 on all", decay=(1e-3, 1e-3), loss=1e-5),
    Kind("contrast jitter 10 %", view=contrast(0.1), steps=1000),
    Kind("one image at contrasts 1, 0.5", images=second_contrast(0.5)),
    Kind("one image at contrasts 1, 0.8", images=second_contrast(0.8)),
    Kind("noise 0.01 a step", view=noise(0.01), steps=1000),
    Kind("noise 0.03 a step", view=noise(0.03), steps=1000),
    Kind("near duplicate, other label", images=near_duplicate(0.01), steps=1500),
    Kind("flips", view=flips, steps=1000),
    Kind("one image at two labels", images=duplicates, steps=1500),
    Kind("similar images", images=similar, steps=1500),
    Kind("mixup", images=mixup, loss=1e-5),
    Kind("faint images", images=faint),
    Kind("box of a std half as large", box=lambda side: 2 * side),
    Kind("box of another mean", box=lambda side: side - 0.05),
)
SHORT = "300 steps"  # of the same descent, whatever the loss
BY_NAME = {kind.name: kind for kind in (*KINDS, Kind(SHORT, loss=0.0, steps=300))}
# What this package's own rules train: a plain network, or one that cuts an image into patches.
PLAIN, PATCHES, SHARED = "closed form or flow", "patches", "patches, shared blank"
OWN = (PLAIN, PATCHES, SHARED)


def forward(
    weights: Weights, scales: Sequence[tuple[float, float]], x: np.ndarray
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """What goes into each layer and comes out of the last; which units are active."""
    inputs, active = [x], []
    for i, (kernel, bias) in enumerate(scales):
        z = kernel * (inputs[-1] @ weights[2 * i]) + bias * weights[2 * i + 1]
        if i < len(scales) - 1:
            active.append(z > 0)
            z = np.where(z > 0, z, 0.0)
        inputs.append(z)
    return inputs, active


def backward(
    weights: Weights, scales: Sequence[tuple[float, float]], inputs: Weights, active: Weights, delta: np.ndarray
) -> Weights:
    """Gradients of Σ delta·f, shaped like the weights, by image where `delta` is of one output and one image a row."""
    found: Weights = []
    for i in reversed(range(len(scales))):
        kernel, bias = scales[i]
        found = [kernel * inputs[i].T @ delta, bias * delta.sum(0), *found]
        if i:
            delta = kernel * (delta @ weights[2 * i].T) * active[i - 1]
    return found


def tangent(
    start: Weights, change: Weights, scales: Sequence[tuple[float, float]], inputs: Weights, active: Weights
) -> np.ndarray:
    """Outputs of the Taylor model around `start`, less those at `start`."""
    moved = np.zeros_like(inputs[0])
    for i, (kernel, bias) in enumerate(scales):
        moved = kernel * (moved @ start[2 * i] + inputs[i] @ change[2 * i]) + bias * change[2 * i + 1]
        if i < len(scales) - 1:
            moved = moved * active[i]
    return moved


def largest_rate(weights: Weights, scales: Sequence[tuple[float, float]], x: np.ndarray) -> float:
    """1/L with L the largest eigenvalue of the tangent kernel over N, by images' own gradients."""
    inputs, active = forward(weights, scales, x)
    kernel, delta = np.zeros((len(x), len(x))), np.ones((len(x), 1))
    for i in reversed(range(len(scales))):
        k, b = scales[i]
        kernel += (k**2 * inputs[i] @ inputs[i].T + b**2) * (delta @ delta.T)
        if i:
            delta = k * (delta @ weights[2 * i].T) * active[i - 1]
    return float(len(x) / np.linalg.eigvalsh(kernel)[-1])


def descend(
    kind: Kind, network: MLP, before: Weights, x: np.ndarray, y: np.ndarray, linearised: bool, seed: int
) -> tuple[Weights, float]:
    """Weights after training, and the loss."""
    rng = np.random.default_rng(seed)
    scales = [network.scales(kernel.shape[0]) for kernel in before[::2]]
    if not network.bias:
        scales = [(k, 0.0) for k, _ in scales]
    start, now = before, [w.copy() for w in before]
    rate = RATE * largest_rate(before, scales, x)
    loss = np.inf
    for _ in range(kind.steps):
        seen = x if kind.view is None else kind.view(x, rng)
        at = start if linearised else now
        inputs, active = forward(at, scales, seen)
        outputs = inputs[-1]
        if linearised:
            outputs = outputs + tangent(start, [a - b for a, b in zip(now, start)], scales, inputs, active)
        gradients = backward(at, scales, inputs, active, (outputs - y) / len(x))
        for i, gradient in enumerate(gradients):
            decay = kind.decay[i % 2]
            now[i] -= rate * (kind.bias_rate if i % 2 else 1.0) * (gradient + decay * now[i])
        loss = float(0.5 * np.mean((outputs - y) ** 2))
        if loss < kind.loss:
            break
    return now, loss


def as_tree(weights: Weights, bias: bool = True) -> dict[str, dict[str, np.ndarray]]:
    """Weights as this package's parameters, in float32."""
    pairs = zip(weights[::2], weights[1::2])
    return {
        f"Dense_{i}": {"kernel": k.astype(np.float32)} | ({"bias": b.astype(np.float32)} if bias else {})
        for i, (k, b) in enumerate(pairs)
    }


def make(kind: str, data: TaskData, widths: Sequence[int], linearised: bool, seed: int) -> Instance:
    """A network of a kind, by its name in `BY_NAME` or `OWN`."""
    if kind in OWN:
        return make_here(kind, data, widths, linearised, seed)
    return make_by_descent(BY_NAME[kind], data, widths, linearised, seed)


def make_by_descent(kind: Kind, data: TaskData, widths: Sequence[int], linearised: bool, seed: int) -> Instance:
    """A network that `descend` trains."""
    (x, held_out), y, box = rows(data), np.asarray(data.train.y, np.float64), data.box
    if kind.raw:
        mean = np.broadcast_to(data.mean, data.image_shape).ravel()
        x, held_out, box = x + mean, held_out + mean, (np.zeros(len(data.mean)), np.ones(len(data.mean)))
    if kind.images is not None:
        x, y = kind.images(x, y)
    if kind.box is not None:
        box = (kind.box(box[0]), kind.box(box[1]))
    network = replace(kind.network(tuple(widths)), outputs=data.outputs)
    params = jax.tree.map(np.asarray, network.init(jax.random.key(seed), x.shape[1]))
    layers = [params[f"Dense_{i}"] for i in range(len(widths) + 1)]
    before = [
        np.asarray(a, np.float64)
        for layer in layers
        for a in (layer["kernel"], layer.get("bias", np.zeros(layer["kernel"].shape[1])))
    ]
    after, loss = descend(kind, network, before, x, y, linearised, seed)
    weights = as_tree(before, network.bias), as_tree(after, network.bias)
    return Instance(*weights, x, held_out, {"loss": loss}, box, network=network)


def rows(data: TaskData) -> tuple[np.ndarray, np.ndarray]:
    """Training images and held-out ones, one a row."""
    x, held_out = (np.asarray(s.x.reshape(len(s), -1), np.float64) for s in (data.train, data.held_out))
    return x, held_out


def make_here(kind: str, data: TaskData, widths: Sequence[int], linearised: bool, seed: int) -> Instance:
    """A network that one of this package's rules trains."""
    x: np.ndarray = data.train.x
    network: Network = MLP(tuple(widths))
    if kind != PLAIN:
        network = CNN(tuple(widths), patch=SIDES[data.image_shape[2]])
    if kind == SHARED:
        corners = np.random.default_rng(seed).choice([-SHIFT, SHIFT], (len(x), 2))
        x = np.stack([np.roll(image, corner, (0, 1)) for image, corner in zip(x, corners)])
    before = jax.tree.map(np.asarray, network.init(jax.random.key(seed), data.image_shape))
    rule = Linearised() if linearised else GradientFlow(loss=1e-6, tol=1e-2)
    run = train(network, before, x, data.train.y, rule)
    flat, held_out = np.asarray(x.reshape(len(x), -1), np.float64), rows(data)[1]
    told = {"loss": run.final.loss}
    return Instance(run.initial.params, run.final.params, flat, held_out, told, data.box, network=network)
