"""The fully connected network of the paper: any depth, standard or NTK parametrisation, plain parameter trees."""

import itertools
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PRNGKeyArray

from recon.arrays import Tensor
from recon.errors import ReconError
from recon.networks.activations import Activation
from recon.networks.base import Network, Params
from recon.networks.products import times, times_transposed

"""Flax layout: {'Dense_0': {'kernel': (in, out), 'bias': (out,)}, ...}; a network without biases has no 'bias'."""

INITIALISERS = {
    "lecun": jax.nn.initializers.lecun_normal(),
    "he": jax.nn.initializers.he_normal(),
    "glorot": jax.nn.initializers.glorot_uniform(),
    # U(−1/√in, 1/√in), biases too: the default of PyTorch's linear layer.
    "uniform": jax.nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform"),
}


class Layers(NamedTuple):
    """Inputs and output gradients of every layer; layer l's parameter gradient is their outer product.

    Attributes:
      inputs: for each layer, what goes into it, (n, fan_in).
      deltas: for each layer, the gradient of an output (or of a weighted sum of outputs) with respect to its
        pre-activation, (n, outputs, fan_out), or (n, fan_out) for a weighted sum.
      outputs: the network's outputs, (n, outputs).
    """

    inputs: list[Any]
    deltas: list[Any]
    outputs: Tensor


@dataclass(frozen=True)
class MLP(Network):
    """A multi-layer perceptron with one hidden layer of each of `widths`.

    Attributes:
      widths: hidden layer widths.
      outputs: number of outputs.
      bias: whether layers have biases (zero at initialisation in the standard parametrisation, but for "uniform").
      parametrisation: "standard" (kernels drawn by `init`, used as they are) or "ntk" (kernels and biases drawn from
        N(0, 1), scaled by w_std/√fan_in and b_std when applied; Jacot et al. 2018).
      init: "lecun" (the paper's), "he", "glorot" or "uniform"; standard parametrisation only.
      w_std, b_std: NTK parametrisation only.
    """

    bias: bool = True
    parametrisation: Literal["standard", "ntk"] = "standard"
    init_rule: str = "lecun"
    w_std: float = 1.0
    b_std: float = 0.0

    def init(self, key: PRNGKeyArray, shape: int | tuple[int, ...]) -> dict[str, dict[str, Any]]:
        """Initial parameters, float32 (float64 under `jax.enable_x64`), for images of `shape` (or so many numbers).

        Raises:
          ReconError: unknown initialiser or a width below one.
        """
        if self.init_rule not in INITIALISERS:
            raise ReconError(f"Unknown initialiser {self.init_rule!r}: choose one of {', '.join(INITIALISERS)}.")
        dims = (shape if isinstance(shape, int) else math.prod(shape), *self.widths, self.outputs)
        if min(dims) < 1:
            raise ReconError(f"Layer sizes {dims} are not all positive: choose widths of at least 1.")
        standard = self.parametrisation == "standard"
        params: dict[str, dict[str, Any]] = {}
        for i, (fan_in, fan_out) in enumerate(itertools.pairwise(dims)):
            key, k_kernel, k_bias = jax.random.split(key, 3)
            draw = INITIALISERS[self.init_rule] if standard else jax.random.normal
            layer: dict[str, Any] = {"kernel": draw(k_kernel, (fan_in, fan_out))}
            if self.bias:
                layer["bias"] = self._biases(k_bias, fan_in, fan_out)
            params[f"Dense_{i}"] = layer
        return params

    def _biases(self, key: PRNGKeyArray, fan_in: int, fan_out: int) -> Float[Tensor, " o"]:
        if self.parametrisation != "standard":
            return jax.random.normal(key, (fan_out,))
        if self.init_rule == "uniform":
            return jax.random.uniform(key, (fan_out,), minval=-1.0, maxval=1.0) / math.sqrt(fan_in)
        return jnp.zeros(fan_out)

    def scales(self, fan_in: int) -> tuple[float, float]:
        """Factors that kernels and biases of a layer with `fan_in` inputs are multiplied with."""
        return (1.0, 1.0) if self.parametrisation == "standard" else (self.w_std / math.sqrt(fan_in), self.b_std)

    def apply(
        self, params: Params, x: Float[Tensor, "n *shape"], activation: Activation | None = None
    ) -> Float[Tensor, "n c"]:
        """Outputs for inputs of any image shape; see `Network.apply`."""
        return jnp.asarray(self._forward(params, x, activation, jnp.matmul)[2])

    def layers(
        self,
        params: Params,
        x: Float[Tensor, "n *shape"],
        activation: Activation | None = None,
        weights: Float[Tensor, "n c"] | None = None,
    ) -> Layers:
        """Forward and backward pass by hand; see `Layers`. Of its results only reverse derivatives can be taken.

        Args:
          activation: in the place of the network's own, if one is given.
          weights: differentiate Σ_c weights[i, c] f_c(x_i) for each image; None: every output by itself.
        """
        inputs, slopes, outputs = self._forward(params, x, activation, times)
        delta: Tensor
        if weights is None:
            n, c = outputs.shape
            delta = jnp.broadcast_to(jnp.eye(c, dtype=outputs.dtype), (n, c, c))
        else:
            delta = weights
        deltas = [delta]
        dense = dense_layers(params)
        for (kernel, _), slope in zip(reversed(dense[1:]), reversed(slopes), strict=True):
            scale, _ = self.scales(kernel.shape[0])
            rows = times_transposed(delta.reshape(-1, delta.shape[-1]), scale * kernel)
            delta = rows.reshape(*delta.shape[:-1], -1) * (slope[:, None] if delta.ndim == 3 else slope)
            deltas.append(delta)
        return Layers(inputs, deltas[::-1], outputs)

    def _forward(
        self, params: Params, x: Tensor, activation: Activation | None, product: Callable[[Any, Any], Any]
    ) -> tuple[list[Any], list[Any], Any]:
        activation = activation or self.units
        h = x.reshape(len(x), -1)
        inputs, slopes = [], []
        dense = dense_layers(params)
        for i, (kernel, bias) in enumerate(dense):
            inputs.append(h)
            scale, bias_scale = self.scales(kernel.shape[0])
            z = product(h, scale * kernel)
            if bias is not None:
                z = z + bias_scale * bias
            if i == len(dense) - 1:
                h = z
            else:
                slopes.append(activation.slope(z))
                h = activation.value(z)
        return inputs, slopes, h


def dense_layers(params: Params) -> list[tuple[Any, Any]]:
    """(kernel, bias or None) of each layer, in order."""
    names = sorted(params, key=lambda name: int(name.rsplit("_", 1)[1]))
    return [(params[name]["kernel"], params[name].get("bias")) for name in names]


def from_params(params: Params) -> MLP:
    """The network that a parameter tree in Flax layout belongs to (standard parametrisation).

    Raises:
      ReconError: the tree is no plain MLP, or its shapes do not fit together.
    """
    if not isinstance(params, Mapping) or not params:
        raise ReconError("Weights must be a tree {'Dense_0': {'kernel': (in, out), 'bias': (out,)}, ...}.")
    strange = [name for name in params if not re.fullmatch(r"Dense_\d+", str(name))]
    if strange:
        raise ReconError(f"Layer {strange[0]!r} is not of a plain MLP: its layers are named Dense_0, Dense_1, ...")
    numbers = sorted(int(name.rsplit("_", 1)[1]) for name in params)
    if numbers != list(range(len(params))):
        raise ReconError(f"Layers are numbered {numbers}: they must run from Dense_0 without a gap.")
    if len(numbers) < 2:
        raise ReconError("The network has no hidden layer: at least Dense_0 and Dense_1 are needed.")
    before = None
    for i in numbers:
        layer = params[f"Dense_{i}"]
        if not isinstance(layer, Mapping) or "kernel" not in layer or set(layer) - {"kernel", "bias"}:
            raise ReconError(f"Dense_{i} must hold a 'kernel' and at most a 'bias'.")
        shape = np.shape(layer["kernel"])
        if len(shape) != 2 or (before is not None and shape[0] != before):
            raise ReconError(f"Dense_{i}'s kernel is {shape}; it must be (in, out) with in = {before or 'input size'}.")
        if "bias" in layer and np.shape(layer["bias"]) != (shape[1],):
            raise ReconError(f"Dense_{i}'s bias is {np.shape(layer['bias'])}; it must be ({shape[1]},).")
        before = shape[1]
    biases = {"bias" in params[f"Dense_{i}"] for i in numbers}
    if len(biases) > 1:
        raise ReconError("Some layers have biases and some have none: give all of them or none.")
    widths = tuple(int(np.shape(params[f"Dense_{i}"]["kernel"])[1]) for i in numbers)
    return MLP(widths[:-1], outputs=widths[-1], bias=biases.pop())
