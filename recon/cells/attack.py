"""Train a network, attack it, score what comes back: the cell that most figures are made of."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import jax
import numpy as np
from jaxtyping import Float, PRNGKeyArray

from recon.arrays import enable_x64
from recon.attacks import Reconstruction, reconstruct, with_options
from recon.cells.base import NEAR, Cell, by_name
from recon.dynamics import Dynamics, Trained, outputs, train
from recon.dynamics.base import HostParams
from recon.kernels import compiled_ntk, kernel_distance
from recon.memory import peak_memory
from recon.metrics import Score, distances, greedy, score, share_right
from recon.networks import Network
from recon.progress import Report, silent
from recon.records import Stored
from recon.registry import module_of
from recon.tasks import TaskData

TEST_IMAGES = 1000  # of the test split, for the accuracy of the attacked network
Variant = TypeVar("Variant", bound="AttackVariant")
Images = Float[np.ndarray, "m *shape"]


@dataclass(frozen=True)
class AttackCell(Cell):
    """One network to train and to attack; subclasses have a kind of their own.

    Attributes:
      network: architecture; its number of outputs is set by the task.
      dynamics: training rule.
      attack: name of the attack.
      options: settings of the attack that differ from its own.
      m_ratio: reconstructions per training image; below 1, not every image can have one.
    """

    kind: ClassVar[str] = "attack"
    n_test = TEST_IMAGES

    task: str
    n_train: int
    network: Network
    dynamics: Dynamics
    attack: str
    options: tuple[tuple[str, Any], ...] = ()
    m_ratio: int | float = 2
    seed: int = 0

    @property
    def linearised(self) -> bool:
        """Whether the Taylor model is trained."""
        return self.dynamics.linearised

    @property
    def m(self) -> int:
        """Number of images that the attack looks for."""
        return max(1, round(self.m_ratio * self.n_train))

    @property
    def title(self) -> str:
        """For progress bars."""
        kind, units = "linearised" if self.linearised else "standard", self.network.activation
        width = f"W={self.network.widths[0]}{'' if units == 'relu' else f' {units}'}"
        return f"{self.task} N={self.n_train} {width} {kind} {self.attack} seed {self.seed}"

    @property
    def slug(self) -> str:
        """For file names."""
        return self.title.replace("=", "").replace(":", "").replace(" ", "-").lower()

    def settings(self) -> dict[str, Any]:
        """With the network, the training rule and the attack by name."""
        own = {"network": by_name(self.network, "architecture"), "dynamics": by_name(self.dynamics)}
        return super().settings() | own

    def check(self) -> None:
        """Look up the attack and its options.

        Raises:
          ReconError: there is no such attack, it has no such option, or is not for such a network.
        """
        attack, _ = with_options(self.attack, dict(self.options))
        attack.check(self.network)

    @property
    def modules(self) -> tuple[str, ...]:
        """With those of the attack, the network and the training rule."""
        attack = module_of("recon.attacks", "ATTACK", self.attack)
        own = __name__, attack, type(self.network).__module__, type(self.dynamics).__module__
        return tuple(dict.fromkeys((*super().modules, *own)))

    def compute(self, data: TaskData, report: Report = silent) -> Stored:
        """Train, attack, score; the arrays are what pictures are drawn from."""
        return attack_and_score(self, data, *train_network(self, data, report), report)


@dataclass(frozen=True)
class AttackVariant(Cell):
    """An attack cell, and what a subclass adds to it; what the subclass does not say is the attack cell's.

    Attributes:
      base: the task, the network, its training rule and the attack.
    """

    base: AttackCell

    def settings(self) -> dict[str, Any]:
        """The attacked cell's as plain values, the kind, and what the subclass adds."""
        own = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "base"}
        return {**self.base.settings(), "kind": self.kind, **own}

    def with_seed(self: Variant, seed: int) -> Variant:
        """The same setting on another draw."""
        return dataclasses.replace(self, base=self.base.with_seed(seed))

    def check(self) -> None:
        """As the attacked cell."""
        self.base.check()

    @property
    def modules(self) -> tuple[str, ...]:
        """What its numbers depend on."""
        return type(self).__module__, *self.base.modules

    @property
    def draw(self) -> tuple[Any, ...]:
        """Cells of equal draws load the same images."""
        return self.base.draw

    def load(self, **where: Any) -> TaskData:
        """The attacked cell's images; `where` as in `recon.data.load_images`."""
        return self.base.load(**where)


def attack_and_score(
    cell: AttackCell,
    data: TaskData,
    network: Network,
    trained: Trained,
    key: PRNGKeyArray,
    report: Report = silent,
    start: Images | None = None,
) -> Stored:
    """Attack the final state of a training run, as `run_attack`, and score what comes back, as `score_attack`."""
    return score_attack(cell, data, network, trained, *run_attack(cell, data, network, trained, key, report, start))


def run_attack(
    cell: AttackCell,
    data: TaskData,
    network: Network,
    trained: Trained,
    key: PRNGKeyArray,
    report: Report = silent,
    start: Images | None = None,
) -> tuple[Reconstruction, int | None]:
    """Attack the final state of a training run; with the memory that it took at its peak.

    Args:
      start: images that the attack starts from (None: its own).

    Raises:
      ReconError: the attack failed.
      KeyboardInterrupt: Ctrl-C.
    """
    with peak_memory() as peak:
        found = reconstruct(
            trained.initial.params,
            trained.final.params,
            attack=cell.attack,
            network=network,
            image_shape=data.image_shape,
            box=data.box,
            m=cell.m,
            linearised=cell.linearised,
            start=start,
            key=key,
            progress=lambda f, text: report(0.1 + 0.9 * f, f"attack: {text}"),
            **dict(cell.options),
        )
    if found.interrupted:
        raise KeyboardInterrupt
    return found, peak.bytes


def score_attack(
    cell: AttackCell, data: TaskData, network: Network, trained: Trained, found: Reconstruction, peak_bytes: int | None
) -> Stored:
    """An attack cell's record and arrays."""
    images = pad(found.images, found.start, cell.n_train)
    scores = with_controls(images, pad(found.start, found.start, cell.n_train), data)
    matched, way = scores["train"].matching, anytime(found, data)
    record = cell.record(
        data,
        training=training_record(network, trained, data),
        attack={
            "found": len(found.images),
            "certified": None if found.certified is None else int(found.certified.sum()),
            "n_estimated": found.n_estimated,
            "steps": found.steps,
            "why": found.why,
            "work": found.work,
            "peak_bytes": peak_bytes,
            "seconds": found.seconds,
            "trace": thin(found.trace),
            "anytime": way,
            "steps_to_half": steps_to(way, 0.5 * scores["start"].matching.distance.mean()),
        },
        scores=summaries(scores, data),
        images=per_image(scores, network, trained, data, found.certified),
    )
    arrays = {
        "train": data.train.x,
        "found": images[matched.index],
        "spare": np.delete(images, matched.index, axis=0),
        "start": found.start,
    }
    if found.duals is not None:
        arrays["duals"] = found.duals
    return Stored(record, arrays)


def with_controls(images: Images, start: Float[np.ndarray, "k *shape"], data: TaskData) -> dict[str, Score]:
    """Scores of reconstructions against training images and against held-out ones, and of the attack's start."""
    against = {"train": (data.train, images), "held_out": (data.held_out, images), "start": (data.train, start)}
    return {name: score(split.x, found, data.pixels) for name, (split, found) in against.items()}


def summaries(scores: Mapping[str, Score], data: TaskData) -> dict[str, dict[str, Any]]:
    """The scores for a record, with counts under the task's threshold if it has one."""
    thresholds = () if data.task.recognisable is None else (data.task.recognisable,)
    return {name: s.summary(thresholds) for name, s in scores.items()}


def initialise(cell: AttackCell, data: TaskData) -> tuple[Network, HostParams, PRNGKeyArray]:
    """The cell's network for its task, its initial weights, and the key of its attack."""
    network = dataclasses.replace(cell.network, outputs=data.outputs)
    k_init, k_attack = jax.random.split(jax.random.key(cell.seed))
    params0: HostParams = jax.tree.map(np.asarray, network.init(k_init, data.image_shape))
    return network, params0, k_attack


def train_network(
    cell: AttackCell, data: TaskData, report: Report = silent, rule: Dynamics | None = None
) -> tuple[Network, Trained, PRNGKeyArray]:
    """The cell's network, trained by its rule or another one, and the key of its attack.

    Raises:
      ReconError: training failed.
    """
    network, params0, key = initialise(cell, data)
    x, y = data.train.x, data.train.y
    told: Report = lambda f, text: report(0.1 * f, f"training: {text}")  # noqa: E731
    return network, train(network, params0, x, y, rule or cell.dynamics, told), key


def pad(images: np.ndarray, start: np.ndarray, n: int) -> np.ndarray:
    """Reconstructions, filled up to n with images of the attack's start where it found fewer.

    An image that was not found thus counts at its distance from the start.
    """
    missing = max(0, n - len(images))
    return np.concatenate([images, np.resize(start, (missing, *start.shape[1:]))])  # repeated where they are too few


def anytime(found: Reconstruction, data: TaskData) -> list[dict[str, Any]]:
    """The error along the attack: a row for each of its snapshots."""
    rows = []
    for s in found.snapshots:
        d = greedy(distances(data.train.x, pad(s.images, found.start, len(data.train.x)))).distance
        rows.append({"step": s.step, "seconds": s.seconds, "flops": s.flops, **closeness(d)})
    return rows


def closeness(distance: Float[np.ndarray, " n"]) -> dict[str, Any]:
    """Of distances by image the mean, and how many are near."""
    return {"mean": float(distance.mean()), "near": int((distance < NEAR).sum())}


def steps_to(way: Sequence[Mapping[str, Any]], error: float) -> float | None:
    """Steps until the mean error is at most `error`, linear between an attack's snapshots; None: never, or unknown."""
    before: Mapping[str, Any] | None = None
    for row in way:
        if row["mean"] <= error:
            if before is None:
                return float(row["step"])
            part = (before["mean"] - error) / (before["mean"] - row["mean"])
            return float(before["step"] + part * (row["step"] - before["step"]))
        before = row
    return None


def training_record(network: Network, trained: Trained, data: TaskData) -> dict[str, Any]:
    """What training did and reached."""
    return {
        "initial_loss": trained.initial.loss,
        "loss": trained.final.loss,
        "steps": trained.final.step,
        "time": trained.final.time if np.isfinite(trained.final.time) else None,
        "why": trained.why,
        "seconds": trained.seconds,
        "work": trained.work,
        "kernel_distance": kernel_change(network, trained, data.train.x),
        "test_accuracy": accuracy(network, trained, data),
        "trace": thin(trained.trace),
    }


def kernel_change(network: Network, trained: Trained, x: np.ndarray) -> float:
    """Kernel distance between θ₀ and θ_f on the training set; zero for a linearised model, whose kernel is fixed."""
    if trained.linearised:
        return 0.0
    with enable_x64():
        k0, k1 = (
            compiled_ntk(
                network, jax.tree.map(lambda a: np.asarray(a, np.float64), s.params), np.asarray(x, np.float64)
            )
            for s in (trained.initial, trained.final)
        )
        return float(kernel_distance(k0, k1))


def accuracy(network: Network, trained: Trained, data: TaskData) -> float | None:
    """Fraction of the test images classified correctly; None without a test split."""
    if not len(data.test):
        return None
    f = outputs(network, trained.initial.params, trained.final.params, data.test.x, trained.linearised)
    return share_right(f, data.test.y)


def per_image(
    scores: dict[str, Score], network: Network, trained: Trained, data: TaskData, certified: np.ndarray | None
) -> dict[str, Any]:
    """Columns with an entry for each training image (held-out image for `held_out`)."""
    index = scores["train"].matching.index
    params0 = trained.initial.params
    residual = outputs(network, params0, params0, data.train.x, linearised=False) - data.train.y
    return {
        "certified": None if certified is None else [i < len(certified) and bool(certified[i]) for i in index],
        "label": data.train.labels,
        "distance": scores["train"].matching.distance,
        "distance_nearest": scores["train"].nearest,
        "psnr_db": scores["train"].psnr,
        "ssim": scores["train"].ssim,
        "held_out": scores["held_out"].matching.distance,
        "start": scores["start"].matching.distance,
        "dual_norm": np.linalg.norm(trained.duals, axis=1),
        "loss_initial": 0.5 * np.sum(residual**2, axis=1),
        "loss_path": trained.loss_path,
        "to_class_mean": to_class_mean(data.train.x, data.train.y),
        "to_nearest": to_nearest(data.train.x),
    }


def to_class_mean(x: Float[np.ndarray, "n *shape"], y: Float[np.ndarray, "n c"]) -> Float[np.ndarray, " n"]:
    """L2 distance of each image to the mean of the images with its target."""
    flat = x.reshape(len(x), -1).astype(np.float64)
    _, group = np.unique(y, axis=0, return_inverse=True)
    means = np.stack([flat[group == g].mean(axis=0) for g in range(group.max() + 1)])
    return np.asarray(np.linalg.norm(flat - means[group], axis=1))


def to_nearest(x: Float[np.ndarray, "n *shape"]) -> Float[np.ndarray, " n"]:
    """L2 distance of each image to the nearest other one."""
    d = distances(x, x)
    np.fill_diagonal(d, np.inf)
    return np.asarray(d.min(axis=1))


def thin(trace: np.ndarray, most: int = 100) -> np.ndarray:
    """At most `most` rows of a trace, first and last among them."""
    if len(trace) <= most:
        return trace
    rows = np.linspace(0, len(trace) - 1, most).round().astype(int)
    return np.asarray(trace[np.unique(rows)])
