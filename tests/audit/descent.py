"""Networks as other programs have them, arrays by name, and plain descent on them."""

import jax
import jax.numpy as jnp
import numpy as np

import recon

N, W = 20, 256


def digits(n=N, seed=0):
    """So many images as the network takes them, their targets, others as a control, and the mean of the pixels."""
    task = recon.load_task("mnist_odd_even", n, seed=seed, source="samples", n_test=1)
    x, y = task.train.x.reshape(n, -1), task.train.y.reshape(n, 1)
    return x, y, task.held_out.x.reshape(n, -1), float(task.mean[0])


def linear(name, fan_in, out, rng, bias=True):
    """A layer of PyTorch's, as it draws it."""
    edge = fan_in**-0.5
    made = {f"{name}.weight": rng.uniform(-edge, edge, (out, fan_in))}
    made |= {f"{name}.bias": rng.uniform(-edge, edge, out)} if bias else {}
    return {key: value.astype(np.float32) for key, value in made.items()}


def plain(rng, names=("fc1", "fc2"), inputs=784, outputs=1):
    """A network with one hidden layer."""
    return linear(names[0], inputs, W, rng) | linear(names[1], W, outputs, rng)


def applied(params, name, x):
    """What a layer makes of x."""
    return x @ params[f"{name}.weight"].T + params.get(f"{name}.bias", 0.0)


def outputs(params, x, names=("fc1", "fc2")):
    """What `plain` makes of x."""
    return applied(params, names[1], jax.nn.relu(applied(params, names[0], x)))


def gradients(model, x, y):
    """The gradient of the mean squared error as a function of weights."""
    found = jax.jit(jax.grad(lambda p: 2 * jnp.mean(jnp.sum((model(p, x) - y) ** 2, axis=1))))

    def of(params):
        made = found(params)
        return {name: np.asarray(made[name]) for name in params}  # in their order

    return of


def descended(model, params, x, y, *, steps=150, eta=1e-3, frozen=(), decay=0.0, rates=None):
    """Weights after descent with momentum 0.9 on the mean squared error, and the momentum buffers.

    Args:
      model: outputs of weights and inputs.
      frozen: names of arrays that are not trained.
      decay: weight decay, as a part of the gradients.
      rates: factors on the rates of some arrays.
    """
    gradient = gradients(model, x, y)
    sums = {name: np.zeros_like(value) for name, value in params.items() if name not in frozen}
    for _ in range(steps):
        now = gradient(params)
        sums = {n: np.float32(0.9) * a + now[n] + np.float32(decay) * params[n] for n, a in sums.items()}
        moved = {n: params[n] - np.float32(eta * (rates or {}).get(n, 1.0)) * a for n, a in sums.items()}
        params = params | moved
    return params, sums
