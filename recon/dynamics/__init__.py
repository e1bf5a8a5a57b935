"""Training rules, chosen by the type of their settings: `Linearised`, `GradientFlow`, `Descent`."""

import numpy as np
from jaxtyping import Float

from recon.dynamics import descent, flow, linearised
from recon.dynamics.base import State, Trained, outputs
from recon.dynamics.descent import Descent
from recon.dynamics.flow import GradientFlow
from recon.dynamics.linearised import Linearised
from recon.networks import MLP, Params
from recon.progress import Report, reporter

__all__ = ["Descent", "Dynamics", "GradientFlow", "Linearised", "State", "Trained", "outputs", "train"]

Dynamics = Linearised | GradientFlow | Descent


def train(
    network: MLP,
    params0: Params,
    x: Float[np.ndarray, "n *shape"],
    y: Float[np.ndarray, "n c"],
    dynamics: Dynamics,
    progress: bool | Report = False,
) -> Trained:
    """Train `network` from `params0` on images `x` with targets `y`.

    Raises:
      ReconError: training diverged or did not reach its loss; see the rule's own module.
    """
    with reporter("training", progress) as report:
        if isinstance(dynamics, Linearised):
            return linearised.train(network, params0, x, y, dynamics, report)
        if isinstance(dynamics, GradientFlow):
            return flow.train(network, params0, x, y, dynamics, report)
        return descent.train(network, params0, x, y, dynamics, report)
