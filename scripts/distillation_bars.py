"""Measure the bars of distillation into `results/distillation-bars.json`: `make bars-distillation`, ten minutes.

1. runs: KIP and RKIP, MNIST odd/even, 500 images to 20, the published procedure (Adam 1e-3, 50,000 steps) beside the
   fast optimiser, from the same starts on the same images: loss reached (in float64), steps, seconds, work, accuracy.
2. speed: one kernel forward plus gradient, and one step of KIP and of RKIP, with this package's kernel and with
   neural-tangents' analytic one, in turn in one process. The bare product of the images, forward plus gradient, beside
   them is what no kernel in floating point can do without.

Runs are cells of the checkout's store: the same command goes on where it stopped. Speed is measured anew.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from recon.benchmark import cell_store, plan, project_root, run_cells
from recon.cells.distillation import DistillationCell
from recon.distillation.regression import RIDGE, duals, regression_loss
from recon.distillation.rkip import rkip_loss
from recon.errors import ReconError
from recon.kernels.infinite import InfiniteMLP
from recon.kernels.neural_tangents import infinite_kernels
from recon.progress import reporter
from recon.records import json_bytes, provenance, write_bytes

N, EACH, TASK = 500, 10, "mnist_odd_even"
METHODS, OPTIMISERS = ("kip", "rkip"), ("adam", "fast")
SECONDS = 60.0
RKIP_ACCURACY, KERNEL_RATIO = 0.90, 5.0
ROUNDS = 200


def cells(seeds: Sequence[int], steps: int | None = None) -> list[DistillationCell]:
    """The runs, and all images; `steps` in place of the schedules' own, to try things out."""
    less = () if steps is None else (("steps", steps),)
    return [
        cell
        for seed in seeds
        for cell in (
            DistillationCell(TASK, N, EACH, "all", seed=seed),
            *(
                DistillationCell(TASK, N, EACH, method, (("optimiser", optimiser), *less), seed=seed)
                for method in METHODS
                for optimiser in OPTIMISERS
            ),
        )
    ]


def row(record: dict[str, Any]) -> dict[str, Any]:
    """What a run's record says of the bars."""
    cell, made = record["cell"], record["set"]
    method = cell["method"]
    loss = None if method == "all" else record["losses"][method]
    return {
        "method": method,
        "optimiser": cell["options"].get("optimiser"),
        "seed": cell["seed"],
        # As the optimiser sees it, in float32, and of the same images in float64.
        "loss_float32": made["loss"],
        "loss": loss,
        # RKIP's loss over that of an empty set.
        "relative": loss / record["losses"]["norm"] if method == "rkip" else None,
        "accuracy": record["accuracy"]["infinite"],
        "steps": made["steps"],
        "seconds": sum(made["seconds"].values()),
        "work": made["work"],
        "source": record["data"]["source"],
        "tested": record["tested"]["images"],
        "provenance": record["provenance"],
    }


class Library(InfiniteMLP):
    """The same network by neural-tangents' analytic kernel."""

    def ntk(self, x1: Any, x2: Any = None) -> Any:
        """K(x1, x2)."""
        return infinite_kernels(self, x1, x1 if x2 is None else x2)[1]


class Given(NamedTuple):
    """What a step is given beside its images: training images, their targets and duals, labels; and a weight matrix."""

    x: Any
    y: Any
    duals: Any
    labels: Any
    weights: Any


def losses(kernel: InfiniteMLP) -> dict[str, Callable[[Any, Given], Any]]:
    """What is differentiated in images s: a sum of the kernel's entries, and the losses of a step."""

    def rkip(s: Any, g: Given, alpha: Any, norm: Any) -> Any:
        return rkip_loss(kernel, RIDGE, s, g.labels, g.x, alpha, norm)

    def anew(s: Any, g: Given) -> Any:
        own = kernel.ntk(g.x, g.x)
        alpha = duals(own, g.y, RIDGE)
        return rkip(s, g, alpha, jnp.vdot(alpha, own @ alpha))

    return {
        "kernel": lambda s, g: jnp.sum(g.weights * kernel.ntk(g.x, s)),
        "KIP step": lambda s, g: regression_loss(kernel, RIDGE, s, g.labels, g.x, g.y),
        "RKIP step": lambda s, g: rkip(s, g, g.duals, jnp.ones(())),
        "RKIP step, K_TT anew": anew,  # as in the published code
    }


def product(s: Any, g: Given) -> Any:
    """What every kernel of the images begins with."""
    return jnp.sum(g.weights * (g.x @ s.T))


def speed(rounds: int, report: Callable[[float, str], None], n: int = N, m: int = 2 * EACH, d: int = 784) -> list[Any]:
    """Milliseconds of each program, forward plus gradient, all of them in turn; float32, random images."""
    rng = np.random.default_rng(0)
    sizes = {"x": (n, d), "y": (n, 1), "duals": (n, 1), "labels": (m, 1), "weights": (n, m)}
    given = Given(**{name: jnp.asarray(rng.normal(size=size), jnp.float32) for name, size in sizes.items()})
    arrays = jnp.asarray(rng.normal(size=(m, d)), jnp.float32), given
    made: dict[Any, Any] = {("product", None): product}
    for by, kernel in (("recon", InfiniteMLP()), ("neural-tangents", Library())):
        made |= {(what, by): loss for what, loss in losses(kernel).items()}
    compiled = {name: jax.jit(jax.value_and_grad(loss)).lower(*arrays).compile() for name, loss in made.items()}
    slopes = {name: np.asarray(program(*arrays)[1]) for name, program in compiled.items()}
    taken: dict[Any, list[float]] = {name: [] for name in made}
    for i in range(rounds):
        report(i / rounds, "timing steps")
        for name, program in compiled.items():
            began = time.perf_counter()
            jax.block_until_ready(program(*arrays))
            taken[name].append(1e3 * (time.perf_counter() - began))
    rows = []
    for (what, by), times in taken.items():
        low, median, high = np.quantile(times, (0.25, 0.5, 0.75))
        gap = 0.0 if by is None else np.linalg.norm(slopes[what, "recon"] - slopes[what, by])
        size = np.linalg.norm(slopes[what, by])
        rows.append({"what": what, "by": by, "median_ms": median, "quartiles_ms": [low, high], "gap": gap / size})
    return rows


def ratio(rows: Sequence[Any], slow: tuple[str, str | None], fast: tuple[str, str | None]) -> float:
    """Of two medians."""
    of = {(r["what"], r["by"]): r["median_ms"] for r in rows}
    return float(of[slow] / of[fast])


def bars(runs: Sequence[dict[str, Any]], rows: Sequence[Any]) -> list[dict[str, Any]]:
    """Each bar, what was measured, and whether it is met."""
    by = {(r["method"], r["optimiser"], r["seed"]): r for r in runs}
    seeds = sorted({r["seed"] for r in runs})
    made = []
    for method in METHODS:
        fast, slow = ([by[method, optimiser, seed] for seed in seeds] for optimiser in ("fast", "adam"))
        pairs = [(a["loss"], b["loss"]) for a, b in zip(fast, slow, strict=True)]
        made.append(
            {
                "bar": f"{method.upper()}: the fast optimiser's loss is no higher than the published procedure's",
                "measured": pairs,
                "met": all(a <= b for a, b in pairs),
            }
        )
        seconds = [r["seconds"] for r in fast]
        made.append(
            {
                "bar": f"{method.upper()}: the fast optimiser takes less than {SECONDS:g} s, compilation included",
                "measured": seconds,
                "met": max(seconds) < SECONDS,
            }
        )
    accuracy = [(by["rkip", "fast", seed]["accuracy"], by["all", None, seed]["accuracy"]) for seed in seeds]
    made.append(
        {
            "bar": f"RKIP's set: infinite-width test accuracy of at least {RKIP_ACCURACY:.2f}, mean over draws, "
            "beside that of all images",
            "measured": accuracy,
            "met": float(np.mean([a for a, _ in accuracy])) >= RKIP_ACCURACY,
        }
    )
    pairs_of = {
        f"kernel {N} × {2 * EACH} × 784, forward plus gradient": ("kernel", "kernel"),
        "KIP step": ("KIP step", "KIP step"),
        "RKIP step": ("RKIP step", "RKIP step"),
        "RKIP step, against K_TT anew at each": ("RKIP step, K_TT anew", "RKIP step"),
    }
    for name, (slow, fast) in pairs_of.items():
        value = ratio(rows, (slow, "neural-tangents"), (fast, "recon"))
        bar = f"{name}: at least {KERNEL_RATIO:g} times faster than with neural-tangents' kernel"
        made.append({"bar": bar, "measured": value, "met": value >= KERNEL_RATIO})
    floor = ratio(rows, ("kernel", "neural-tangents"), ("product", None))
    made.append(
        {"bar": "the same ratio, if all but the product of the images cost nothing", "measured": floor, "met": None}
    )
    return made


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--out", type=Path, default=Path("results/distillation-bars.json"), help="the record (%(default)s)"
    )
    parser.add_argument("--seeds", type=int, default=3, metavar="K", help="draws of images (%(default)s)")
    parser.add_argument("--steps", type=int, help="of every optimiser, to try things out")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of the timing (%(default)s)")
    parser.add_argument("--source", default="auto", help="see `recon reproduce --help`")
    parser.add_argument("--data-dir", type=Path, help="see `recon reproduce --help`")
    parser.add_argument("--force", action="store_true", help="compute again what is stored")
    args = parser.parse_args(argv)
    chosen = cells(range(args.seeds), args.steps)
    try:
        with reporter("distillation bars", True) as report:
            planned = plan(chosen, {"source": args.source, "data_dir": args.data_dir})

            def told(i: int, fraction: float, text: str) -> None:
                report((i + fraction) / len(chosen), f"{chosen[i].title}: {text}")

            # One at a time: they are timed.
            found = run_cells(planned, cell_store(project_root()), args.force, told, jobs=1)
            rows = speed(args.rounds, report)
    except KeyboardInterrupt:
        sys.exit("Interrupted: finished runs are stored, the same command goes on from there.")
    except ReconError as error:
        sys.exit(f"error: {error}")
    runs = [row(stored.record) for stored in found]
    made = {"provenance": provenance(), "bars": bars(runs, rows), "runs": runs, "speed": rows}
    write_bytes(args.out, json_bytes(made))
    console = Console()
    for bar in made["bars"]:
        console.print({True: "met", False: "not met", None: ""}[bar["met"]], bar["bar"], bar["measured"])
    console.print(f"Stored in {args.out}.")


if __name__ == "__main__":
    main()
