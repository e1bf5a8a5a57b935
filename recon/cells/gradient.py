"""One gradient of a batch, or the weights after one step, attacked: the cell of the module `gradient-step`.

The network is d-W-C with ReLU and cross-entropy after a softmax. Gradients are computed by hand, in float64.
"""

import itertools
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import jax
import numpy as np
from jaxtyping import Float, Int

from recon.attacks import Reconstruction, reconstruct
from recon.attacks.base import Tree
from recon.cells.base import NEAR, Cell
from recon.cells.instances import Instance
from recon.cells.recovery import tally
from recon.data import fingerprint
from recon.data.samples import photographs
from recon.errors import ReconError
from recon.metrics import distances
from recon.networks import MLP
from recon.progress import Report, silent
from recon.records import Stored
from recon.tasks import Split, TaskData, tasks

PHOTOGRAPHS = "photographs"  # in a task's place: all in one batch
CLASSES = 10  # of the photographs, whose own are more than there are outputs
IN_GRADIENT = 1e-12  # of the largest dual weight: what is fainter counts as not in a gradient of float64
LARGE = 0.5  # standard deviation of the peers' initial kernels
SECONDS = 240.0  # of a search


@dataclass(frozen=True)
class GradientCell(Cell):
    """One batch's gradient, attacked.

    Attributes:
      batch: images of the draw that are in the batch, chosen by the seed.
      width: hidden units.
      weights: kernels drawn with a standard deviation of 0.5, as peers do, or by LeCun's rule; biases are zero.
      raw: pixels in [0, 1]; else less the mean of the draw.
      form: what the attacker has: the gradient in float64, or float32 weights before and after a step of rate one.
      noise: DP-SGD's noise multiplier: of the standard deviation of what is added to each entry of the summed gradient,
        in the norm of the batch's largest gradient, so that none is clipped.
    """

    kind: ClassVar[str] = "gradient"
    alone = True

    task: str
    n_train: int
    batch: int
    width: int = 1000
    weights: Literal["large", "lecun"] = "large"
    raw: bool = True
    form: Literal["gradient", "step"] = "gradient"
    noise: float = 0.0
    seed: int = 0

    @property
    def title(self) -> str:
        """For progress bars."""
        pixels = "raw" if self.raw else "centred"
        noise = f" noise {self.noise:g}" if self.noise else ""
        return f"{self.task} {self.batch}/{self.width} {self.weights} {pixels} {self.form}{noise} seed {self.seed}"

    def check(self) -> None:
        """A batch that the draw can fill."""
        if not 0 < self.batch <= self.n_train:
            raise ReconError(f"A draw of {self.n_train} images has no batch of {self.batch}: choose one of at most it.")

    @property
    def modules(self) -> tuple[str, ...]:
        """With those of the attack."""
        own = super().modules if self.task != PHOTOGRAPHS else (type(self).__module__,)
        return *own, "recon.attacks.exact"

    def load(self, **where: Any) -> TaskData:
        """The cell's images; of photographs all, and for a control the same in a mirror."""
        return photographic() if self.task == PHOTOGRAPHS else super().load(**where)

    def compute(self, data: TaskData, report: Report = silent) -> Stored:
        """Draw a network, compute the gradient, attack, count."""
        report(0.0, "gradient")
        batch = drawn(data, self)
        options: dict[str, Any] = {
            "attack": "exact",
            "image_shape": data.image_shape,
            "box": batch.instance.box,
            "m": 2 * self.batch,
            "seconds": SECONDS,
            "key": self.seed,
            "progress": lambda f, text: report(0.1 + 0.9 * f, f"attack: {text}"),
        }
        if self.form == "step":
            found = reconstruct(batch.instance.before, batch.instance.after, linearised=True, **options)
        else:
            found = reconstruct(batch.instance.before, gradient=batch.gradient, **options)
        if found.interrupted:
            raise KeyboardInterrupt
        scores, images, matched = tally(batch.instance, found)
        scores["train"] |= counted(batch, found, images)
        record = self.record(
            data,
            training={"rule": self.form, "noise": self.noise, "seconds": 0.0},
            attack={
                "found": len(found.images),
                "certified": 0 if found.certified is None else int(found.certified.sum()),
                "n_estimated": found.n_estimated,
                "absent": found.absent,
                "gap": found.work["gap"],
                "why": found.why,
                "starts": found.work["starts"],
                "seconds": found.seconds,
            },
            scores=scores,
            images={**images, "dual": batch.duals},
        )
        return Stored(record, {"train": batch.instance.truth, "found": matched})


@dataclass(frozen=True)
class Batch:
    """A batch and its gradient.

    Attributes:
      instance: weights, images and what the attacker is told.
      gradient: of the mean loss, float64.
      labels: classes.
      duals: lengths of the loss's derivatives with respect to the outputs, over the largest.
    """

    instance: Instance
    gradient: Tree
    labels: Int[np.ndarray, " n"]
    duals: Float[np.ndarray, " n"]


def photographic(side: int = 224) -> TaskData:
    """The package photographs as a draw."""
    pool = photographs(side)
    x = (pool.images / 255).astype(np.float32)
    labels = np.arange(len(x)) % CLASSES
    targets = np.eye(CLASSES, dtype=np.float32)[labels]

    def split(x: np.ndarray) -> Split:
        return Split(x, targets[: len(x)], labels[: len(x)], fingerprint(x, labels[: len(x)]))

    any_task = replace(tasks()["pictures"], name=PHOTOGRAPHS, title=f"photographs {side} × {side}")
    black, white = np.zeros(3, np.float32), np.ones(3, np.float32)
    mirrored = np.ascontiguousarray(x[:, :, ::-1])
    return TaskData(any_task, pool.source, split(x), split(mirrored), split(x[:0]), len(x), black, (black, white))


def drawn(data: TaskData, cell: GradientCell) -> Batch:
    """The batch, weights and gradient of a cell."""
    rng = np.random.default_rng(cell.seed)
    some = rng.permutation(len(data.train))[: cell.batch]
    shift = np.float64(data.mean) if cell.raw else 0.0
    x, held_out = (np.asarray(split.x, np.float64)[some] + shift for split in (data.train, data.held_out))
    if cell.raw:
        x, held_out = (np.rint(255 * images) / 255 for images in (x, held_out))
    outputs = data.train.y.shape[1]
    sizes = (int(np.prod(x.shape[1:])), cell.width, outputs)
    precision = np.float32 if cell.form == "step" else np.float64
    params: Tree = {}
    for i, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
        scale = LARGE if cell.weights == "large" else fan_in**-0.5
        kernel = (scale * rng.standard_normal((fan_in, fan_out))).astype(precision)
        params[f"Dense_{i}"] = {"kernel": kernel, "bias": np.zeros(fan_out, precision)}
    labels = data.train.y.argmax(1)[some]
    gradient, delta, norms = cross_entropy_gradient(params, x.reshape(len(x), -1), labels)
    if cell.noise:
        sigma = cell.noise * norms.max() / len(x)
        gradient = jax.tree.map(lambda g: g + sigma * rng.standard_normal(g.shape), gradient)
    after = jax.tree.map(lambda w, g: (w - g).astype(np.float32), params, gradient) if cell.form == "step" else None
    box = (0.0, 1.0) if cell.raw else data.box
    told = {"rule": cell.form}
    instance = Instance(params, after, x, held_out, told, box, True, network=MLP((cell.width,), outputs=outputs))
    sizes_of = np.linalg.norm(delta, axis=1)
    return Batch(instance, gradient, labels, sizes_of / sizes_of.max())


def cross_entropy_gradient(
    params: Tree, x: Float[np.ndarray, "n d"], labels: Int[np.ndarray, " n"]
) -> tuple[Tree, Float[np.ndarray, "n c"], Float[np.ndarray, " n"]]:
    """Gradient of the mean cross-entropy after a softmax, of one hidden layer with ReLU, in float64.

    Returns:
      It; the loss's derivative with respect to each image's outputs, right to rounding however small; and the norm of
      each image's own gradient.
    """
    (w1, b1), (w2, b2) = ((np.float64(layer["kernel"]), np.float64(layer["bias"])) for layer in params.values())
    z = x @ w1 + b1
    h = np.maximum(z, 0)
    logits = h @ w2 + b2
    delta = np.exp(logits - logits.max(1, keepdims=True))
    delta /= delta.sum(1, keepdims=True)
    own = np.arange(len(x)), labels
    delta[own] = 0
    delta[own] = -delta.sum(1)
    back = (delta @ w2.T) * (z > 0)
    squares = (back**2).sum(1) * ((x**2).sum(1) + 1) + (delta**2).sum(1) * ((h**2).sum(1) + 1)
    n = len(x)
    made = {
        "Dense_0": {"kernel": x.T @ back / n, "bias": back.sum(0) / n},
        "Dense_1": {"kernel": h.T @ delta / n, "bias": delta.sum(0) / n},
    }
    return made, delta, np.sqrt(squares)


def counted(batch: Batch, found: Reconstruction, images: dict[str, Any]) -> dict[str, Any]:
    """What is in the gradient, how much of that came back, false certificates, and labels."""
    truth = batch.instance.truth.reshape(len(batch.duals), -1)
    inside = batch.duals > IN_GRADIENT
    near = images["distance"] < NEAR
    made = found.images.reshape(len(found.images), truth.shape[1])
    apart = distances(made, truth) if len(made) else np.zeros((0, len(truth)))
    right = apart.min(1, initial=np.inf) < NEAR
    told = np.zeros(0, bool) if found.labels is None else found.labels >= 0
    labels = batch.labels[apart.argmin(1)] if len(made) else np.zeros(0, int)
    return {
        "inside": int(inside.sum()),
        "inside_within": int((inside & near).sum()),
        "false": int(np.sum(found.certified & ~right)),
        "labels_told": int(told.sum()),
        "labels_right": int((told & (found.labels == labels)).sum()) if told.any() else 0,
    }
