"""From two sets of weights to what an attacker gets of the training images, and how surely."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from recon.attacks import CONTROLS, Reconstruction, attacks, reconstruct
from recon.attacks.membership import membership
from recon.auditing import convolutional
from recon.auditing.activation import AUTO, TRIED, Activation, asked, point, tell
from recon.auditing.data import Images, compare, drawn, load_images, nearest
from recon.auditing.defences import COLUMNS, measure_defences
from recon.auditing.premises import (
    at_unknown_factors,
    before_normalisation,
    nothing_found,
    of_low_rank,
    of_unit_kernels,
    perhaps_merged,
    refuse_pruned,
    refuse_unusable,
    refuse_weights,
    refuse_what_memory_does_not_hold,
    unmet,
    unrelated,
    weights_like,
)
from recon.auditing.result import Audit, Defences, Predicted, Stage, count_certified, count_vouched
from recon.auditing.sources import Held, Source, held, notes, read
from recon.auditing.verdict import verdict
from recon.auditing.view import View, view_of
from recon.errors import NoSearch, ReconError, unknown
from recon.memory import TooLarge
from recon.networks import MLP, Network, from_params
from recon.networks.conv_dense import ConvDense
from recon.progress import Report, reporter
from recon.weights import Layout, arranged_both, momentum, stored_bits, widths_of
from recon.weights.convolutional import is_convolutional
from recon.weights.layout import Tree
from recon.weights.updates import difference

Pictures = str | Path | np.ndarray | Sequence[Any] | Mapping[str, Any]
"""Images: a folder or a file, an array or a list of them, or arrays by name."""

LIMIT, RELATIVE = 0.1, 1e-3  # L2 of pixels in [0, 1], and relative L2 of features, below which one is recovered
TRIES = 4  # of the exact search: now and then one gets stuck where another, by other random numbers, does not;
TRY_SECONDS = 60.0  # as long as that is quick
QUICK = 7  # dry batches after which other activations are tried; above those that a last faint image is given
SEEDS = 2**31  # keys are below


def audit(
    initial: Source,
    final: Source | None = None,
    *,
    gradient: Source | None = None,
    update: Source | Sequence[Source] | None = None,
    adapter: str | Path | None = None,
    network: str | Sequence[int] | MLP | ConvDense | None = None,
    activation: str = AUTO,
    layers: str | Sequence[str] = (),
    kernels: str | None = None,
    optimizer_state: Source | None = None,
    features: bool = False,
    data: Pictures | None = None,
    held_out: Pictures | None = None,
    image_shape: Sequence[int] | None = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    linearised: bool = False,
    attack: str = "auto",
    m: int | None = None,
    limit: float | None = None,
    seconds: float | None = None,
    key: int = 0,
    defences: bool = False,
    progress: bool | Report = True,
) -> Audit:
    """Attack a network by its initial and final weights, or by one gradient, and say what comes back.

    Args:
      initial, final: files that `recon.weights.read_arrays` reads, or arrays by name, nested or not.
      gradient: in the place of `final`, the loss's gradient at the initial weights, of one batch: a file or arrays
        that are named or shaped as the weights are. Numbers of float64 count as such.
      update: in the place of `final`, what training added to each of the weights, final less initial: a file or arrays
        named as the weights are. Of several, as of the clients of a round, their mean counts, and their images as one
        training set.
      adapter: in the place of `final`, a LoRA adapter of PEFT's for the initial weights: its folder, or the file beside
        its adapter_config.json.
      network: 'mlp:1024x1024', widths or an `MLP`, to be checked against the weights (default: as they tell); an `MLP`
        tells the activation, too; convolutions before hidden dense layers as 'conv:…', see
        `recon.weights.convolutional`, or a `ConvDense`; in the NTK parametrisation the factors that weights act with.
      activation: of the hidden units, by a name that `recon.networks.named` takes; 'auto' tries ReLU, and where the
        attack vouches for nothing then the others, of which the right one alone explains the change after one step, a
        few small ones or linearised training.
      layers, kernels: as `recon.weights.arranged` takes them, where shapes and names do not tell.
      optimizer_state: of a checkpoint, the file or arrays with Adam's first moment or SGD's momentum buffer; it is
        attacked in place of the weights' change.
      features: leave out what training did not change, a frozen feature extractor, and attack the head behind it:
        what comes back are the features of the training images.
      data: training images to measure distances to: a folder of pictures, a file with an array, an array or a
        list of them, or a dictionary with one, named x if it holds several.
      held_out: as many images that were not trained on, the control.
      image_shape: (h, w, c) or (c, h, w), the order in which the network takes them (default: a square, if it is one).
      mean, std: the network takes (pixel − mean)/std of pixels in [0, 1]; tells the attack the box they lie in.
      linearised: the weights are those of a Taylor model around the initial ones.
      attack: name of an attack, or 'auto': 'exact', a few times if need be, then 'hybrid' where that leaves images out,
        or 'ntk-fast' where the rank does not tell the number of images.
      m: number of images for attacks that need one (default: twice the estimated or given number).
      limit: distance, in the network's inputs, under which an image counts as recovered (default: L2 0.1 over the std,
        of features 0.001 of their length).
      seconds: stop each stage of an attack after so much time.
      key: seed of the attack.
      defences: measure, too, what would stop the attack (a minute or so).
      progress: show a progress bar, or a `Report` to call.

    Raises:
      ReconError: files that cannot be read, networks that cannot be audited, options that do not fit.
    """
    began = time.perf_counter()
    check(seconds, limit, m, key)
    activation = asked(activation, network, initial)
    given = held(initial, final, gradient, update, adapter)
    one, before, after, what = given.gradient, given.before, given.after, given.what
    if one and (optimizer_state is not None or features or linearised):
        raise ReconError("Give the final weights or, without an optimiser's state and --features, one gradient.")
    if is_convolutional(network):
        if features or layers or optimizer_state is not None or adapter or attack not in ("auto", convolutional.ATTACK):
            raise ReconError(
                "Through convolutions one attack alone goes, exact-features, from weights, an update or a gradient: "
                "leave out --features, --layers, --optimizer-state, --adapter and --attack."
            )
        if defences:
            raise ReconError("What would stop an attack is measured on MLPs alone: leave out --defences.")
        made, train, control = convolutional.attacked(
            convolutional.Given(
                given, network, activation, image_shape, kernels, data, held_out, mean, std, linearised, m, seconds,
                int(key), progress,
            )
        )  # fmt: skip
        limit = LIMIT * made.view.width if limit is None else limit
        made = replace(made, **comparisons(train, control, made.found, limit, False, False))
        return replace(made, verdict=verdict(made), seconds=time.perf_counter() - began)
    options: dict[str, Any] = {"widths": widths_of(network), "layers": layers, "kernels": kernels}
    layout, last = arranged_both(before, after, **options, trained=features, gradient=one, where=given.where)
    params0, params1 = layout.tree(before), last.sums(before, after) if one else last.tree(after)
    moved = None if one else precise_change(given, layout, last)
    mlp = from_params(params0)
    if mlp != from_params(params1):
        raise ReconError(f"The initial weights are of {describe(params0)}, the {what} of {describe(params1)}.")
    if isinstance(network, MLP):
        mlp = replace(network, outputs=mlp.outputs, bias=mlp.bias)
    mlp = replace(mlp, activation="relu" if activation == AUTO else activation)
    inside = [fold.name for fold in layout.folds if fold.inside]
    if mlp.units.leak is None and inside:
        raise ReconError(
            f"{inside[0]} is of a normalisation before units of {mlp.activation}, which cannot be folded as one before "
            "ReLU can: audit a network without it."
        )
    refuse_unusable(params0, layout.names[0], "initial")
    refuse_unusable(params1, last.names[0], "gradient's" if one else "final")
    refuse_weights(params0, params1 if one else None, moved if given.updates else None)
    frozen = np.array_equal(params0["Dense_0"]["kernel"], params1["Dense_0"]["kernel"])
    if frozen and any(not np.array_equal(before[a], after[b]) for a, b in zip(layout.names, last.names, strict=True)):
        raise ReconError(
            f"Training did not change the first layer, {layout.names[0]}: say --features to audit the head behind it."
        )
    if not one:
        refuse_pruned(params0, params1, layout.names[0])
    state = None if optimizer_state is None else momentum(read(optimizer_state), last, after)
    if state is not None and any(weights_like(state, params) for params in (params0, params1)):
        raise ReconError(
            "The optimiser's state is the weights, initial or final: give Adam's first moment or SGD's momentum buffer."
        )
    view = view_of(len(params0["Dense_0"]["kernel"]), image_shape, mean, std, layout.transposed, features)
    if limit is None:
        limit = RELATIVE if features else LIMIT * view.width
    train, control = (None if source is None else load_images(source, view) for source in (data, held_out))
    if m is None and train is not None:
        m = 2 * len(train.x)
    common: dict[str, Any] = {
        "network": mlp,
        "image_shape": view.shape,
        "box": view.box if layout.inputs is None else None,
        "linearised": linearised,
        "state": None if state is None else reorder(state, view),
        "gradient": reorder(params1, view) if one else None,
        "update": None if moved is None else reorder(moved, view),
        "progress": progress,
    }
    refuse_what_memory_does_not_hold(*params0["Dense_0"]["kernel"].shape)
    inputs = None if layout.inputs is None else tuple(part[view.order] for part in layout.inputs.affine(before))
    first_weights, last_weights = reorder(params0, view), None if one else reorder(params1, view)
    # What an adapter adds to the first layer is a product of its own two matrices, and of no images.
    ranks = given.ranks if layout.names[0] in given.ranks else {}
    used = None
    if train is not None and not ranks:
        tested = seen_by_layers(train.x, inputs)
        others = None if control is None else seen_by_layers(control.x, inputs)
        summed = common["gradient"] if one else common["state"]
        end = first_weights if last_weights is None else last_weights
        used = membership(first_weights, end, tested, others, network=mlp, state=summed, update=common["update"])
    if ranks and attack == "auto":
        ran = Ran((), nothing_found(view.shape, of_low_rank(ranks)), mlp, Activation(activation != AUTO))
    else:
        told = activation != AUTO
        ran = run_attacks(first_weights, last_weights, attack, m, seconds, int(key), common, told or bool(inside))
        ran = replace(ran, activation=replace(ran.activation, told=told))
        if ranks:  # by another attack's name, whose images are no more than its guess
            ran = replace(ran, found=replace(ran.found, certified=None, up_to_scale=None, n_estimated=None))
    mlp = replace(mlp, activation=ran.network.activation)
    unknown = mlp.parametrisation == "standard" and of_unit_kernels(params0)
    found = at_unknown_factors(ran.found, view) if unknown else ran.found
    if inputs is not None:
        found = before_normalisation(found, inputs[0], inputs[1], view)
    unmerged = one or given.ranks or state is not None
    other = "" if count_vouched(found) or unmerged else perhaps_merged(params0, params1)
    if other and used is not None:
        used = replace(used, clear=False, why=other)
    if state is None:  # which holds what the final weights' file does
        layout = replace(layout, left_out=tuple(dict.fromkeys((*layout.left_out, *last.left_out))))
    # Without biases the change is that of any multiple of the images; only their pixels' box may tell it.
    sizeless = view.box is None and "bias" not in params0["Dense_0"]
    ends = () if unknown or linearised else (first_weights, last_weights)  # of which the files tell the outputs
    shown = seen_by_layers(found.images, inputs)
    classes = predicted(mlp, ends, shown, None if train is None else seen_by_layers(train.x, inputs))
    made = Audit(
        network=mlp,
        layout=layout,
        view=view,
        found=found,
        attacks=ran.attacks,
        stages=ran.stages,
        from_state=state is not None,
        from_gradient=one,
        updates=given.updates,
        adapter=bool(given.ranks),
        notes=notes(given, layout, last),
        features=features,
        allowed=seconds,
        skipped=ran.skipped,
        interrupted=ran.interrupted,
        activation=ran.activation,
        unrelated=not one and unrelated(params0, params1),
        bits=(stored_bits(jax.tree.leaves(params0)), stored_bits(jax.tree.leaves(given.change or params1))),
        membership=used,
        predicted=classes,
        doubts=(
            *unmet(params0, params1, params1 if one else moved if state is None else state, mlp),
            *([other] if other else []),
            *(ran.doubts or found.doubts),
        ),
        **comparisons(train, control, found, limit, features, sizeless),
    )
    if defences and (given.ranks or inputs is not None):
        words = "Nothing was measured: it takes a network without an adapter or a normalisation of the inputs."
        made = replace(made, defences=Defences(words, COLUMNS, ()))
    elif defences and not made.interrupted:
        with reporter("defences", progress) as report:
            tried = measure_defences(made, first_weights, last_weights, common, seconds, int(key), report)
        made = replace(made, defences=tried)
    return replace(made, verdict=verdict(made), seconds=time.perf_counter() - began)


def precise_change(given: Held, layout: Layout, last: Layout) -> Tree | None:
    """What training added to the weights, where their float32 numbers do not tell it as precisely."""
    wide = any(given.after[name].dtype == np.float64 for name in last.names)
    if not (wide or layout.folds):
        return None
    return layout.sums(given.before, given.change or difference(given.before, given.after, layout, last))


def seen_by_layers(x: np.ndarray, inputs: tuple[np.ndarray, ...] | None) -> np.ndarray:
    """Images as they are behind a normalisation of the inputs, by its gain and offset."""
    return x if inputs is None else x.reshape(len(x), -1) * inputs[0] + inputs[1]


def comparisons(
    train: Images | None, control: Images | None, found: Reconstruction, limit: float, features: bool, sizeless: bool
) -> dict[str, Any]:
    """The audit's comparisons: to the best multiples where that is all that the attack vouches for, and it helps.

    Args:
      sizeless: nothing can tell how bright an image is.
    """
    few = None if control is None else drawn(control, len(control.x) if train is None else len(train.x))

    def sides(scaled: bool) -> dict[str, Any]:
        given = {"train": (train, found.images), "start": (train, found.start), "held_out": (few, found.images)}
        apart = {k: x and compare(x, made, limit, features, scaled) for k, (x, made) in given.items()}
        return {**apart, "up_to_scale": scaled}

    told = sides(sizeless)
    if not (sizeless or train is None or count_certified(found) or not count_vouched(found)):
        scaled = sides(True)
        told = scaled if scaled["train"].within > told["train"].within else told
    if train is not None and control is not None:
        told["nearest"] = nearest(train, control, found.images, features, told["up_to_scale"])
    return told


def predicted(
    network: MLP, weights: Sequence[Tree | None], found: np.ndarray, train: np.ndarray | None
) -> tuple[Predicted, ...]:
    """Classes of images at each of the weights that are known, by the greatest output; none of a single output."""
    if network.outputs < 2:
        return ()

    def told(params: Tree, x: np.ndarray) -> np.ndarray:
        classes: np.ndarray = np.asarray(network.apply(params, x.reshape(len(x), -1))).argmax(axis=1)
        return classes

    known = [params for params in weights if params is not None]
    return tuple(Predicted(told(params, found), None if train is None else told(params, train)) for params in known)


def check(seconds: Any, limit: Any, m: Any, key: Any) -> None:
    """Refuse numbers that mean nothing, before anything is computed."""
    for name, value in (("seconds", seconds), ("limit", limit)):
        if value is not None and not (isinstance(value, int | float | np.number) and value > 0):
            raise ReconError(f"{name} is {value!r}: give a number above zero, or leave it out.")
    if m is not None and not (isinstance(m, int | np.integer) and m > 0):
        raise ReconError(f"m is {m!r}: give a whole number of images, 1 or more, or leave it out.")
    if not (isinstance(key, int | np.integer) and 0 <= key < SEEDS):
        raise ReconError(f"key is {key!r}: give a whole number from 0 to {SEEDS - 1}, the attack's seed.")


@dataclass(frozen=True)
class Ran:
    """What was run of the attacks, in order, and the best result; the others as of `Audit`.

    Attributes:
      network: that `found` is of, with its activation.
    """

    stages: tuple[Stage, ...]
    found: Reconstruction
    network: Network
    activation: Activation
    skipped: str | None = None
    interrupted: bool = False
    doubts: tuple[str, ...] = ()

    @property
    def attacks(self) -> tuple[str, ...]:
        """Names of what was run."""
        return tuple(stage.attack for stage in self.stages)


def one_stage(attack: str, found: Reconstruction, network: Network, activation: Activation) -> Ran:
    """A run of one attack by itself."""
    return Ran((Stage.of(attack, found),), found, network, activation, interrupted=found.interrupted)


def run_attacks(
    params0: Tree,
    params1: Tree | None,
    attack: str,
    m: int | None,
    seconds: float | None,
    key: int,
    common: Mapping[str, Any],
    told: bool,
) -> Ran:
    """Run an attack, or the strongest that applies.

    Args:
      told: the network's activation was said; else it is ReLU, and others are tried.
    """
    if attack != "auto":
        if attack not in attacks():
            raise unknown("attack", attack, ["auto", *sorted(attacks())])
        timed: dict[str, Any] = {} if seconds is None else {"seconds": seconds}  # which not all take
        found = without_unsure_rank(reconstruct(params0, params1, attack=attack, m=m, key=key, **timed, **common))
        return one_stage(attack, found, common["network"], Activation(told))
    ran = search(params0, params1, m, key, seconds, common, told)
    n = ran.found.n_estimated
    if ran.interrupted or (m is None if n is None else ran.found.why == "complete"):
        return ran
    options: dict[str, Any] = {"seconds": seconds, "key": key, **common, "network": ran.network}
    if n is None:
        made = add_stage(ran, params0, params1, attack="ntk-fast", m=m, **options)
        return replace(made, doubts=ran.found.doubts)
    if ran.network.activation == "relu":
        return add_stage(ran, params0, params1, attack="hybrid", m=m or 2 * n, gradient_seconds=seconds, **options)
    # Another attack's images are no better than those that the right activation's search found.
    if len(ran.found.images):
        return ran
    return add_stage(ran, params0, params1, attack="ntk-fast", m=m or 2 * n, **options)


def search(
    params0: Tree,
    params1: Tree | None,
    m: int | None,
    key: int,
    seconds: float | None,
    common: Mapping[str, Any],
    told: bool,
) -> Ran:
    """The exact attack; where it leaves images out, a few times if it is quick, with other random numbers.

    Where it vouches for nothing and nobody told the activation, others are tried.
    """
    began = time.perf_counter()
    options: dict[str, Any] = {"attack": "exact", "m": m or CONTROLS, "seconds": seconds, **common}
    network, activation = common["network"], Activation(told)
    if network.activation != "relu":
        activation = replace(activation, trials=tell(params0, params1, (network.activation,), key, seconds, common))
        if activation.trials:
            params0, params1, options = point(params0, params1, activation.trials[0], options)
    quick: dict[str, Any] = {} if told else {"patience": QUICK}
    try:
        exact = reconstruct(params0, params1, key=key, **options, **quick)
    except NoSearch as error:  # other attacks may still make something of it, and what was used is tested without one
        nothing = nothing_found(common["image_shape"], str(error).rstrip("."))
        return one_stage("exact", nothing, network, activation.ran(network.activation, 0))
    ran = one_stage("exact", exact, network, activation.ran(network.activation, count_vouched(exact)))
    if not (told or ran.interrupted or count_vouched(exact) or exact.n_estimated is None):
        ran = search_others(ran, params0, params1, key, seconds, options)
    if ran.network != network:
        params0, params1, options = point(params0, params1, ran.activation.trials[0], options)
    elif not (told or ran.interrupted) and exact.why == "nothing more found":
        exact = reconstruct(params0, params1, key=key, **options)
        activation = ran.activation.ran(network.activation, count_vouched(exact))
        ran = replace(one_stage("exact", exact, network, activation), skipped=ran.skipped)
    while not ran.interrupted and count_vouched(ran.found) < (exact.n_estimated or 0) and len(ran.attacks) < TRIES:
        if time.perf_counter() - began > TRY_SECONDS:
            break
        if ran.found.why == "complete" and ran.network.units.leak:
            break  # all are found: what keeps them from being vouched for is no chance
        # On odd tries the patterns alone are searched, more loosely.
        ran = add_stage(ran, params0, params1, key=key + len(ran.attacks), loose=bool(len(ran.attacks) % 2), **options)
    return ran


def search_others(
    ran: Ran, params0: Tree, params1: Tree | None, key: int, seconds: float | None, options: Mapping[str, Any]
) -> Ran:
    """The exact attack with the activation that explains the change best, if one does better than ReLU.

    Its result stands if it vouches for something, or the change is explained as nothing but the right one explains it.
    """
    try:
        trials = tell(params0, params1, TRIED, key, seconds, options)
        ran = replace(ran, activation=replace(ran.activation, trials=trials))
        if not trials or not trials[0].near or trials[0].activation == "relu":
            return ran
        before, after, there = point(params0, params1, trials[0], options)
        found = reconstruct(before, after, key=key, **there)
    except KeyboardInterrupt:
        return replace(ran, interrupted=True)
    vouched = count_vouched(found)
    made = replace(
        ran,
        stages=(*ran.stages, Stage.of("exact", found)),
        activation=ran.activation.ran(trials[0].activation, vouched),
        interrupted=found.interrupted,
    )
    return replace(made, found=found, network=there["network"]) if vouched or trials[0].right else made


def add_stage(ran: Ran, params0: Tree, params1: Tree | None, *, attack: str, **options: Any) -> Ran:
    """One more stage. What it finds replaces what was found if it is surer; the gradient attacks' also if as sure.

    What was found stands where the stage does not fit into memory, or is interrupted before it has begun.
    """
    try:
        found = without_unsure_rank(reconstruct(params0, params1, attack=attack, **options))
    except TooLarge as error:
        return replace(ran, skipped=f"The stage {attack} was left out. {error}")
    except KeyboardInterrupt:
        return replace(ran, interrupted=True)
    more, before = ((count_vouched(made), count_certified(made)) for made in (found, ran.found))
    better = more > before or (more == before and attack != "exact")
    best = replace(found, spectrum=found.spectrum or ran.found.spectrum) if better else ran.found
    return replace(
        ran,
        stages=(*ran.stages, Stage.of(attack, found)),
        found=best,
        activation=ran.activation.ran(ran.network.activation, more[0]) if attack == "exact" else ran.activation,
        interrupted=found.interrupted,
    )


def without_unsure_rank(found: Reconstruction) -> Reconstruction:
    """Without the number of images where the attack does not see whether the rank tells it: only the exact ones do."""
    return found if found.certified is not None else replace(found, n_estimated=None)


def describe(params: Tree) -> str:
    """A network's sizes in words, such as 'mlp:1024x1024 from 784 to 1'."""
    sizes = [layer["kernel"].shape for layer in params.values()]
    return f"mlp:{'x'.join(str(out) for _, out in sizes[:-1])} from {sizes[0][0]} to {sizes[-1][1]}"


def reorder(params: Tree, view: View) -> Tree:
    """The weights of a network that takes pictures as (h, w, c): its first kernel's rows in that order."""
    first = params["Dense_0"]
    return {**params, "Dense_0": {**first, "kernel": first["kernel"][view.order]}}
