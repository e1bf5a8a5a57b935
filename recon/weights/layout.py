"""A network among arrays, once it is found: which array is which layer's, and how to bring it into Flax layout."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from recon.errors import ReconError
from recon.networks import from_params
from recon.weights.folding import Fold, folded, folded_sums
from recon.weights.folding import Tree as Tree
from recon.weights.names import natural

KERNELS = ("in-out", "out-in")  # as Flax, Keras and scikit-learn store them, and as PyTorch does
Pairs = list[tuple[str, str | None]]
"""A kernel and its bias, or none, for each layer."""


@dataclass(frozen=True)
class Layout:
    """Which arrays are the layers of a plain MLP.

    Attributes:
      layers: names of each layer's kernel and bias (None: it has none), from the input on.
      transposed: kernels are stored (out, in).
      left_out: other arrays beside them, such as an optimiser's state.
      folds: normalisations that `tree` folds into the layers, in this order.
      inputs: the one of the inputs, which it leaves out: what comes back are inputs behind it.
    """

    layers: tuple[tuple[str, str | None], ...]
    transposed: bool
    left_out: tuple[str, ...] = ()
    folds: tuple[Fold, ...] = ()
    inputs: Fold | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The arrays, layer by layer, kernel first."""
        return tuple(name for pair in self.layers for name in pair if name is not None)

    @property
    def normalisations(self) -> tuple[Fold, ...]:
        """All of them."""
        return (*(() if self.inputs is None else (self.inputs,)), *self.folds)

    @property
    def filled(self) -> tuple[str, ...]:
        """Kernels of the layers that have no bias where others have one: `tree` gives them one of zeros."""
        without = tuple(kernel for kernel, bias in self.layers if bias is None)
        return without if len(without) < len(self.layers) else ()

    def beside(self, arrays: Mapping[str, np.ndarray]) -> tuple[str, ...]:
        """Arrays, of more than a single number, that are none of the layers'."""
        own = {*self.names, *(name for fold in self.normalisations for _, name in fold.arrays)}
        others = {name for name, array in arrays.items() if array.ndim} - own
        return tuple(sorted(others, key=natural))

    def tree(self, arrays: Mapping[str, np.ndarray]) -> Tree:
        """The arrays in Flax layout, without normalisations; all layers have biases if one has."""
        made = self.plain(arrays)
        for fold in self.folds:
            made = folded(fold, arrays, made)
        return made

    def sums(self, values: Mapping[str, np.ndarray], sums: Mapping[str, np.ndarray]) -> Tree:
        """What training added to the weights of `tree`: a change, a gradient or an optimiser's state.

        Args:
          values: the weights.
          sums: what it added to each of them, under their names.
        """
        made = self.plain(sums)
        for fold in self.folds:
            made = folded_sums(fold, values, sums, made)
        return made

    def plain(self, arrays: Mapping[str, np.ndarray]) -> Tree:
        """The layers alone."""
        made: Tree = {}
        for i, (kernel, bias) in enumerate(self.layers):
            value = numbers(arrays, kernel)
            layer = made[f"Dense_{i}"] = {"kernel": value.T if self.transposed else value}
            if bias is not None:
                layer["bias"] = numbers(arrays, bias).reshape(-1)
            elif self.filled:
                layer["bias"] = np.zeros(layer["kernel"].shape[1], value.dtype)
        from_params(made)
        return made


def numbers(arrays: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    """One array, if it is of finite floating-point numbers."""
    value = arrays[name]
    if value.dtype.kind != "f":
        raise ReconError(f"{name} is of {value.dtype}: weights are floating-point numbers, save them as float32.")
    if not np.isfinite(value).all():
        raise ReconError(f"{name} holds values that are not finite: give weights from before training failed.")
    return value
