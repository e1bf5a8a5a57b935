"""Measure what the core promises into `results/bars.json`: `make bars`, about fifteen minutes on two cores.

1. linearised: the closed form against gradient descent on the linearised model, at convergence and at three losses.
2. flow: the exponential integrator against small-step descent, over seeds.
3. attack: the published objective on the fast schedule, linearised dynamics, over seeds, with its control.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from recon.arrays import enable_x64
from recon.attacks import reconstruct
from recon.dynamics import Descent, GradientFlow, Linearised, train
from recon.kernels import as_matrix, ntk
from recon.metrics import score
from recon.networks import MLP
from recon.records import json_bytes, provenance, write_bytes
from recon.tasks import TaskData, load_task

N, W = 20, 512
LOSSES = (1e-1, 1e-3, 1e-5)


def setting(seed: int) -> tuple[MLP, Any, TaskData]:
    """Network, initial weights and images of one seed."""
    data = load_task("mnist_odd_even", N, seed=seed)
    network = MLP((W, W))
    return network, jax.tree.map(np.asarray, network.init(jax.random.key(seed), 784)), data


def flat(params: Any) -> np.ndarray:
    """A parameter tree as one float64 vector."""
    return np.concatenate([np.asarray(leaf, np.float64).ravel() for leaf in jax.tree.leaves(params)])


def linearised(seed: int) -> dict[str, Any]:
    """Relative distance in θ of the closed form from gradient descent on the linearised model.

    Descent from Δθ = 0 stays in the span of the gradients: Δθ_k = Jᵀβ_k with β_{k+1} = β_k + η(e₀ − Kβ_k)/N, the same
    iterates at the cost of an N × N product. The rate is 10⁻⁴/L, so that stopping by loss meets gradient flow.
    """
    network, p0, data = setting(seed)
    trained = train(network, p0, data.train.x, data.train.y, Linearised(checkpoints=LOSSES))
    gaps: dict[str, float] = {}
    with enable_x64():
        p64, x = jax.tree.map(np.float64, p0), np.float64(data.train.x)
        kernel = np.asarray(as_matrix(ntk(network, p64, x)))
        f0, pull = jax.vjp(lambda p: network.apply(p, x), p64)
        e0 = np.asarray(data.train.y - f0).ravel()
        curvature = np.linalg.eigvalsh(kernel)[-1] / N

        @jax.jit
        def descend(beta: Any, rate: Any, loss: Any) -> Any:
            def residual(beta: Any) -> Any:
                return e0 - kernel @ beta

            def go_on(state: Any) -> Any:
                return (0.5 * (residual(state[0]) ** 2).sum() / N > loss) & (state[1] < 50_000_000)

            return jax.lax.while_loop(go_on, lambda s: (s[0] + rate * residual(s[0]) / N, s[1] + 1), (beta, 0))

        steps: dict[str, int] = {}
        states = [*zip(LOSSES, trained.checkpoints), (1e-24, trained.final)]
        for loss, state in states:
            # To convergence any stable rate leads to the same place.
            rate = (1e-4 if state is not trained.final else 1.0) / curvature
            beta, count = descend(np.zeros(N), rate, min(loss, state.loss) if loss == 1e-24 else loss)
            (change,) = pull(np.asarray(beta).reshape(N, 1))
            expected = flat(change)
            name = "converged" if state is trained.final else f"{loss:g}"
            gaps[name] = float(np.linalg.norm(flat(state.params) - flat(p0) - expected) / np.linalg.norm(expected))
            steps[name] = int(count)
    return {"seed": seed, "gap": gaps, "descent_steps": steps, "loss": trained.final.loss}


def flow(seed: int) -> dict[str, Any]:
    """Relative distance in θ of the integrator (tol 1e-3) from descent at 0.02/L, and of descent at 0.1/L."""
    network, p0, data = setting(seed)
    x, y = data.train.x, data.train.y
    ours = train(network, p0, x, y, GradientFlow(tol=1e-3))
    reference = train(network, p0, x, y, Descent(rate=0.02, dtype="float64"))
    coarse = train(network, p0, x, y, Descent(rate=0.1, dtype="float64"))
    change = flat(reference.final.params) - flat(p0)

    def gap(other: Any) -> float:
        return float(np.linalg.norm(flat(other.final.params) - flat(reference.final.params)) / np.linalg.norm(change))

    return {
        "seed": seed,
        "gap": gap(ours),
        "gap_of_descent_at_0.1": gap(coarse),
        "steps": ours.final.step,
        "descent_steps": reference.final.step,
        "seconds": ours.seconds,
        "descent_seconds": reference.seconds,
        "loss": ours.final.loss,
    }


def attack(seed: int) -> dict[str, Any]:
    """Scores of `ntk-fast` on linearised dynamics, its held-out control, and its time."""
    network, p0, data = setting(seed)
    trained = train(network, p0, data.train.x, data.train.y, Linearised())
    began = time.perf_counter()
    found = reconstruct(
        p0, trained.final.params, attack="ntk-fast", image_shape=data.image_shape, box=data.box, m=2 * N,
        linearised=True, key=seed, progress=False,
    )  # fmt: skip
    took = time.perf_counter() - began
    scores = {
        "train": score(data.train.x, found.images, data.pixels),
        "held_out": score(data.held_out.x, found.images, data.pixels),
        "start": score(data.train.x, found.start, data.pixels),
    }
    return {
        "seed": seed,
        "fingerprint": data.train.fingerprint,
        "source": data.source,
        **{name: s.summary((2.5,)) for name, s in scores.items()},
        "seconds": took,
        "steps": found.steps,
    }


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("results/bars.json"))
    args = parser.parse_args(argv)
    made: dict[str, Any] = {"n": N, "width": W, "task": "mnist_odd_even"}
    for name, measure, seeds in (
        ("linearised", linearised, (0,)),
        ("flow", flow, range(9)),
        ("attack", attack, range(3)),
    ):
        made[name] = []
        for seed in seeds:
            made[name].append(measure(seed))
            print(name, made[name][-1], file=sys.stderr, flush=True)
    made["provenance"] = provenance()
    write_bytes(args.out, json_bytes(made))
    print(f"Stored in {args.out}.")


if __name__ == "__main__":
    main()
