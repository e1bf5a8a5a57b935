"""Normalisations in evaluation mode, which are affine, folded into the layers beside them.

Folding changes what an entry of a kernel means, and with it what training added to it: a sum of gradients with respect
to the new weights is not the change of these. So what training added, be it a change, a gradient or an optimiser's
state, is brought to the new weights by a rule of its own. By it the first kernel's part is still Σ_i x_i G_iᵀ, with
G_i the gradients with respect to the new pre-activations.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from recon.attacks.first_layer.observe import EPSILON, factors
from recon.errors import ReconError

Tree = dict[str, dict[str, np.ndarray]]
# By which steps in float32 may move a bias off what images make of it, in roundings: 0.4 to 111 were measured of
# kernels. Weight decay that matters moves it by more: see `recon.attacks.first_layer.observe.DECAYED`.
ROUNDINGS = 300.0
LEAST_DEVIATION = 1e-7  # what Keras's Normalization divides by at least; others' epsilon makes it more


@dataclass(frozen=True)
class Fold:
    """A normalisation y = scale·(x − mean)/√(variance + epsilon) + shift among the layers.

    Attributes:
      layer: number of the layer behind it, from 0.
      inside: it stands before the units of the layer before; else behind them.
      arrays: their names, by role: scale, shift, mean, variance.
      epsilon: as the program has it whose names these are.
    """

    layer: int
    inside: bool
    arrays: tuple[tuple[str, str], ...]
    epsilon: float

    @property
    def name(self) -> str:
        """One of its arrays."""
        return self.arrays[0][1]

    def affine(self, values: Mapping[str, np.ndarray]) -> tuple[Float[np.ndarray, " w"], Float[np.ndarray, " w"]]:
        """Gain and offset: y = gain·x + offset.

        Raises:
          ReconError: a gain is zero or none.
        """
        own = {role: np.asarray(values[name], np.float64).ravel() for role, name in self.arrays}
        deviation = np.maximum(np.sqrt(own["variance"] + self.epsilon), LEAST_DEVIATION)
        gain: np.ndarray = own.get("scale", 1.0) / deviation
        offset: np.ndarray = own.get("shift", 0.0) - own["mean"] * gain
        if not (gain.all() and np.isfinite(gain).all() and np.isfinite(offset).all()):
            raise ReconError(
                f"{self.name} is of a normalisation that turns units off or is not finite: remove these units in both "
                "files."
            )
        return gain, offset


def folded(fold: Fold, values: Mapping[str, np.ndarray], tree: Tree) -> Tree:
    """The weights of the same function without the normalisation.

    One before ReLU or leaky ReLU is divided among both sides: g·relu(z + offset/g) is relu(g·z + offset).
    """
    gain, offset = fold.affine(values)
    made = {name: {"bias": np.zeros(part["kernel"].shape[1]), **part} for name, part in tree.items()}
    behind = made[f"Dense_{fold.layer}"]
    kernel = behind["kernel"].astype(np.float64)
    if not fold.inside:
        return {
            **made,
            f"Dense_{fold.layer}": {"kernel": gain[:, None] * kernel, "bias": behind["bias"] + offset @ kernel},
        }
    size, sign = np.abs(gain), np.sign(gain)
    own = made[f"Dense_{fold.layer - 1}"]
    return {
        **made,
        f"Dense_{fold.layer - 1}": {"kernel": sign * own["kernel"], "bias": sign * own["bias"] + offset / size},
        f"Dense_{fold.layer}": {**behind, "kernel": size[:, None] * kernel},
    }


def folded_sums(fold: Fold, values: Mapping[str, np.ndarray], sums: Mapping[str, np.ndarray], tree: Tree) -> Tree:
    """What training added to the weights of `folded`, if biases, or shifts, were trained as their kernels were.

    Args:
      values: of the normalisation.
      sums: what training added to its arrays, where they are there.
      tree: what it added to the layers.

    Raises:
      ReconError: the layer behind a normalisation that is behind units has no trained bias. What training added to its
        kernel has a part of the normalisation's offset, which that bias alone tells.
    """
    gain, offset = fold.affine(values)
    made = {name: {"bias": np.zeros(part["kernel"].shape[1]), **part} for name, part in tree.items()}
    behind = made[f"Dense_{fold.layer}"]
    if not fold.inside:
        if behind["kernel"].any() and not behind["bias"].any():
            raise ReconError(
                f"{fold.name} is of a normalisation behind units, before a layer without a trained bias, which would "
                "tell what the normalisation's mean and shift have of that layer's change: train the layer with a bias."
            )
        kernel = (behind["kernel"] - np.outer(offset, behind["bias"])) / gain[:, None]
        return {**made, f"Dense_{fold.layer}": {**behind, "kernel": kernel}}
    size, sign = np.abs(gain), np.sign(gain)
    own = {name: sign * part for name, part in made[f"Dense_{fold.layer - 1}"].items()}
    shift = sums.get(dict(fold.arrays).get("shift", ""))
    if shift is not None and not own["bias"].any():
        own["bias"] = quiet(own["kernel"], size * np.ravel(shift), offset / size)
    return {
        **made,
        f"Dense_{fold.layer - 1}": own,
        f"Dense_{fold.layer}": {**behind, "kernel": behind["kernel"] / size[:, None]},
    }


def quiet(
    kernel: Float[np.ndarray, "d w"], bias: Float[np.ndarray, " w"], values: Float[np.ndarray, " w"]
) -> Float[np.ndarray, " w"]:
    """What training added to biases, without rounding where it is no more than that.

    A shift is many times larger than a kernel's entries, so that its rounding, in one row of the change, stands out as
    a direction of its own. But the images' part of it lies in the span of the kernel's rows.

    Args:
      kernel: what training added to the kernel.
      values: the biases.
    """
    v = factors(kernel).v
    inside = (bias @ v.T) @ v
    rounding = EPSILON * float(np.linalg.norm(values))
    made: np.ndarray = inside if np.linalg.norm(bias - inside) <= ROUNDINGS * rounding else bias
    return made
