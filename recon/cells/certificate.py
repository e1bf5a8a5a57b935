"""Train one network, audit it with the box of its pixels and without, and see what the certificates are worth."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float
from scipy.spatial.distance import cdist

from recon.attacks import Reconstruction, reconstruct
from recon.auditing.activation import Activation
from recon.auditing.data import multiples_apart
from recon.auditing.run import Ran, one_stage, search
from recon.cells.base import Cell
from recon.cells.instances import Instance
from recon.cells.kinds import BY_NAME, OWN, PATCHES, SHARED, make
from recon.errors import ReconError
from recon.networks import MLP, from_params
from recon.progress import Report, silent
from recon.records import Stored
from recon.tasks import TaskData

SECONDS = 8.0  # of a search
Flat = Float[np.ndarray, "n d"]


@dataclass(frozen=True)
class CertificateCell(Cell):
    """One network to train and to audit twice: the box of its pixels is known, or is not.

    The audit's is the best of up to four searches; a patch embedding is attacked by `exact-patches`.

    Attributes:
      training: how the network is trained, see `recon.cells.kinds`.
      linearised: its Taylor model is trained.
      depth, width: hidden layers, and units of each.
    """

    kind: ClassVar[str] = "certificate"

    task: str
    n_train: int
    training: str
    linearised: bool
    depth: int = 2
    width: int = 128
    seed: int = 0

    @property
    def title(self) -> str:
        """For progress bars."""
        rule = "linearised" if self.linearised else "standard"
        return f"{self.task} N={self.n_train} {self.depth} x {self.width} {self.training}, {rule}, seed {self.seed}"

    def check(self) -> None:
        """Look up the kind of training."""
        if self.training not in (*BY_NAME, *OWN):
            raise ReconError(f"Unknown kind {self.training!r}: choose one of {', '.join((*BY_NAME, *OWN))}.")

    @property
    def modules(self) -> tuple[str, ...]:
        """With those of the attack and of the training rules."""
        attack = "recon.attacks.exact_patches" if self.patches else "recon.attacks.exact"
        return *super().modules, attack, "recon.dynamics.flow", "recon.dynamics.linearised"

    @property
    def patches(self) -> bool:
        """The first layer sees patches."""
        return self.training in (PATCHES, SHARED)

    def compute(self, data: TaskData, report: Report = silent) -> Stored:
        """Train, audit twice, measure: an entry of "runs" for each audit; "found" is with the box."""
        report(0.0, "training")
        instance = make(self.training, data, (self.width,) * self.depth, self.linearised, self.seed)
        audits = []
        for boxed in (True, False):
            report(0.3 if boxed else 0.65, f"attack {'with' if boxed else 'without'} the box")
            audits.append((boxed, self.attack(instance, data, boxed)))
        truth = instance.truth
        if self.training == "flips":  # the flipped images were trained on, too
            images = truth.reshape(-1, *data.image_shape)
            truth = np.vstack([truth, images[:, :, ::-1].reshape(truth.shape)])
        runs = [{"box": boxed, "searches": len(ran.attacks), **judge(ran.found, truth)} for boxed, ran in audits]
        found = flat(audits[0][1].found, truth.shape[1])
        record = self.record(
            data,
            training=dict(instance.training),
            attack={
                "found": sum(len(run["certified"]) for run in runs),
                "certified": sum(sum(run["certified"]) for run in runs),
                "n_estimated": runs[0]["n_estimated"],
            },
            scores={
                "train": {"mean": float(cdist(truth, found).min(1).mean()) if len(found) else None},
                "held_out": {"mean": float(cdist(instance.held_out, found).min(1).mean()) if len(found) else None},
            },
            runs=runs,
        )
        return Stored(record, {"train": truth, "found": found})

    def attack(self, instance: Instance, data: TaskData, boxed: bool) -> Ran:
        """The audit's attack."""
        common: dict[str, Any] = {
            "image_shape": data.image_shape,
            "box": instance.box if boxed else None,
            "linearised": self.linearised,
            "progress": False,
        }
        weights, m = (instance.before, instance.after), len(instance.truth)
        network = instance.network
        if not isinstance(network, MLP):
            common |= {"network": network, "m": m, "seconds": SECONDS}
            assert network is not None
            found = reconstruct(*weights, attack="exact-patches", **common)
            return one_stage("exact-patches", found, network, Activation(told=True))
        common |= {"network": from_params(weights[0]) if network.parametrisation == "standard" else network}
        return search(*weights, 2 * m, 0, SECONDS, {**common, "state": None, "gradient": None}, told=True)


def flat(found: Reconstruction, dim: int) -> Flat:
    """Reconstructions as rows."""
    return np.asarray(found.images.reshape(len(found.images), dim), np.float64)


def judge(found: Reconstruction, truth: Flat) -> dict[str, Any]:
    """What an audit vouches for, and how far each reconstruction is from its nearest training image."""
    x = flat(found, truth.shape[1])
    near = cdist(x, truth).min(1) if len(x) else np.zeros(0)
    assert found.certified is not None
    confidence = found.certified.astype(float) if found.confidence is None else found.confidence
    scaled = found.certified if found.up_to_scale is None else found.up_to_scale
    return {
        "why": found.why,
        "n_estimated": found.n_estimated,
        "doubts": list(found.doubts),
        "distance": np.round(near, 4).tolist(),
        "scaled_distance": np.round(best_multiples(x, truth), 4).tolist(),
        "certified": found.certified.tolist(),
        "up_to_scale": scaled.tolist(),
        "confidence": np.round(confidence, 4).tolist(),
    }


def best_multiples(found: Float[np.ndarray, "m d"], truth: Flat) -> Float[np.ndarray, " m"]:
    """L2 from the best multiple, above zero, of each reconstruction to its nearest training image."""
    return np.asarray(multiples_apart(truth, found).min(0))
