"""Training rules, each a class of settings with a `train`: `Linearised`, `GradientFlow`, `Descent` and others."""

import numpy as np
from jaxtyping import Float

from recon.dynamics.base import Dynamics, State, Trained, outputs
from recon.dynamics.descent import Descent
from recon.dynamics.flow import GradientFlow
from recon.dynamics.linearised import Linearised
from recon.networks import Network, Params
from recon.progress import Report, reporter

__all__ = ["Descent", "Dynamics", "GradientFlow", "Linearised", "State", "Trained", "outputs", "train"]


def train(
    network: Network,
    params0: Params,
    x: Float[np.ndarray, "n *shape"],
    y: Float[np.ndarray, "n c"],
    dynamics: Dynamics,
    progress: bool | Report = False,
) -> Trained:
    """Train `network` from `params0` on images `x` with targets `y` by a rule.

    Raises:
      ReconError: training diverged or did not reach its loss; see the rule's own module.
    """
    with reporter("training", progress) as report:
        return dynamics.train(network, params0, x, y, report)
