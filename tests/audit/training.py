"""Descent with momentum on a small network in NumPy alone: checkpoints that no code of this package made."""

import numpy as np

WIDTH, RATE, MOMENTUM = 256, 0.005, 0.9


def start(inputs, seed=0):
    """Initial weights of a network with one hidden layer and one output, named as PyTorch names them."""
    rng = np.random.default_rng(seed)
    return {
        "fc1.weight": rng.normal(size=(WIDTH, inputs)) * np.sqrt(2 / inputs),
        "fc1.bias": np.zeros(WIDTH),
        "fc2.weight": rng.normal(size=(1, WIDTH)) / np.sqrt(WIDTH),
        "fc2.bias": np.zeros(1),
    }


def gradient(w, x, y):
    """Of the mean of half the squared error."""
    z = x @ w["fc1.weight"].T + w["fc1.bias"]
    h = np.maximum(z, 0)
    residual = (h @ w["fc2.weight"].T + w["fc2.bias"] - y) / len(x)
    back = residual @ w["fc2.weight"] * (z > 0)
    return {
        "fc1.weight": back.T @ x,
        "fc1.bias": back.sum(0),
        "fc2.weight": residual.T @ h,
        "fc2.bias": residual.sum(0),
    }


def checkpoints(x, y, steps, seed=0):
    """Weights in float32 after each of the numbers of steps, ascending."""
    w, made = start(x.shape[1], seed), []
    velocity = {name: np.zeros_like(a) for name, a in w.items()}
    for step in range(max(steps) + 1):
        if step in steps:
            made.append({name: a.astype(np.float32) for name, a in w.items()})
        g = gradient(w, x, y)
        velocity = {name: MOMENTUM * velocity[name] - RATE * g[name] for name in w}
        w = {name: w[name] + velocity[name] for name in w}
    return made
