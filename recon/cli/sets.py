"""`recon distill` and `recon train`: small training sets, and networks trained on them, as files."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from recon.cli import completion
from recon.cli.console import say
from recon.cli.options import Activation, Draw, Rule, grouped
from recon.errors import ReconError, unknown
from recon.records.places import file_to_write, folder_to_write

if TYPE_CHECKING:
    from recon.distillation import DistilledSet
    from recon.dynamics import Dynamics
    from recon.networks import MLP
    from recon.tasks import TaskData

BATCH = 1000  # test images at once
SET, NET = Path(".recon/distilled.npz"), Path(".recon/trained")  # which git ignores

Number = Annotated[int, typer.Option("--n", help="Training images.")]


@grouped
def distill(
    draw: Draw,
    n: Number = 500,
    per_class: Annotated[int, typer.Option(help="Images of each class in the set.")] = 10,
    method: Annotated[
        str, typer.Option(help="Name of a distillation method, see `recon list`.", autocompletion=completion.methods)
    ] = "rkip",
    steps: Annotated[int | None, typer.Option(help="Steps of the optimiser (default: its own).")] = None,
    select: Annotated[
        Literal["loss", "held_out"] | None,
        typer.Option(help="Keep the images of least 'loss' or best on 'held_out' ones (default: loss)."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Chooses images and the method's start.")] = 0,
    path: Annotated[Path, typer.Option("--out", help="The set, for `recon train --data`.")] = SET,
    pngs: Annotated[Path | None, typer.Option(help="Empty folder for the set as pictures too.")] = None,
) -> None:
    """Make a small training set from a task's images and save it. Ctrl-C keeps the best so far."""
    from recon.distillation import distill as run
    from recon.distillation import infinite_accuracy
    from recon.tasks import load_task

    file_to_write(path)
    if pngs is not None and folder_to_write(pngs).exists() and any(pngs.iterdir()):
        raise ReconError(f"{pngs} holds something already: give an empty or a new folder.")
    data = load_task(draw.name, n, seed=seed, **draw.where)
    classes = max(2, data.outputs)  # one output tells two apart
    if per_class * classes >= n:
        raise ReconError(
            f"{per_class} images for each of {classes} classes are no fewer than the {n} to distil: lower --per-class."
        )
    given: dict[str, Any] = {"steps": steps, "select": select}
    options = {name: value for name, value in given.items() if value is not None}
    if method == "rkip-finite" and "steps" in options:
        options = {"options": options}  # they are the attack's
    made = run(data, per_class, method=method, key=seed, **options)
    made.save(path)
    if pngs is not None:
        made.save_pngs(pngs)
    took = sum(made.seconds.values())
    say(f"{data.task.title}, {data.source}: {n} images to {len(made)} by {method}, {took:.1f} s, {made.why}.")
    say(f"Loss {made.loss:.3g} at step {made.step}.")
    if len(data.test):
        right = infinite_accuracy(made.images, made.labels, data.test.x, data.test.y)
        say(f"Test accuracy at infinite width: {100 * right:.1f} % of {len(data.test)} images.")
    say(f"Stored in {path}.")


@grouped
def train(
    draw: Draw,
    data: Annotated[
        Path | None, typer.Option(help="A distilled set to train on (default: images of the task).")
    ] = None,
    n: Number = 500,
    widths: Annotated[str, typer.Option(help="Widths of the hidden layers, with commas.")] = "512,512",
    activation: Activation = "relu",
    dynamics: Rule = "standard",
    loss: Annotated[
        float | None, typer.Option(help="Train until the mean of ½(f − y)² is below this (default: the rule's own).")
    ] = None,
    seed: Annotated[int, typer.Option(help="Chooses images and initial weights.")] = 0,
    folder: Annotated[Path, typer.Option("--out", help="Folder for initial.npz, final.npz and train.json.")] = NET,
    kind: Annotated[
        Literal["npz", "safetensors"], typer.Option("--format", help="Of the weights: npz or safetensors.")
    ] = "npz",
) -> None:
    """Train a network on a distilled set, or on a task's images, test it on the task's test images, save its weights.

    The weights are arrays by name, Dense_0/kernel and so on. recon.load_weights reads them, for recon.reconstruct.
    """
    import jax
    import numpy as np

    from recon.distillation import DistilledSet
    from recon.dynamics import Linearised, outputs
    from recon.dynamics import train as run
    from recon.metrics import share_right
    from recon.records import json_bytes, provenance, write_bytes
    from recon.tasks import load_task
    from recon.weights import save_weights

    network, rule = network_of(widths, activation), dynamics_of(dynamics, loss)
    folder_to_write(folder)
    chosen = None if data is None else DistilledSet.load(data)
    n = n if chosen is None else max(2, len(chosen.classes))  # whose test images are wanted
    drawn = load_task(draw.name, n, seed=seed, **draw.where)
    x, y, test = drawn.train.x, drawn.train.y, drawn.test.x
    if chosen is not None and data is not None:
        fits(chosen, drawn, data)
        # Test images as the set's own network would see them.
        x, y, test = chosen.images, chosen.labels, test + (drawn.mean - chosen.mean)
    network = dataclasses.replace(network, outputs=y.shape[1])
    params0 = jax.tree.map(np.asarray, network.init(jax.random.key(seed), int(np.prod(x.shape[1:]))))
    made = run(network, params0, x, y, rule, progress=True)
    final, linearised = made.final.params, isinstance(rule, Linearised)

    def accuracy(images: np.ndarray, targets: np.ndarray) -> float:
        parts = (images[i : i + BATCH] for i in range(0, len(images), BATCH))
        return share_right(np.concatenate([outputs(network, params0, final, p, linearised) for p in parts]), targets)

    right, tested = accuracy(x, y), accuracy(test, drawn.test.y) if len(test) else None
    facts = {
        "images": len(x),
        "from": str(data.name) if data is not None else drawn.task.name,
        "task": drawn.task.name,
        "source": drawn.source,
        "network": dataclasses.asdict(network),
        "dynamics": {"rule": type(rule).__name__, **dataclasses.asdict(rule)},
        "seed": seed,
        "loss": made.final.loss,
        "steps": made.final.step,
        "why": made.why,
        "seconds": made.seconds,
        "train_accuracy": right,
        "test_accuracy": tested,
        "test_images": len(test),
        "provenance": provenance(),
    }
    for name, params in (("initial", params0), ("final", final)):
        save_weights(folder / f"{name}.{kind}", params)
    write_bytes(folder / "train.json", json_bytes(facts))
    name = data.name if data is not None else f"{drawn.task.title}, {drawn.source}"
    say(f"{len(x)} images of {name}, {dynamics}, widths {widths}: {made.seconds:.1f} s, {made.why}.")
    say(f"Train loss {made.final.loss:.2e}, {100 * right:.1f} % right.")
    share = "the source has no test split" if tested is None else f"{100 * tested:.1f} % of {len(test)} images"
    say(f"Test accuracy on {drawn.task.title}: {share}.")
    say(f"Stored in {folder}/: initial.{kind}, final.{kind}, train.json.")


def network_of(widths: str, activation: str = "relu") -> "MLP":
    """The network of hidden layers "512,256" with that activation."""
    from recon.networks import MLP

    numbers = [part.strip() for part in widths.split(",")]
    if not all(part.isdecimal() and int(part) for part in numbers):
        raise ReconError(f"{widths!r} are no widths of hidden layers: give numbers such as 512,512.")
    return MLP(tuple(map(int, numbers)), activation=activation)


def dynamics_of(name: str, loss: float | None = None) -> "Dynamics":
    """The training rule of a name, run to a loss (None: its own)."""
    from recon.dynamics import Descent, GradientFlow, Linearised

    rules: dict[str, Linearised | GradientFlow | Descent] = {
        "linearised": Linearised(),
        "standard": GradientFlow(),
        "descent": Descent(),
        "momentum": Descent(momentum=0.9),
    }
    if name not in rules:
        raise unknown("dynamics", name, rules)
    return rules[name] if loss is None else dataclasses.replace(rules[name], loss=loss)


def fits(chosen: "DistilledSet", drawn: "TaskData", file: Path) -> None:
    """Refuse a set that the task's test images do not belong to: of other images, outputs or classes."""
    mine = chosen.images.shape[1:], chosen.labels.shape[1], chosen.classes
    task = drawn.image_shape, drawn.outputs, tuple(drawn.task.groups) or chosen.classes
    if mine != task:
        a, b = (f"images {s}, {c} outputs, classes {', '.join(names)}" for s, c, names in (mine, task))
        raise ReconError(f"{file} has {a}; {drawn.task.name} has {b}: name its own --task.")
