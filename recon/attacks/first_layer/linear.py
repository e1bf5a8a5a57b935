"""Linear algebra of the search, for a batch of starts at once: null vectors, half-space labels, logistic regression.

All arrays carry the batch first. The precision is that of the arguments: float32 in the search, float64 to finish.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy import linalg

from recon.attacks.first_layer.flops import product

TINY = 1e-30
# Chosen while building.
LOGIT = 3.0  # that a label stands for in the least-squares fit which a regression starts from
RIDGE = 1e-9  # of that fit, in the mean eigenvalue of the Gram matrix
WIDER = 1.0001  # at least so much is the variance of active units' entries above that of the others'


def normalised(rows: Float[np.ndarray, "b n"]) -> Float[np.ndarray, "b n"]:
    """Rows scaled to unit length."""
    unit: np.ndarray = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), TINY)
    return unit


def null_vectors(
    v: Float[np.ndarray, "n w"], weight: Float[np.ndarray, "b w"], start: Float[np.ndarray, "b n"], steps: int
) -> Float[np.ndarray, "b n"]:
    """Unit q of least Σ_k weight_k (q·v_k)², weights in [0, 1].

    The rows of `v` are orthonormal, so that the smallest eigenvector of V diag(w) Vᵀ is the largest of
    V diag(1 − w) Vᵀ: Lanczos steps with full re-orthogonalisation find it, without a matrix for each start.

    Args:
      start: where Lanczos starts, any length but zero.
      steps: dimension of the Krylov space.
    """
    keep = 1 - weight
    batch, n = start.shape
    steps = min(steps, n)
    basis = np.empty((batch, steps, n), v.dtype)
    small = np.zeros((batch, steps, steps), v.dtype)
    q = normalised(start)
    for i in range(steps):
        basis[:, i] = q
        image = product(product(q, v) * keep, v.T)
        known = basis[:, : i + 1]
        for _ in range(2):  # twice is enough to stay orthogonal to rounding
            overlap = product(known, image[:, :, None])
            image = image - product(overlap.transpose(0, 2, 1), known)[:, 0]
            small[:, i, : i + 1] += overlap[:, :, 0]
        q = normalised(image)
    _, vectors = np.linalg.eigh(small)  # reads the lower triangle
    found: np.ndarray = product(vectors[:, None, :, -1], basis)[:, 0]
    return normalised(found)


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1/(1 + e^(−x)), without overflow."""
    value: np.ndarray = 0.5 * (1 + np.tanh(0.5 * x))
    return value


@dataclass(frozen=True)
class Logistic:
    """Ridge logistic regression with a fixed bound in the Hessian's place, so that a step is two matrix products.

    Attributes:
      p: one row of regressors for each unit.
      pinv: its pseudo-inverse, transposed, for the start.
      step: (PᵀP/4 + λ)⁻¹.
      ridge: λ.
    """

    p: Float[np.ndarray, "w n"]
    pinv: Float[np.ndarray, "w n"]
    step: Float[np.ndarray, "n n"]
    ridge: float

    def fit(self, labels: Float[np.ndarray, "b w"], steps: int) -> Float[np.ndarray, "b n"]:
        """Coefficients c with σ(P c) near the labels, by `steps` Nesterov steps from the least-squares fit."""
        c = product(LOGIT * (2 * labels - 1), self.pinv)
        y = c
        for i in range(steps):
            slope = product(sigmoid(product(y, self.p.T)) - labels, self.p) + self.ridge * y
            new = y - product(slope, self.step)
            y = new + (i / (i + 3)) * (new - c)
            c = new
        return c

    def shift(
        self, labels: Float[np.ndarray, "b w"], offset: Float[np.ndarray, "b w"], steps: int
    ) -> Float[np.ndarray, "b n"]:
        """Coefficients to add to logits `offset` that are nearly right already."""
        c: np.ndarray = np.zeros((len(labels), self.p.shape[1]), self.p.dtype)
        y = c
        for i in range(steps):
            slope = product(sigmoid(offset + product(y, self.p.T)) - labels, self.p)
            new = y - product(slope, self.step)
            y = new + (i / (i + 3)) * (new - c)
            c = new
        return c


def logistic(p: Float[np.ndarray, "w n"], ridge: float) -> Logistic:
    """Regression on the rows of `p`, `ridge` as a fraction of the mean eigenvalue of PᵀP/4."""
    gram = np.asarray(product(p.T, p), np.float64)
    n = len(gram)
    lam = ridge * float(np.trace(gram)) / (4 * n)
    inverse = linalg.inv(gram + RIDGE * np.trace(gram) / n * np.eye(n))
    step = linalg.inv(gram / 4 + lam * np.eye(n))
    return Logistic(p, product(p, inverse).astype(p.dtype), step.astype(p.dtype), lam)


def masked_mean(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Mean of the values under the mask, by row, as a column."""
    total: np.ndarray = np.einsum("bw,bw->b", values, mask, dtype=values.dtype) / np.maximum(mask.sum(1), 1)
    return total[:, None]


def active_probability(g: Float[np.ndarray, "b w"], inactive: Bool[np.ndarray, "b w"]) -> Float[np.ndarray, "b w"]:
    """Probability that a unit was active, from the size of its entry: two zero-mean Gaussians, mixed evenly.

    Args:
      g: entries.
      inactive: the units that are taken for inactive now; they give the narrow Gaussian's width.
    """
    square = g * g
    mask = inactive.astype(g.dtype)
    narrow = masked_mean(square, mask) + TINY
    wide = np.maximum(masked_mean(square, 1 - mask), WIDER * narrow)
    odds = 0.5 * (np.log(narrow / wide) + square * (1 / narrow - 1 / wide))
    return sigmoid(odds)
