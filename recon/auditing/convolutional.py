"""The audit of convolutions with hidden dense layers behind them.

The attack recovers the features that the convolutions gave to the dense layers, and from each the image that has them.
So the dense layers are what is attacked, and searched for members.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from recon.arrays import enable_x64
from recon.attacks import CONTROLS, Reconstruction, reconstruct
from recon.attacks.exact_features import MOVED
from recon.attacks.membership import Membership, membership
from recon.auditing.activation import AUTO, Activation
from recon.auditing.data import Images, load_images
from recon.auditing.premises import (
    refuse_pruned,
    refuse_unusable,
    refuse_weights,
    refuse_what_memory_does_not_hold,
    unmet,
    unrelated,
)
from recon.auditing.result import Audit, Stage
from recon.auditing.sources import Held, notes
from recon.auditing.view import CHANNELS, view_of
from recon.errors import ReconError
from recon.networks.conv_dense import ConvDense, dense_part
from recon.progress import Report
from recon.weights import stored_bits
from recon.weights.convolutional import Convolved, convolved, grid_of
from recon.weights.layout import Tree

ATTACK = "exact-features"
ADVICE = ": after one plain step say --linearised, else nothing is vouched for and single pictures cannot be tested"


@dataclass(frozen=True)
class Given:
    """What an audit of such a network is given.

    Attributes:
      held: arrays from before and after training, or a gradient.
      network: as told: 'conv:...' or a `ConvDense`.
      activation: of the hidden units, or `AUTO`, for ReLU.
      image_shape, kernels, data, held_out, mean, std, linearised, m, seconds, key, progress: as `audit` takes
        them.
    """

    held: Held
    network: str | ConvDense
    activation: str
    image_shape: Sequence[int] | None
    kernels: str | None
    data: object
    held_out: object
    mean: float | Sequence[float] | None
    std: float | Sequence[float] | None
    linearised: bool
    m: int | None
    seconds: float | None
    key: int
    progress: bool | Report


def attacked(given: Given) -> tuple[Audit, Images | None, Images | None]:
    """The audit but for its comparisons and its verdict; training and held-out images as they are loaded.

    Raises:
      ReconError: the arrays are no such network, or its geometry is not told.
    """
    began, held, one = time.perf_counter(), given.held, given.held.gradient
    shape = shape_of(given.image_shape)
    units = "relu" if given.activation == AUTO else given.activation
    options: dict[str, Any] = {"where": held.where, "kernels": given.kernels, "gradient": one, "change": held.change}
    there = convolved(held.before, held.after, given.network, shape, units, **options)
    params0, params1, network, layout = there.params0, there.params1, there.network, there.first
    dense = dense_part(params0), dense_part(params1)
    added = there.params1 if one else there.update
    names = [own.layers[len(network.widths)][0] for own in (layout, there.last)]
    refuse(dense, names, one)
    refuse_weights(params0, params1 if one else None, there.update if held.updates else None)
    view = view_of(int(np.prod(shape)), shape, given.mean, given.std, layout.transposed)
    view = replace(view, channels_first=layout.transposed)
    train, control = (None if x is None else load_images(x, view) for x in (given.data, given.held_out))
    known = one or given.linearised or not convolutions_changed(params0, params1)
    m = given.m or (CONTROLS if train is None else 2 * len(train.x))
    found = reconstruct(
        params0,
        None if one else params1,
        gradient=params1 if one else None,
        update=there.update,
        attack=ATTACK,
        network=network,
        image_shape=shape,
        box=view.box,
        linearised=given.linearised,
        m=m,
        seconds=given.seconds,
        key=given.key,
        progress=given.progress,
    )
    made = Audit(
        network=network,
        layout=replace(layout, left_out=tuple(dict.fromkeys((*layout.left_out, *there.last.left_out)))),
        view=view,
        found=unmirrored(found) if there.mirrored else found,
        attacks=(ATTACK,),
        stages=(Stage.of(ATTACK, found),),
        activation=Activation(given.activation != AUTO),
        from_gradient=one,
        updates=held.updates,
        notes=(*notes(held, layout, there.last), *there.notes),
        allowed=given.seconds,
        interrupted=found.interrupted,
        unrelated=not one and unrelated(params0, params1),
        bits=(stored_bits(jax.tree.leaves(params0)), stored_bits(jax.tree.leaves(params1))),
        membership=None if train is None or not known else members(there, train, control, one),
        doubts=(
            *unmet(*dense, added, network.head),
            *few_features(network, shape),
            *(doubt + ADVICE if doubt == MOVED else doubt for doubt in found.doubts),
        ),
        seconds=time.perf_counter() - began,
    )
    return made, train, control


def refuse(dense: tuple[Tree, Tree], names: Sequence[str], one: bool) -> None:
    """Refuse dense layers that no attack can use, as an audit of these alone does.

    Args:
      names: of the first one's kernel, before and after.
      one: the second tree is a gradient's.

    Raises:
      ReconError: they are such.
    """
    kernels = [tree["Dense_0"]["kernel"] for tree in dense]
    refuse_unusable(dense[0], names[0], "initial")
    refuse_unusable(dense[1], names[1], "gradient's" if one else "final")
    if not one:
        if np.array_equal(kernels[0], kernels[1]):
            raise ReconError(
                f"Training did not change the first dense layer, {names[0]}, which is attacked: leave out conv and "
                "say --features to audit the head behind it."
            )
        refuse_pruned(*dense, names[0])
    refuse_what_memory_does_not_hold(*kernels[0].shape)


def shape_of(image_shape: Sequence[int] | None) -> tuple[int, int, int]:
    """The shape of an image as (h, w, c), from (h, w), (h, w, c) or (c, h, w).

    Raises:
      ReconError: it is not given, and convolutions do not tell it, or it is none.
    """
    if image_shape is None:
        raise ReconError("Convolutions do not tell the size of images: say --image-shape 28x28, or 32x32x3.")
    sizes = [*map(int, image_shape)]
    if len(sizes) == 2:
        sizes = [*sizes, 1]
    if len(sizes) == 3 and sizes[0] in CHANNELS and sizes[2] not in CHANNELS:
        sizes = [*sizes[1:], sizes[0]]
    if len(sizes) != 3 or min(sizes) < 1:
        raise ReconError(f"{tuple(image_shape)} is no shape of a picture: give (28, 28) or (32, 32, 3).")
    return sizes[0], sizes[1], sizes[2]


def convolutions_changed(params0: Tree, params1: Tree) -> bool:
    """Whether training changed the convolutions, and so the features."""
    before, after = ({k: v for k, v in p.items() if k.startswith("Conv_")} for p in (params0, params1))
    return not all(jax.tree.leaves(jax.tree.map(np.array_equal, before, after)))


def few_features(network: ConvDense, shape: tuple[int, int, int]) -> tuple[str, ...]:
    """That features are too few for pixels, as a sentence without its stop, where they are."""
    features, pixels = int(np.prod(grid_of(network, shape))), int(np.prod(shape))
    few = (
        f"the convolutions give {features} features of an image's {pixels} pixels, too few to determine it: other "
        "images have the same features, and what comes back may be one of those"
    )
    return (few,) * (features < pixels)


def members(there: Convolved, train: Images, control: Images | None, one: bool) -> Membership:
    """Which images were trained on, by their features, which must have been the same in every step.

    Args:
      one: of a gradient.
    """

    def features(images: Images) -> Float[np.ndarray, "n f"]:
        x = images.x[:, ::-1, ::-1] if there.mirrored else images.x
        with enable_x64():  # sums in float32 are off by more than what an image may be by its own numbers' rounding
            return np.asarray(there.network.features(there.params0, np.ascontiguousarray(x, np.float64)))

    first, last = dense_part(there.params0), dense_part(there.params1)
    end, state = (first, last) if one else (last, None)
    update = None if there.update is None else dense_part(there.update)
    others = None if control is None else features(control)
    return membership(first, end, features(train), others, network=there.network.head, state=state, update=update)


def unmirrored(found: Reconstruction) -> Reconstruction:
    """A result on mirrored images as of the images themselves."""
    return replace(found, images=found.images[:, ::-1, ::-1], start=found.start[:, ::-1, ::-1], snapshots=())
