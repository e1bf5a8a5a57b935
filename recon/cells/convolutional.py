"""Networks of convolutions and dense layers that the exact recovery is measured on, by the way they are trained."""

from dataclasses import dataclass, replace
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from recon.cells.instances import Instance, Setting
from recon.dynamics import Dynamics, GradientFlow, Linearised, train
from recon.networks.conv_dense import ConvDense
from recon.tasks import TaskData

NETWORKS = {
    "LeNet-like": ConvDense((16, 32)),
    "wide LeNet-like": ConvDense((64, 256)),
    "LeNet-5": ConvDense((6, 16), dense=(120, 84), size=5, down="average", valid=(1,)),
    "VGG": ConvDense((32, 32, 64, 64), down="max", every=2),
}


@dataclass(frozen=True)
class Convolutional(Setting):
    """One of `NETWORKS`, its outputs set by the task.

    Attributes:
      network: its name.
      training: "steps" of descent on the mean of ½‖f − y‖², all layers or the dense ones alone ("frozen"); or all
        layers to the end, "linearised" or "standard".
      steps: of descent.
      rate: its learning rate.
    """

    network: Literal["LeNet-like", "wide LeNet-like", "LeNet-5", "VGG"]
    training: Literal["steps", "frozen", "linearised", "standard"] = "steps"
    steps: int = 1
    rate: float = 1.0

    @property
    def modules(self) -> tuple[str, ...]:
        """With the network's, and the training rules'."""
        rules = () if self.training in ("steps", "frozen") else (Linearised.__module__, GradientFlow.__module__)
        return *super().modules, ConvDense.__module__, *rules

    def instance(self, data: TaskData, seed: int) -> Instance:
        """Train it."""
        network = replace(NETWORKS[self.network], outputs=data.outputs)
        before = jax.tree.map(np.asarray, network.init(jax.random.key(seed), data.image_shape))
        x, y = data.train.x, data.train.y
        told: dict[str, Any] = {"rule": f"{self.training}, {self.steps} of {self.rate}"}
        if self.training in ("linearised", "standard"):
            rule: Dynamics = Linearised() if self.training == "linearised" else GradientFlow()
            run = train(network, before, x, y, rule)
            after, linearised = run.final.params, run.linearised
            told = {"rule": type(rule).__name__, "loss": run.final.loss, "seconds": run.seconds}
        else:
            gradient = jax.jit(jax.grad(lambda p: 0.5 * jnp.mean(jnp.sum((network.apply(p, x) - y) ** 2, axis=1))))
            moved = {name for name in before if self.training == "steps" or name.startswith("Dense_")}
            after, linearised = before, self.steps == 1
            for _ in range(self.steps):
                step = gradient(after)
                after = {
                    name: {k: np.asarray(w - self.rate * step[name][k], np.float32) for k, w in layer.items()}
                    if name in moved
                    else layer
                    for name, layer in after.items()
                }
        return Instance(before, after, x, data.held_out.x, told, data.box, linearised, network=network)
