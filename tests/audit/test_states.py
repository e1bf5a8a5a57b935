"""Optimisers' states as programs save them, with weight decay in the gradients and without."""

import numpy as np
import pytest
from safetensors.numpy import save_file

import recon
from tests.audit.descent import N, descended, digits, gradients, outputs, plain


@pytest.fixture(scope="module")
def data():
    return digits()


@pytest.mark.parametrize("decay", [0.0, 1e-3, 1e-2])
def test_momentum_of_pytorch_gives_images_whatever_decay_put_into_it(decay, data, tmp_path):
    x, y, others, mean = data
    before = plain(np.random.default_rng(0))
    after, sums = descended(outputs, before, x, y, decay=decay, steps=40)
    state = {f"optimizer.state.{i}.momentum_buffer": np.ascontiguousarray(a) for i, a in enumerate(sums.values())}
    save_file(after | state, tmp_path / "checkpoint.safetensors")
    path = tmp_path / "checkpoint.safetensors"
    found = recon.audit(before, path, optimizer_state=path, data=x, held_out=others, mean=mean, progress=False)
    assert found.n == found.certified == found.train.within == N
    assert found.held_out.within == 0
    assert found.membership.answers == ("member",) * N


def test_a_state_of_adam_with_decay_in_the_gradients(data):
    x, y, _, mean = data
    before = now = plain(np.random.default_rng(0))
    gradient = gradients(outputs, x, y)
    first = {name: np.zeros_like(a) for name, a in before.items()}
    second = first
    for t in range(1, 31):
        grad = {n: a + np.float32(1e-4) * now[n] for n, a in gradient(now).items()}
        first = {n: np.float32(0.9) * a + np.float32(0.1) * grad[n] for n, a in first.items()}
        second = {n: np.float32(0.999) * a + np.float32(0.001) * grad[n] ** 2 for n, a in second.items()}
        now = {
            n: (a - 1e-4 * first[n] / (1 - 0.9**t) / (np.sqrt(second[n] / (1 - 0.999**t)) + 1e-8)).astype(np.float32)
            for n, a in now.items()
        }
    state = {f"state.{i}.exp_avg": a for i, a in enumerate(first.values())}
    state |= {f"state.{i}.exp_avg_sq": a for i, a in enumerate(second.values())}
    found = recon.audit(before, now, optimizer_state=state, data=x, mean=mean, progress=False)
    assert found.n == found.certified == found.train.within == N
