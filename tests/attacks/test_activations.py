"""Attacks on networks of other activations than ReLU."""

import jax
import numpy as np
import pytest
from optax.tree_utils import tree_norm

from recon import ReconError, reconstruct
from recon.attacks import attacks
from recon.dynamics import Descent, Linearised, train
from recon.dynamics.margin import Margin
from recon.metrics import distances, greedy
from recon.networks.conv import CNN
from tests.conftest import small_problem

SMOOTH = ["gelu", "silu", "tanh", "elu", "softplus", "sigmoid"]


def linearised(activation, **problem):
    network, params0, x, y = small_problem(activation=activation, **problem)
    return network, params0, train(network, params0, x, y, Linearised()).final.params, x


def missed(found, before, after):
    """The loss before the first step, in units of the weights' change."""
    return found.trace[0, 1] / float(tree_norm(jax.tree.map(np.subtract, after, before), squared=True))


@pytest.mark.parametrize("attack", ["ntk-fast", "ntk-autodiff", "ntk-minibatch"])
@pytest.mark.parametrize("activation", ["tanh", "gelu", "leaky_relu:0.2"])
def test_the_loss_is_zero_at_the_training_images_of_the_networks_own_activation(attack, activation):
    network, params0, final, x = linearised(activation, n=3)
    # Where a kink is, from the sharpness on at which it is one.
    call = {"attack": attack, "linearised": True, "start": x, "steps": 1, "duals": "projected", "progress": False}
    call |= {"sharpness": 1e5, "sharpness_end": 1e5, "ridge": 1e-7}
    own, other = (missed(reconstruct(params0, final, network=n, **call), params0, final) for n in (network, None))
    assert own < 1e-3 < 2e-2 < other


@pytest.mark.parametrize("attack", ["ntk", "ntk-fast"])
@pytest.mark.parametrize("activation", ["tanh", "leaky_relu:0.2"])
def test_small_training_sets_come_back(attack, activation):
    network, params0, final, x = linearised(activation, n=3, dim=10, widths=(256, 256))
    found = reconstruct(params0, final, attack=attack, network=network, linearised=True, steps=1500, progress=False)
    error = greedy(distances(x, found.images)).distance
    assert error.mean() < 0.7 * greedy(distances(x, found.start)).distance.mean()


@pytest.mark.parametrize("activation", SMOOTH)
def test_every_smooth_activation_is_descended_through(activation):
    network, params0, final, _ = linearised(activation, n=3, widths=(64,))
    for attack in ("ntk-fast", "dlg"):
        trace = reconstruct(params0, final, attack=attack, network=network, m=3, steps=60, progress=False).trace
        assert trace[-1, 1] < 0.95 * trace[0, 1]


def test_the_final_weights_alone_tell_images_of_another_activation():
    network, params0, x, _ = small_problem(n=3, dim=20, widths=(64,), outputs=3, activation="tanh")
    rule = Margin(objective="mse", weight_decay=0.03, steps=2000)
    final = train(network, params0, x, np.eye(3, dtype=np.float32), rule).final.params
    call = {"attack": "kkt", "duals": "projected", "start": x, "steps": 1, "progress": False}
    own, other = (reconstruct(params0, final, network=n, **call).trace[0, 1] for n in (network, None))
    assert own < 1e-3 < 1e-2 < other


def test_training_of_another_activation_is_simulated():
    network, params0, x, _ = small_problem(n=4, activation="tanh")
    y = np.float32([[-1], [1], [-1], [1]])
    trained = train(network, params0, x, y, Descent(learning_rate=0.05, loss=0.1)).final
    call = {"attack": "simudy", "train_rate": 0.05, "train_steps": trained.step, "start": x, "steps": 1}
    call |= {"distance": "squared", "smoothness": 0.0, "progress": False}
    own, other = (reconstruct(params0, trained.params, network=n, **call).trace[0, 1] for n in (network, None))
    assert own < 1e-3 < 1e-2 < other


def test_attacks_for_relu_alone_refuse_others():
    network, params0, final, _ = linearised("gelu", n=3)
    refused = [name for name, attack in attacks().items() if attack.relu_only]
    assert refused == ["exact-patches", "hybrid"]
    with pytest.raises(ReconError, match=r"^The attack 'hybrid' is for ReLU networks, not .* gelu: use ntk-fast.$"):
        reconstruct(params0, final, attack="hybrid", network=network, m=3, progress=False)
    with pytest.raises(ReconError, match=r"^The attack 'exact' takes gelu networks .* one step alone: use ntk-fast.$"):
        reconstruct(params0, final, attack="exact", network=network, m=3, progress=False)
    patches = CNN((4,), patch=2, activation="tanh")
    tree = jax.tree.map(np.asarray, patches.init(jax.random.key(0), (4, 4, 1)))
    call = {"attack": "exact-patches", "network": patches, "image_shape": (4, 4, 1), "m": 3, "progress": False}
    with pytest.raises(ReconError, match="not for those of tanh: use ntk-autodiff"):
        reconstruct(tree, jax.tree.map(lambda a: a + 1, tree), **call)
