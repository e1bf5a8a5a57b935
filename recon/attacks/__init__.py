"""Attacks by name, behind one call. A new attack is one file in this package that defines `ATTACK`."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from recon.attacks.base import Attack, Problem, Reconstruction, Spectrum, Tree, refuse_overflow
from recon.attacks.rank import first_layer_span
from recon.errors import ReconError
from recon.networks import MLP, Network, from_params
from recon.progress import Report, reporter
from recon.registry import changed, defined

__all__ = ["Attack", "Problem", "Reconstruction", "Spectrum", "attacks", "reconstruct", "with_options"]

CONTROLS = 64  # start images where nothing tells how many images there are


def attacks() -> dict[str, Attack]:
    """Every attack of the package, by name."""
    return defined(__name__, "ATTACK")


def with_options(name: str, options: Mapping[str, Any]) -> tuple[Attack, Any]:
    """The attack called `name`, and its settings with `options` changed; see `recon.registry.changed`."""
    return changed(attacks(), "attack", name, options)


def reconstruct(
    params0: Mapping[str, Mapping[str, Any]],
    params1: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    gradient: Mapping[str, Mapping[str, Any]] | None = None,
    update: Mapping[str, Mapping[str, Any]] | None = None,
    attack: str = "ntk-fast",
    network: Network | None = None,
    image_shape: tuple[int, ...] | None = None,
    box: tuple[Any, Any] | None = None,
    m: int | None = None,
    linearised: bool = False,
    state: Mapping[str, Mapping[str, Any]] | None = None,
    start: np.ndarray | None = None,
    key: PRNGKeyArray | int = 0,
    progress: bool | Report = True,
    **options: Any,
) -> Reconstruction:
    """Recover training images from the initial and the final weights of a network, or from weights and one gradient.

    Args:
      params0, params1: weights in Flax layout, {'Dense_0': {'kernel': (in, out), 'bias': (out,)}, ...}, NumPy or JAX.
      gradient: in the place of `params1`, the gradient at `params0` of a loss summed or averaged over the training
        images, a tree shaped like the weights. The attack `exact` computes with one of float64 as it is, others in
        float32.
      update: the weights' change where it is known by itself, as the sum of a client's steps is: beside `params1` or in
        its place. Numbers of float64, and of float32 on smaller ones than the weights, count as such.
      attack: name of the solver, see `attacks()`.
      network: the architecture (default: the plain MLP with ReLU whose weights these are).
      image_shape: shape of one image (default: flat, (in,)).
      box: least and greatest value of an input, scalars or by channel; None: unknown.
      m: number of images to reconstruct (default: twice the number of training images that the rank of the first
        layer's change shows).
      linearised: the weights are those of a Taylor model around `params0`.
      state: the optimiser's state where a checkpoint holds it, a tree shaped like the weights: Adam's first moment or
        SGD's momentum buffer. The attack `exact` uses it in place of the weight change.
      start: (m, *image_shape) images to start from, for attacks that descend (default: noise).
      key: PRNG key, or a seed.
      progress: show a progress bar, or a `Report` to call.
      **options: settings of the attack to change, by name.

    Returns:
      The reconstruction; after Ctrl-C the best so far, with `interrupted` true.

    Raises:
      ReconError: unknown attack or option, weights that are not finite, too large, not alike or unchanged, a gradient
        beside `params1` or `state` or for an attack that cannot use one, or no way to tell `m`.
    """
    if (params1 is None and update is None) == (gradient is None):
        raise ReconError("Give the final weights, params1, or in their place one gradient or an update.")
    solver, settings = with_options(attack, options)
    network = from_params(params0) if network is None else network
    solver.check(network)
    moved = None if update is None else _like(update, params0, "update")
    if params1 is None and moved is not None:
        params1 = jax.tree.map(np.add, _finite(params0, "initial", np.float64), moved)
    if params1 is not None:
        if isinstance(network, MLP) and from_params(params0) != from_params(params1):
            found = from_params(params0), from_params(params1)
            raise ReconError(f"Initial and final weights are of different networks: {found[0]} and {found[1]}.")
        before, after = _finite(params0, "initial"), _finite(params1, "final")
        one = None
    elif gradient is not None:
        if state is not None or linearised or not solver.of_change:
            which = "optimiser's state and linearised" if solver.of_change else f"attack {attack!r}"
            raise ReconError(f"One gradient says nothing of the {which}: leave out one of the two.")
        before, one = _at_one_point(params0, gradient, solver.double)
        after, linearised = jax.tree.map(np.subtract, before, one), True
    shape = _image_shape(network, before, after, image_shape)
    change = jax.tree.map(lambda a, b: b - a, before, after) if one is None else one
    change = change if moved is None else moved
    if not any(np.any(leaf) for leaf in jax.tree.leaves(change)):
        what = "Initial and final weights are equal" if one is None else "The gradient is zero everywhere"
        raise ReconError(f"{what}: there is no change to reconstruct from.")
    held = None if state is None else _finite(state, "state's")
    if held is not None and jax.tree.map(np.shape, held) != jax.tree.map(np.shape, before):
        raise ReconError("The optimiser state is not shaped like the weights: give the tree of Adam's first moment.")
    if start is not None and not solver.descends:
        raise ReconError(f"The attack {attack!r} does not start from images: leave out start.")
    if m is None and start is not None:
        m = len(start)
    if m is None and not isinstance(network, MLP):
        raise ReconError("The weights of such a network do not tell the number of images: give m.")
    if m is None and one is not None and not solver.descends:
        m = CONTROLS  # the rank is the solver's own to tell, and need not show as a gap
    if m is None:
        span = first_layer_span((change if held is None else held)["Dense_0"]["kernel"])
        if not span.clear:
            raise ReconError("The rank of the first layer's change does not tell the number of images: give m.")
        m = 2 * span.n
    if m < 1:
        raise ReconError(f"Cannot reconstruct {m} images: choose m of at least 1.")
    limits = None if box is None else _box(box, shape)
    if start is not None and np.shape(start) != (m, *shape):
        raise ReconError(f"The images to start from are of shape {np.shape(start)}: give {(m, *shape)}.")
    first = None if start is None else np.asarray(start, np.float32)
    problem = Problem(network, before, after, shape, limits, linearised, m, held, first, one, moved)
    rng = jax.random.key(key) if isinstance(key, int) else key
    with reporter(f"attack {attack}", progress) as report:
        return solver.run(problem, settings, rng, report)


def _image_shape(network: Network, before: Tree, after: Tree, given: tuple[int, ...] | None) -> tuple[int, ...]:
    """The shape of one image, as given or, of an MLP, as the weights tell it."""
    if not isinstance(network, MLP):
        if given is None:
            raise ReconError("The weights of such a network do not tell the shape of an image: give image_shape.")
        return tuple(given)
    dim = before["Dense_0"]["kernel"].shape[0]
    if after["Dense_0"]["kernel"].shape[0] != dim:
        raise ReconError(f"Initial weights take {dim} inputs, final ones {after['Dense_0']['kernel'].shape[0]}.")
    shape = (dim,) if given is None else tuple(given)
    if int(np.prod(shape)) != dim:
        raise ReconError(f"Images of shape {shape} have {int(np.prod(shape))} numbers, the network takes {dim}.")
    return shape


def _at_one_point(
    params: Mapping[str, Mapping[str, Any]], gradient: Mapping[str, Mapping[str, Any]], double: bool
) -> tuple[Tree, Tree]:
    """Weights and the gradient there, in float64 where the gradient's numbers are not float32's and it helps."""
    before, one = _finite(params, "initial", np.float64), _like(gradient, params, "gradient")
    leaves = jax.tree.leaves(one)
    if double and any(np.any(leaf != leaf.astype(np.float32)) for leaf in leaves):
        return before, one
    return tuple(jax.tree.map(lambda a: a.astype(np.float32), tree) for tree in (before, one))


def _like(tree: Mapping[str, Mapping[str, Any]], params: Mapping[str, Mapping[str, Any]], which: str) -> Tree:
    """A tree in float64, if it is shaped like the weights."""
    try:
        made = _finite(tree, f"{which}'s", np.float64)
        alike = jax.tree.map(np.shape, made) == jax.tree.map(np.shape, params)
    except (AttributeError, TypeError, ValueError):
        alike = False
    if not alike:
        raise ReconError(f"The {which} is not shaped like the weights: give a tree with an array for each of theirs.")
    return made


def _finite(params: Mapping[str, Mapping[str, Any]], which: str, dtype: Any = np.float32) -> Tree:
    tree = {name: {k: np.asarray(v, dtype=dtype) for k, v in layer.items()} for name, layer in params.items()}
    for name, layer in tree.items():
        for part, array in layer.items():
            if not np.isfinite(array).all():
                raise ReconError(f"The {which} weights hold values that are not finite, in {name} {part}.")
    refuse_overflow(tree, which)
    return tree


def _box(box: tuple[Any, Any], shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    low, high = (np.asarray(b, dtype=np.float32) for b in box)
    for side in (low, high):
        if side.ndim > 1 or (side.ndim == 1 and side.shape[0] not in (1, shape[-1])):
            raise ReconError(f"The box must be scalars or one value for each of the {shape[-1]} channels.")
    if not np.all(low < high):
        raise ReconError("The box's least value must lie below its greatest.")
    return low, high
