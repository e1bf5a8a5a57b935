"""Cells made small enough to run in a blink, for the contract of the benchmarks: a function for each kind of cell."""

import dataclasses
from functools import singledispatch

from recon.attacks import attacks
from recon.cells import AttackCell, PruningCell
from recon.cells.agreement import AgreementCell
from recon.cells.audit import AuditCell
from recon.cells.certificate import CertificateCell
from recon.cells.convolutional import Convolutional
from recon.cells.distillation import DistillationCell
from recon.cells.dp import DPCell
from recon.cells.early_stopping import EarlyStoppingCell
from recon.cells.finetuning import FinetuneCell
from recon.cells.frames import FramesCell
from recon.cells.gradient import PHOTOGRAPHS, GradientCell
from recon.cells.instances import Plain
from recon.cells.kinds import OWN
from recon.cells.known_rule import KnownRuleCell
from recon.cells.losses import LossCell
from recon.cells.noised_state import NoisedStateCell
from recon.cells.recovery import RecoveryCell
from recon.cells.resolution import ResolutionCell
from recon.cells.starts import StartCell
from recon.dynamics import Descent, GradientFlow, Linearised
from recon.dynamics.noised_linearised import NoisedLinearised
from recon.networks import MLP
from recon.networks.conv import CNN
from recon.networks.conv_dense import ConvDense


@singledispatch
def shrunk(cell):
    """The same cell with one width, one seed, and few enough sizes that figures share theirs."""
    raise NotImplementedError(f"say here how a {type(cell).__name__} is made small")


STARTS = 128  # of an exact search: a batch. Not so many seconds: a cell is the same whoever computes it, and when


def options_of(cell):
    """Thirty steps, or a batch of starts, of the cell's attack."""
    known = {f.name for f in dataclasses.fields(attacks()[cell.attack].settings)}
    kept = tuple((k, v) for k, v in cell.options if k == "points")
    return (*((k, v) for k, v in {"steps": 30, "starts": STARTS}.items() if k in known), *kept)


def rule_of(cell):
    """The cell's training rule, quick; rules of one figure alone stay as they are."""
    known = {Linearised: Linearised(), GradientFlow: GradientFlow(tol=1e-2), Descent: GradientFlow(tol=1e-2)}
    rule = known.get(type(cell.dynamics), cell.dynamics)
    rule = dataclasses.replace(rule, seed=0) if hasattr(rule, "seed") else rule
    if isinstance(rule, NoisedLinearised):
        rule = dataclasses.replace(rule, noise_multiplier=one_of(rule.noise_multiplier))
    return rule


@shrunk.register
def _(cell: AttackCell):
    less = {
        "n_train": 12 if cell.task == "mnist_odd_even" and cell.n_train > 20 else 10,
        "network": MLP((32, 32)),
        "dynamics": rule_of(cell),
        "options": options_of(cell),
        "seed": 0,
    }
    if isinstance(cell.network, CNN):
        small = CNN((128,), patch=14) if cell.network.patch else CNN((4, 4))
        less |= {"task": "mnist_odd_even", "network": small}
    if isinstance(cell.network, ConvDense):
        less |= {"task": "mnist_odd_even", "n_train": 4, "network": ConvDense((8, 16), dense=(64,))}
        less["options"] += (("repairs", 0),)
    if cell.task.startswith("tiny_imagenet"):  # as many as the package photographs allow, of one task
        less |= {"n_train": 6, "task": "tiny_imagenet_animal_object"}
        less["options"] += (("span", True),) if dict(cell.options).get("span") else ()
    return dataclasses.replace(cell, **less)


@shrunk.register
def _(cell: EarlyStoppingCell):
    if cell.stop:  # one checkpoint on the way tells as much as four
        cell = dataclasses.replace(cell, stops=(0.5,), stop=0.5)
    return shrunk.dispatch(AttackCell)(cell)


@shrunk.register
def _(cell: LossCell):
    rule = dataclasses.replace(cell.dynamics, max_steps=20)
    return dataclasses.replace(shrunk.dispatch(AttackCell)(cell), dynamics=rule)


def one_of(noise):
    """None, little or much: a curve needs no more."""
    return 0.0 if not noise else 0.1 if noise < 1 else 10.0


@shrunk.register
def _(cell: DPCell):
    rule = dataclasses.replace(rule_of(cell), steps=5, noise_multiplier=one_of(cell.dynamics.noise_multiplier))
    network = MLP((32 * cell.network.widths[0] // 128,) * 2)  # wider and narrower ones stay apart
    less = {"network": network, "dynamics": rule}
    return dataclasses.replace(shrunk.dispatch(AttackCell)(cell), **less)


@shrunk.register
def _(cell: NoisedStateCell):
    noise = one_of(cell.noise_multiplier)
    return dataclasses.replace(cell, n_train=10, steps=5, noise_width=32, noise_multiplier=noise, seed=0)


@shrunk.register
def _(cell: KnownRuleCell):
    asks = cell.attack in ("kkt", "simudy")  # for a training rule of its own
    less = {"Margin": {"steps": 50}, "Descent": {"loss": 0.1}}.get(type(cell.dynamics).__name__, {})
    rule = dataclasses.replace(cell.dynamics, **less) if asks else Linearised()
    known = {"simudy": {"steps": 2}, "exact": {"starts": STARTS}}.get(cell.attack, {"steps": 10})
    options = tuple((dict(cell.options) | known).items())
    return dataclasses.replace(cell, network=MLP((16,)), dynamics=rule, options=options, seed=0)


def linear(cell):
    """The cell, small, and trained in closed form."""
    return dataclasses.replace(shrunk(cell), dynamics=Linearised())


@shrunk.register
def _(cell: PruningCell):
    less = {"retrain": Linearised(), "kept": cell.kept[:2], "draws": 1}
    return dataclasses.replace(cell, base=shrunk(cell.base), **less)


@shrunk.register
def _(cell: ResolutionCell):
    base = linear(cell.base)
    side = 16 if "cifar10" in base.task else min(max(7, cell.side), 14)
    return dataclasses.replace(cell, base=base, side=side)


@shrunk.register
def _(cell: FinetuneCell):
    base = linear(cell.base)
    return dataclasses.replace(cell, base=base, n_public=min(cell.n_public, 20), pretraining=Linearised())


@shrunk.register
def _(cell: StartCell):
    base = linear(cell.base)
    return dataclasses.replace(cell, base=base, scale=0.2 * bool(cell.scale), start_seed=0)


@shrunk.register
def _(cell: DistillationCell):
    """Ten images to as many of them in proportion, in few steps."""
    rules = {"linearised": Linearised(), "standard": GradientFlow(loss=1e-3, tol=1e-2)}
    options = dict(cell.options)
    if cell.method == "rkip-finite":
        options |= {"network": MLP((32, 32)), "dynamics": GradientFlow(tol=1e-2), "options": (("steps", 30),)}
    elif not cell.chosen:
        options["steps"] = min(options.get("steps", 10), 10)
    return dataclasses.replace(
        cell,
        n_train=10,
        n_per_class=max(1, round(10 * cell.n_per_class / cell.n_train)),
        options=tuple(options.items()),
        networks=tuple((name, MLP((32, 32)), rules[name]) for name, *_ in cell.networks),
        seed=0,
    )


@shrunk.register
def _(cell: FramesCell):
    base = linear(cell.base)
    looks = tuple((k, 3) for k, _ in cell.base.options if k == "snapshots")
    return dataclasses.replace(cell, base=dataclasses.replace(base, options=(*base.options, *looks)))


@shrunk.register
def _(cell: RecoveryCell):
    if isinstance(cell.setting, Convolutional):
        setting = Convolutional("LeNet-like", cell.setting.training if cell.setting.training == "frozen" else "steps")
        options = (("starts", STARTS), ("repairs", 0))
        return dataclasses.replace(cell, task="mnist_odd_even", n_train=10, setting=setting, options=options, seed=0)
    setting = dataclasses.replace(cell.setting, width=64)
    if isinstance(setting, Plain):
        setting = dataclasses.replace(setting, dynamics=Linearised(), with_state=False)
    return dataclasses.replace(cell, n_train=10, setting=setting, options=options_of(cell), seed=0)


@shrunk.register
def _(cell: CertificateCell):
    training = cell.training if cell.training in ("flips", *OWN) else "plain"
    return dataclasses.replace(cell, n_train=4, training=training, depth=1, width=300 if cell.patches else 40, seed=0)


@shrunk.register
def _(cell: AuditCell):
    n = cell.n_train // 10
    return dataclasses.replace(cell, n_train=n, setting=dataclasses.replace(cell.setting, width=64), seed=0)


@shrunk.register
def _(cell: AgreementCell):
    return dataclasses.replace(cell, n_train=4, width=16, seed=0)


@shrunk.register
def _(cell: GradientCell):
    task = cell.task if cell.task == PHOTOGRAPHS else "mnist_10way"
    return dataclasses.replace(cell, task=task, n_train=10, batch=4, width=48, seed=0)
