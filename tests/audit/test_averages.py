"""Averages of weights over training beside the weights, or alone."""

import numpy as np
import pytest

import recon
from recon.weights import arranged, bare
from recon.weights.averages import averages
from tests.audit.descent import N, digits, gradients, linear, outputs, plain


@pytest.fixture(scope="module")
def trained():
    """Weights before and after training, and their exponential moving average."""
    x, y, *_ = digits()
    before = now = plain(np.random.default_rng(0))
    average = {name: a.copy() for name, a in before.items()}
    gradient = gradients(outputs, x, y)
    for _ in range(100):
        now = {name: now[name] - np.float32(1e-2) * a for name, a in gradient(now).items()}
        average = {name: np.float32(0.9) * average[name] + np.float32(0.1) * now[name] for name in now}
    return before, now, average


LAYOUTS = {
    "timm": lambda now, average: now | {f"state_dict_ema.{n}": a for n, a in average.items()},
    "Diffusers": lambda now, average: {
        **{f"unet.{n}": a for n, a in now.items()},
        **{f"ema.{n}": a for n, a in average.items()},
    },
    "torch_ema": lambda now, average: now | {f"shadow_params/{i}": a for i, a in enumerate(average.values())},
    "AveragedModel": lambda now, average: {
        **{f"model.{n}": a for n, a in now.items()},
        **{f"averaged_model.module.{n}": a for n, a in average.items()},
        "averaged_model.n_averaged": np.array(20),
    },
    "Flax": lambda now, average: {
        **{f"params/{n}": a for n, a in now.items()},
        **{f"ema_params/{n}": a for n, a in average.items()},
    },
}


@pytest.mark.parametrize("kind", LAYOUTS)
def test_the_weights_themselves_are_audited_where_both_are_there(kind, trained):
    _, now, average = trained
    file = bare(LAYOUTS[kind](now, average))
    layout = arranged(file)
    assert all(np.array_equal(file[name], now[own]) for name, own in zip(layout.names, now, strict=True))
    assert len(layout.left_out) == len(average)


def test_the_audit_says_which_it_took(trained):
    x, _, others, mean = digits()
    before, now, average = trained
    found = recon.audit(before, LAYOUTS["AveragedModel"](now, average), data=x, mean=mean, progress=False)
    assert found.certified == found.train.within == N
    assert "Averages of the weights are in the file, too (averaged_model." in found.verdict
    alone = {f"module.{name}": a for name, a in average.items()} | {"n_averaged": np.array(20)}
    found = recon.audit(before, alone, data=x, held_out=others, mean=mean, progress=False)
    assert found.certified == found.train.within == N
    assert "are an average over training: it changed as the weights did" in found.verdict
    chosen = recon.audit(before, now | {f"ema.{n}": a for n, a in average.items()}, layers="fc1,fc2", progress=False)
    assert chosen.layout.names == ("fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias")


def test_a_layer_may_be_called_as_an_average_is(rng):
    for names in (("ema", "fc2", "fc3"), ("fc1", "average", "fc3"), ("fc1", "ema.0", "ema.1")):
        sizes = (256, 256, 256, 1)
        arrays = {}
        for i, name in enumerate(names):
            arrays |= linear(name, sizes[i], sizes[i + 1], rng)
        assert not averages({name: a.shape for name, a in arrays.items()})
