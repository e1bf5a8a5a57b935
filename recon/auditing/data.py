"""Images to compare reconstructions with: folders of pictures, or files of arrays."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from recon.auditing.view import View
from recon.data.folder import SUFFIXES, pictures_in
from recon.errors import ReconError, printable
from recon.metrics import distances, greedy
from recon.weights import read_arrays
from recon.weights.names import few

NAMES = ("x", "images", "data", "features")  # of the array to take, where a file holds several
LABELS = ("y", "label", "labels", "target", "targets")  # of the array beside it that has a class for each image
CONTROL = 1_000  # held-out images are enough to show what 0.1 % of false positives are
SAME = 1e-2  # of an image's length: of pictures saved in eight bits and as numbers that much differs at most


@dataclass(frozen=True)
class Images:
    """Inputs of a network with their names.

    Attributes:
      x: shaped as the view's.
      names: files, or numbers in the order of the array.
      pixels: they were pixels, which the view's mean and std made inputs.
      converted: so many were grey pictures stored in colour, or stored in grey for a network that takes colour.
      labels: the class of each, as its folder is called or an array of numbers tells; None where nothing does.
    """

    x: Float[np.ndarray, "n *shape"]
    names: tuple[str, ...]
    pixels: bool = False
    converted: int = 0
    labels: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Compared:
    """Images and the reconstructions that stand for them, matched one to one.

    Attributes:
      images: what was compared.
      index: for each image its reconstruction, −1 for none.
      distance: L2, infinite where there is none; of features relative to the feature vector's length.
      limit: distance under which an image counts as recovered.
      scaled: distances are to the best multiple of each reconstruction.
    """

    images: Images
    index: Int[np.ndarray, " n"]
    distance: Float[np.ndarray, " n"]
    limit: float
    scaled: bool = False

    @property
    def within(self) -> int:
        """Number of images recovered."""
        return int((self.distance < self.limit).sum())


@dataclass(frozen=True)
class Nearest:
    """How far images are from their nearest reconstruction, which may be that of several.

    Attributes:
      train, held_out: distances of training images and of others, whatever the number of either.
    """

    train: Float[np.ndarray, " n"]
    held_out: Float[np.ndarray, " m"]


def load_images(source: Any, view: View) -> Images:
    """Images from a folder of pictures (or of class folders), a file of arrays, an array, or arrays by name.

    Pictures and 8-bit arrays are brought into the network's input space by the view's mean and std; other arrays are
    taken as the network's inputs, flat in its own order, or shaped.

    Raises:
      ReconError: none are there, or they do not fit the network.
    """
    if isinstance(source, Mapping):
        return chosen({str(name): array(value) for name, value in source.items()}, view, "The dictionary")
    if not isinstance(source, str | Path):
        return of_array(array(source), view, "The array")
    path = Path(source)
    if not os.access(path, os.R_OK):
        raise ReconError(f"{path} is not there or cannot be read: give a folder of pictures or an .npz of images.")
    if not path.is_dir():
        return chosen(read_arrays(path), view, str(path))
    if not view.pictures:
        raise ReconError(f"{path} holds pictures, the network takes {view.shape[0]} numbers: give an .npz of them.")
    files = sorted(f for f in path.rglob("*") if f.suffix.lower() in SUFFIXES)
    if not files:
        raise ReconError(f"{path} holds no picture: add some ({', '.join(sorted(SUFFIXES))}).")
    names = tuple(f.relative_to(path).as_posix() for f in files)
    pixels, others = pictures_in(files, view.shape[-1])
    folders = tuple(f.parent.name for f in files)
    labels = folders if len(set(folders)) > 1 and all(f.parent.parent == path for f in files) else None
    return Images(shaped(pixels, view, str(path)), names, pixels=True, converted=others, labels=labels)


def array(value: Any) -> np.ndarray:
    """An array, or what NumPy makes one of; lists of different lengths, of which it makes none, are refused."""
    try:
        return np.asarray(value)
    except (ValueError, TypeError) as error:
        raise ReconError(
            f"Images of the type {type(value).__name__} make no array: give a folder, a file, an array or a dictionary."
        ) from error


def chosen(arrays: Mapping[str, np.ndarray], view: View, where: str) -> Images:
    """Images of the array that holds them, as its name tells."""
    beside = [arrays[name] for name in LABELS if name in arrays]
    arrays = {name: a for name, a in arrays.items() if a.ndim > 1}
    named = [name for name in (*NAMES, *(arrays if len(arrays) == 1 else ())) if name in arrays]
    if not named:
        which = f" ({few([printable(name) for name in arrays])})" if arrays else ""
        raise ReconError(f"{where} holds {len(arrays)} arrays of images{which}: name the one to take x.")
    images = of_array(arrays[named[0]], view, where)
    fits = [a for a in beside if a.dtype.kind in "iu" and a.shape == (len(images.x),)]
    return replace(images, labels=tuple(map(str, fits[0].tolist()))) if fits else images


def of_array(x: np.ndarray, view: View, where: str) -> Images:
    """Images of an array, named by their numbers."""
    return Images(shaped(x, view, where), tuple(map(str, range(len(x)))), pixels=x.dtype == np.uint8)


def shaped(x: np.ndarray, view: View, where: str) -> Float[np.ndarray, "n *shape"]:
    """Images in the view's shape and the network's input space; of other shapes, or not finite, they are refused."""
    if x.dtype.kind not in "uif" or x.ndim < 2 or not len(x) or not np.isfinite(x).all():
        form = ", ".join(map(str, view.shape))
        raise ReconError(f"{where} holds no images of finite numbers: give an array of them, (n, {form}).")
    mine, n = x.shape[1:], len(x)
    if mine == (view.order.size,) and view.pictures:
        made = x[:, view.order].reshape(n, *view.shape)
    elif mine == view.shape or (*mine, 1) == view.shape:
        made = x.reshape(n, *view.shape)
    elif view.pictures and (mine[1:], mine[:1]) == (view.shape[:2], view.shape[2:]):
        made = x.transpose(0, 2, 3, 1)
    else:
        raise ReconError(f"{where} holds images of shape {mine}, the network takes {view.shape}: give images like it.")
    made = view.inputs(made / 255) if x.dtype == np.uint8 else made
    return np.asarray(made, np.float32)


def compare(
    images: Images, found: Float[np.ndarray, "m *shape"], limit: float, relative: bool, scaled: bool = False
) -> Compared:
    """Match reconstructions to images.

    Args:
      relative: measure distances in lengths of the image.
      scaled: brightness does not count: of each reconstruction the multiple counts that is nearest to the image.
    """
    matched = greedy(apart(images, found, relative, scaled))
    return Compared(images, matched.index, matched.distance, limit, scaled)


def nearest(
    train: Images, held_out: Images, found: Float[np.ndarray, "m *shape"], relative: bool, scaled: bool
) -> Nearest | None:
    """How far images are from their nearest reconstruction, None where there is none; options as of `compare`."""
    if not len(found):
        return None
    sides = (apart(images, found, relative, scaled).min(axis=1) for images in (train, drawn(held_out, CONTROL)))
    return Nearest(*sides)


def apart(
    images: Images, found: Float[np.ndarray, "m *shape"], relative: bool, scaled: bool
) -> Float[np.ndarray, "n m"]:
    """Distances from images to reconstructions; options as of `compare`."""
    if not len(found):
        return np.zeros((len(images.x), 0))
    away = (multiples_apart if scaled else distances)(images.x, found)
    if relative:
        size = np.linalg.norm(images.x.reshape(len(images.x), -1), axis=1, keepdims=True)
        away = away / np.maximum(size, np.finfo(float).tiny)
    return away


def drawn(control: Images, most: int) -> Images:
    """At most as many images as there are training images: of more, some come nearer by chance.

    They are drawn, the same each time: files lie ordered by class, and their first are of few.
    """
    chosen = np.sort(np.random.default_rng(0).permutation(len(control.x))[:most])
    return replace(control, x=control.x[chosen], names=tuple(control.names[i] for i in chosen), labels=None)


def shared(control: Images, train: Images) -> int:
    """How many of the control's images are among the training images."""
    apart = distances(control.x, train.x).min(axis=1)
    return int((apart <= SAME * np.linalg.norm(control.x.reshape(len(control.x), -1), axis=1)).sum())


def multiples_apart(
    images: Float[np.ndarray, "n *shape"], found: Float[np.ndarray, "m *shape"]
) -> Float[np.ndarray, "n m"]:
    """L2 from each image to the nearest multiple, above zero, of each reconstruction."""
    inputs = int(np.prod(images.shape[1:]))
    a, b = (np.asarray(v, np.float64).reshape(len(v), inputs) for v in (images, found))
    b = b / np.maximum(np.linalg.norm(b, axis=1, keepdims=True), np.finfo(float).tiny)
    along = np.maximum(a @ b.T, 0.0)
    squares = (a**2).sum(axis=1, keepdims=True) - along**2
    apart: np.ndarray = np.sqrt(np.maximum(squares, 0.0))
    return apart
