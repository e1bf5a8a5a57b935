"""Measure the certificate into `results/certificate-bars.json`: `make bars-certificate`, an hour on a core.

Three families of networks, on fresh seeds, each attacked with the box of its pixels and without:

1. `kinds`: ways of training that leave what the exact attack takes for granted (`exact_kinds.py`), each on MNIST and
   CIFAR-10, linearised and standard. Of a flip-augmented network the flipped images count as training images, too.
2. `sizes`: plain training, with few units for each image.
3. `patches`: a patch embedding in the first layer's place, attacked by `exact-patches`; also of digits that were moved
   into a corner each, so that they share blank patches.

The attack on the others is the audit's: the best of up to four searches. Images count by their nearest training image,
those vouched for up to their scale by their best multiple. The interval of the precision is over networks, as images of
one share its errors.
Networks are stored as they come, twenty at a time; the same command goes on where it stopped.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import jax
import numpy as np
from exact_kinds import KINDS, Kind, Made, made
from scipy.spatial.distance import cdist
from scipy.stats import binomtest, rankdata

from recon.attacks import reconstruct
from recon.auditing.data import multiples_apart
from recon.auditing.run import Ran, search
from recon.dynamics import GradientFlow, Linearised, train
from recon.errors import ReconError
from recon.networks import MLP, Network
from recon.networks.conv import CNN
from recon.progress import reporter
from recon.records import code_version, json_bytes, provenance, read_json, write_bytes
from recon.records.code_version import PACKAGE
from recon.tasks import load_task

TASKS = {"MNIST": "mnist_odd_even", "CIFAR-10": "cifar10_animal_vehicle"}
WITHIN, SURE = 0.1, 0.9  # L2 distance of a right image, and the confidence that is held to its word
SECONDS = 8.0  # of a search
EVERY = 20  # networks are stored
N, WIDTH = 8, 128  # of the kinds
TINY = ((1, 10, 56), (1, 8, 40), (1, 12, 72), (2, 6, 32), (2, 8, 40), (2, 4, 24))  # hidden layers, images, units
SMALL = ((2, 12, 64), (2, 16, 128), (2, 20, 80), (2, 20, 100), (2, 20, 120), (2, 30, 150))
RULES = ("linearised", "flow", "descent")  # the last in 300 steps


@dataclass(frozen=True)
class Case:
    """One network.

    Attributes:
      group: its kind in the tables.
      kind: how it is trained; None: plainly, by `rule`.
      truth: what else than its own images counts as right.
    """

    group: str
    task: str
    rule: str
    seed: int
    kind: Kind | None = None
    shape: tuple[int, int, int] = (2, N, WIDTH)

    @property
    def name(self) -> str:
        """In the record, where it is told from all others by it."""
        depth, n, width = self.shape
        return f"{self.group}, {self.task}, {self.rule}, {depth} x {width}, {n} images, seed {self.seed}"


PATCHES = {"MNIST": ("patches", "patches, shared blank"), "CIFAR-10": ("patches",)}
SIDES, CHANNELS, SHIFT = {"MNIST": 14, "CIFAR-10": 16}, 300, 4  # pixels of a patch, units, pixels that digits are moved


def cases(first: int, kinds: int, sizes: int) -> Iterator[Case]:
    for kind, task, rule, s in product(KINDS, TASKS, ("linearised", "standard"), range(kinds)):
        yield Case(kind.name, task, rule, first + s, kind)
    for s, task, rule, (where, shapes) in product(range(sizes), TASKS, RULES, (("tiny", TINY), ("small", SMALL))):
        for shape in shapes:
            yield Case(f"{where}, {rule}", task, rule, first + s, None, shape)
    for task, rule, s in product(TASKS, ("linearised", "flow"), range(2 * kinds)):
        for group in PATCHES[task]:
            yield Case(group, task, rule, first + s, None, (1, N, CHANNELS))


def trained(case: Case) -> Made:
    depth, n, width = case.shape
    widths = (width,) * depth
    if case.kind is not None:
        return made(case.kind, TASKS[case.task], n, widths, case.rule == "linearised", case.seed)
    if case.rule == "descent":
        return made(Kind("plain", loss=0.0, steps=300), TASKS[case.task], n, widths, False, case.seed)
    data = load_task(TASKS[case.task], n, seed=case.seed, n_test=1)
    x: np.ndarray = data.train.x
    network: Network = MLP(widths)
    if case.group in PATCHES[case.task]:
        network = CNN(widths, patch=SIDES[case.task])
        if case.group != "patches":
            corners = np.random.default_rng(case.seed).choice([-SHIFT, SHIFT], (n, 2))
            x = np.stack([np.roll(image, corner, (0, 1)) for image, corner in zip(x, corners)])
    before = jax.tree.map(np.asarray, network.init(jax.random.key(case.seed), data.image_shape))
    rule = Linearised() if case.rule == "linearised" else GradientFlow(loss=1e-6, tol=1e-2)
    run = train(network, before, x, data.train.y, rule)
    x = np.float64(x.reshape(n, -1))
    return Made(run.initial.params, run.final.params, x, data.box, network, data, run.final.loss)


def best_multiples(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """L2 from the best multiple, above zero, of each reconstruction to its nearest training image."""
    return multiples_apart(truth, found).min(0)


def judged(case: Case, network: Made, boxed: bool) -> dict[str, Any]:
    """What an audit of the network vouches for, image by image."""
    common: dict[str, Any] = {
        "image_shape": network.data.image_shape,
        "box": network.box if boxed else None,
        "linearised": case.rule == "linearised",
        "progress": False,
    }
    weights, truth = (network.before, network.after), network.x
    if not isinstance(network.network, MLP):
        common |= {"network": network.network, "m": len(truth), "seconds": SECONDS}
        ran = Ran(("exact-patches",), reconstruct(*weights, attack="exact-patches", **common))
    else:
        common |= {} if network.network.parametrisation == "standard" else {"network": network.network}
        ran = search(*weights, 2 * len(truth), 0, SECONDS, common)
    found = ran.found
    if case.kind is not None and case.group == "flips":
        truth = np.vstack([truth, truth.reshape(-1, *network.data.image_shape)[:, :, ::-1].reshape(truth.shape)])
    x = np.float64(found.images.reshape(len(found.images), truth.shape[1]))
    near = cdist(x, truth).min(1) if len(x) else np.zeros(0)
    assert found.certified is not None
    confidence = found.certified.astype(float) if found.confidence is None else found.confidence
    scaled = found.certified if found.up_to_scale is None else found.up_to_scale
    return {
        "searches": len(ran.attacks),
        "why": found.why,
        "n_estimated": found.n_estimated,
        "doubts": list(found.doubts),
        "distance": np.round(near, 4).tolist(),
        "scaled_distance": np.round(best_multiples(x, truth), 4).tolist(),
        "certified": found.certified.tolist(),
        "up_to_scale": scaled.tolist(),
        "confidence": np.round(confidence, 4).tolist(),
    }


def measured(case: Case, version: str) -> list[dict[str, Any]]:
    """Runs with and without the box."""
    network = trained(case)
    stamp = {"group": case.group, "task": case.task, "rule": case.rule, "seed": case.seed, "name": case.name}
    stamp |= {"n": len(network.x), "loss": network.loss, "source": network.data.source, "code_version": version}
    return [{**stamp, "box": boxed, **judged(case, network, boxed)} for boxed in (True, False)]


def interval(right: int, of: int) -> dict[str, Any]:
    """A share of networks with its Clopper-Pearson interval of 95 %."""
    if not of:
        return {"right": right, "of": of, "low": None, "high": None}
    bounds = binomtest(right, of).proportion_ci(0.95, method="exact")
    return {"right": right, "of": of, "low": float(bounds.low), "high": float(bounds.high)}


def area(confidence: np.ndarray, right: np.ndarray) -> float | None:
    """Chance that a right image is given more confidence than a wrong one (the area under the ROC curve)."""
    good, bad = int(right.sum()), int((~right).sum())
    if not good or not bad:
        return None
    return float((rankdata(confidence)[right].sum() - good * (good + 1) / 2) / (good * bad))


def summed(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A line of the table."""

    def joined(key: str, kind: type) -> np.ndarray:
        return np.array([value for run in runs for value in run[key]], kind)

    near, scaled = joined("distance", float) < WITHIN, joined("scaled_distance", float) < WITHIN
    certified, vouched = joined("certified", bool), joined("up_to_scale", bool)
    confidence = joined("confidence", float)
    whole = [np.array(run["certified"], bool) for run in runs]
    right = [bool((np.array(run["distance"])[c] < WITHIN).all()) for run, c in zip(runs, whole) if c.any()]
    return {
        "networks": len(runs),
        "images": sum(run["n"] for run in runs),
        "certified": int(certified.sum()),
        "false": int((certified & ~near).sum()),
        "up_to_scale": int((vouched & ~certified).sum()),
        "false_up_to_scale": int((vouched & ~scaled).sum()),
        "right_networks": interval(sum(right), len(right)),
        "confident": int((confidence >= SURE).sum()),
        "confident_right": int(((confidence >= SURE) & near).sum()),
        "auc": area(confidence, near),
    }


def record(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """All runs with a line for each group, with the box and without."""
    groups = dict.fromkeys(run["group"] for run in runs)
    lines = [
        {"group": group, "box": box, **summed([r for r in runs if r["group"] == group and r["box"] == box])}
        for group, box in product(groups, (True, False))
    ]
    return {"provenance": provenance(), "within": WITHIN, "table": lines, "all": summed(runs), "runs": list(runs)}


def shown(made: Mapping[str, Any]) -> None:
    for line in [*made["table"], {"group": "all", "box": "both", **made["all"]}]:
        networks, auc = line["right_networks"], line["auc"]
        span = "" if networks["low"] is None else f" [{networks['low']:.3f}, {networks['high']:.3f}]"
        print(
            f"{line['group']:32} box {line['box']!s:5} {line['networks']:4} networks {line['images']:5} images: "
            f"{line['certified']:5} certified, {line['false']} false; up to scale {line['up_to_scale']:4} more, "
            f"{line['false_up_to_scale']} false; right {networks['right']}/{networks['of']}{span}; "
            f"confident {line['confident_right']}/{line['confident']}, AUC {'–' if auc is None else f'{auc:.3f}'}"
        )


def version_of_bars() -> str:
    """Of the code that a network's run depends on: attacks, training, tasks, the audit's search and this script."""
    modules = ("recon.attacks.exact_patches", "recon.dynamics", *(f"recon.tasks.{t}" for t in TASKS.values()))
    here, audit = Path(__file__).resolve().parent, PACKAGE / "auditing"
    return code_version(
        modules, (audit / "run.py", audit / "data.py", here / "exact_kinds.py", Path(__file__).resolve())
    )


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--out", type=Path, default=Path("results/certificate-bars.json"), help="the record (%(default)s)"
    )
    parser.add_argument("--first", type=int, default=33_000, help="first seed (%(default)s)")
    parser.add_argument(
        "--kinds",
        type=int,
        default=3,
        help="seeds of each kind (of patches twice as many), task and rule (%(default)s)",
    )
    parser.add_argument("--sizes", type=int, default=5, help="seeds of each size, task and rule (%(default)s)")
    parser.add_argument("--only", metavar="TEXT", default="", help="only groups whose name holds it")
    args = parser.parse_args(argv)
    version = version_of_bars()
    runs = [r for r in read_json(args.out)["runs"] if r["code_version"] == version] if args.out.exists() else []
    there = {run["name"] for run in runs}
    todo = [c for c in cases(args.first, args.kinds, args.sizes) if c.name not in there and args.only in c.group]
    try:
        with reporter("certificate bars") as report:
            for i, case in enumerate(todo):
                report(i / len(todo), case.name)
                runs += measured(case, version)
                if i % EVERY == EVERY - 1 or i == len(todo) - 1:
                    write_bytes(args.out, json_bytes(record(runs)))
    except KeyboardInterrupt:
        sys.exit("Interrupted: what is stored is kept, the same command goes on from there.")
    except ReconError as error:
        sys.exit(f"error: {error}")
    shown(record(runs))


if __name__ == "__main__":
    main()
