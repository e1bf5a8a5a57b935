"""Measure the bars of the audit into `results/audit-bars.json`: `make bars-audit`, a few minutes on a core.

Networks that other code than recon's has trained on 60 MNIST digits, two hidden layers of 1,024 ReLU units, are audited
from files of arrays by the command line:

1. scikit-learn's MLPRegressor, SGD with momentum, full batch: its arrays in .npz files, without names;
2. PyTorch's default layers and initialisation, SGD with momentum: state dicts as .safetensors (needs PyTorch, which is
   no dependency: pip install torch==2.13.0). Beside it, without a bar, ten times the rate;
3. a round of federated averaging, in NumPy: a server that sees one client's weights after its local steps on its own
   images. Beside it, without a bar, the server that sees the clients' average only.

The bar's time is the whole command's on the clock; its processor time and the machine's load before it stand beside.
A finished run is stored at once; the same command goes on where it stopped and computes again what older code made.
"""

import argparse
import importlib.util
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from recon.errors import ReconError
from recon.progress import reporter
from recon.records import code_version, json_bytes, provenance, read_json, write_bytes
from recon.records.code_version import PACKAGE
from recon.tasks import TaskData, load_task

N, W, LIMIT, SECONDS, SEEDS = 60, 1024, 0.01, 30.0, (0, 1, 2)
CLIENTS, OTHERS, LOCAL = 3, 3, (2, 20)  # clients, rounds before the audited one, local epochs and batch
RATE = 0.05  # of the clients
Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Case:
    """Files to audit, and what they were made from."""

    init: Path
    final: Path
    images: np.ndarray
    held_out: np.ndarray
    mean: float
    facts: dict[str, Any]


def drawn(n: int, seed: int) -> tuple[TaskData, np.ndarray, np.ndarray]:
    data = load_task("mnist_odd_even", n, seed=seed, n_test=1)
    return data, data.train.x.reshape(n, -1), data.train.y


def case(folder: Path, data: TaskData, images: np.ndarray, rule: str, suffix: str, **facts: Any) -> Case:
    held_out = data.held_out.x.reshape(len(data.held_out.x), -1)[: len(images)]
    made = {"rule": rule, "source": data.source, "fingerprint": data.train.fingerprint, **facts}
    return Case(folder / f"init{suffix}", folder / f"final{suffix}", images, held_out, float(data.mean[0]), made)


def scikit_learn(seed: int, folder: Path) -> Case:
    """A twin of the same seed and a rate of 1e-30 tells the initial weights."""
    from sklearn.neural_network import MLPRegressor

    data, x, y = drawn(N, seed)
    kind = {"hidden_layer_sizes": (W, W), "solver": "sgd", "alpha": 0.0, "momentum": 0.9, "batch_size": N}
    twin, model = (MLPRegressor(**kind, learning_rate_init=r, random_state=seed) for r in (1e-30, 2e-3))
    twin.partial_fit(x, y.ravel())
    for _ in range(5000):
        model.partial_fit(x, y.ravel())
        if model.loss_ < 1e-4:
            break
    np.savez(folder / "init.npz", *twin.coefs_, *twin.intercepts_)
    np.savez(folder / "final.npz", *model.coefs_, *model.intercepts_)
    rule = "scikit-learn MLPRegressor, sgd, Nesterov momentum 0.9, rate 2e-3, alpha 0, full batch"
    return case(folder, data, x, rule, ".npz", loss=float(model.loss_))


def pytorch(seed: int, folder: Path, rate: float = 1e-3) -> Case:
    """The rate is scikit-learn's above: PyTorch's loss is twice its."""
    import torch
    from safetensors.torch import save_file
    from torch import nn

    data, x, y = drawn(N, seed)
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    model = nn.Sequential(nn.Linear(784, W), nn.ReLU(), nn.Linear(W, W), nn.ReLU(), nn.Linear(W, 1))
    save_file(model.state_dict(), folder / "init.safetensors")
    optimiser = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9)
    inputs, targets, loss = torch.from_numpy(x), torch.from_numpy(y), np.inf
    for _ in range(5000):
        optimiser.zero_grad()
        value = nn.functional.mse_loss(model(inputs), targets)
        value.backward()
        optimiser.step()
        loss = value.item()
        if loss < 1e-4:
            break
    save_file(model.state_dict(), folder / "final.safetensors")
    rule = f"PyTorch {torch.__version__}, SGD, momentum 0.9, rate {rate:g}, full batch, default initialisation"
    return case(folder, data, x, rule, ".safetensors", loss=loss)


def fast_pytorch(seed: int, folder: Path) -> Case:
    """Whether the rate matters."""
    return pytorch(seed, folder, rate=1e-2)


def forward(weights: Sequence[np.ndarray], x: np.ndarray) -> list[np.ndarray]:
    """What goes into each layer, and the output; weights are kernel, bias, kernel, ..."""
    h = [x]
    for i in range(0, len(weights), 2):
        z = h[-1] @ weights[i] + weights[i + 1]
        h.append(z if i == len(weights) - 2 else np.maximum(z, 0))
    return h


def local(weights: Sequence[np.ndarray], x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """A client's SGD on its own images, from the server's weights."""
    own, (epochs, batch) = [w.copy() for w in weights], LOCAL
    for _ in range(epochs):
        for chosen in np.split(rng.permutation(len(x)), range(batch, len(x), batch)):
            h = forward(own, x[chosen])
            delta = (h[-1] - y[chosen]) / len(chosen)
            for i in reversed(range(0, len(own), 2)):
                back = (delta @ own[i].T) * (h[i // 2] > 0)
                own[i] -= np.float32(RATE) * (h[i // 2].T @ delta)
                own[i + 1] -= np.float32(RATE) * delta.sum(0)
                delta = back
    return own


def federated(seed: int, folder: Path, average: bool = False) -> Case:
    """Rounds of federated averaging; the audited one is the last."""
    share = N // CLIENTS if average else N
    data, x, y = drawn(share * CLIENTS, seed)
    rng, sizes = np.random.default_rng(seed), (784, W, W, 1)
    of = np.split(rng.permutation(len(x)), CLIENTS)
    server: list[np.ndarray] = []
    for a, b in pairwise(sizes):
        server += [np.float32(rng.normal(0, a**-0.5, (a, b))), np.zeros(b, np.float32)]

    def averaged(all_weights: list[list[np.ndarray]]) -> list[np.ndarray]:
        return [np.mean(part, axis=0, dtype=np.float32) for part in zip(*all_weights, strict=True)]

    for _ in range(OTHERS):
        server = averaged([local(server, x[i], y[i], rng) for i in of])
    clients = [local(server, x[i], y[i], rng) for i in of]
    seen, images = (averaged(clients), x) if average else (clients[0], x[of[0]])
    for name, weights in (("init", server), ("final", seen)):
        np.savez(folder / f"{name}.npz", **{f"{'wb'[i % 2]}{i // 2}": w for i, w in enumerate(weights)})
    steps = LOCAL[0] * -(-share // LOCAL[1])
    rule = f"NumPy FedAvg, {CLIENTS} clients, round {OTHERS + 1}, {steps} local SGD steps, rate {RATE}"
    loss = float(np.mean((forward(seen, images)[-1] - (y if average else y[of[0]])) ** 2))
    return case(folder, data, images, rule, ".npz", loss=loss)


def average(seed: int, folder: Path) -> Case:
    return federated(seed, folder, average=True)


ROWS: dict[str, tuple[Callable[[int, Path], Case], bool]] = {
    "scikit-learn": (scikit_learn, True),
    "PyTorch": (pytorch, True),
    "PyTorch, ten times the rate": (fast_pytorch, False),
    "FedAvg, a client's update": (federated, True),
    "FedAvg, the clients' average": (average, False),
}
BAR = f"N exact, {N} of {N} certified, all within L2 {LIMIT}, < {SECONDS:.0f} s"


def audited(made: Case, folder: Path) -> dict[str, Any]:
    """Run the command on the files and read its record."""
    for name, x in (("train", made.images), ("other", made.held_out)):
        np.savez(folder / f"{name}.npz", x=x)
    command = [sys.executable, "-m", "recon", "audit", "--init", made.init, "--final", made.final]
    command += [
        "--mean",
        str(made.mean),
        "--network",
        f"mlp:{W}x{W}",
        "--data",
        folder / "train.npz",
        "--heldout",
        folder / "other.npz",
    ]
    load, before, began = os.getloadavg()[0], processor(), time.perf_counter()
    done = subprocess.run([*map(str, command), "--out", str(folder / "audit")], capture_output=True, text=True)
    seconds, cpu = time.perf_counter() - began, processor() - before
    if done.returncode:
        raise ReconError(f"The audit failed ({done.stderr.strip().splitlines()[-1]}): mend it.")
    report = read_json(folder / "audit" / "report.json")
    distance = [np.inf if d is None else d for d in report["train"]["distance"]]
    n, near = len(made.images), [d for d in distance if d < np.inf]
    result = {
        "n": n,
        "n_estimated": report["n"],
        "certified": report["certified"],
        "within": sum(d < LIMIT for d in distance),
        "worst": max(near) if len(near) == n else None,
        "held_out_nearest": min(d for d in report["held_out"]["distance"] if d is not None),
        "held_out_within": report["held_out"]["within"],
        "command_seconds": seconds,
        "cpu_seconds": cpu,
        "load_before": load,
        "audit_seconds": report["seconds"],
        "attacks": report["attacks"],
        "why": report["why"],
        "verdict": report["verdict"],
    }
    met = result["n_estimated"] == n == result["certified"] == result["within"] and seconds < SECONDS
    return {**made.facts, **result, "met": met}


def processor() -> float:
    """Processor time of all finished child processes."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def version() -> str:
    """Of the code that the numbers depend on."""
    attacks = ("recon.attacks.exact", "recon.attacks.hybrid", "recon.metrics", "recon.tasks.mnist_odd_even")
    files = (f for part in ("auditing", "weights", "weights/formats") for f in sorted((PACKAGE / part).glob("*.py")))
    return code_version(attacks, (*files, Path(__file__).resolve()))


def record(runs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    rows = []
    for name, (_, barred) in ROWS.items():
        mine = runs.get(name, [])
        complete = {r["seed"] for r in mine} == set(SEEDS)
        met = all(r["met"] for r in mine) if barred and complete else None
        rows.append({"name": name, "bar": BAR if barred else None, "met": met, "runs": mine})
    return {"n": N, "width": W, "rows": rows, "provenance": provenance()}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("results/audit-bars.json"), help="the record (%(default)s)")
    parser.add_argument("--force", action="store_true", help="measure again what is stored")
    args = parser.parse_args(argv)
    stored = {} if args.force or not args.out.exists() else {r["name"]: r["runs"] for r in read_json(args.out)["rows"]}
    runs = {name: [r for r in made if r["code_version"] == version()] for name, made in stored.items()}
    todo = [(name, seed) for seed in SEEDS for name in ROWS if seed not in {r["seed"] for r in runs.get(name, [])}]
    if importlib.util.find_spec("torch") is None and any(name.startswith("PyTorch") for name, _ in todo):
        print("PyTorch is not installed: pip install torch==2.13.0 measures its rows too.", file=sys.stderr)
        todo = [(name, seed) for name, seed in todo if not name.startswith("PyTorch")]
    try:
        with reporter("audit bars") as report:
            for i, (name, seed) in enumerate(todo):
                report(i / len(todo), f"{name}, seed {seed}")
                with tempfile.TemporaryDirectory(prefix="audit-") as folder:
                    made = audited(ROWS[name][0](seed, Path(folder)), Path(folder))
                new = {"seed": seed, "code_version": version(), **made}
                runs[name] = sorted([*runs.get(name, []), new], key=lambda r: r["seed"])
                write_bytes(args.out, json_bytes(record(runs)))
    except KeyboardInterrupt:
        sys.exit("Interrupted: finished runs are stored, the same command goes on from there.")
    except ReconError as error:
        sys.exit(f"error: {error}")
    for row in record(runs)["rows"]:
        words = {True: "met", False: "not met", None: "no verdict"}[row["met"]]
        print(f"{row['name']}: {', '.join(str(r['certified']) for r in row['runs'])} certified, {words}")


if __name__ == "__main__":
    main()
