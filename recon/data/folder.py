"""Source 3: a folder of class folders of the user's own pictures."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL.Image import Image

from recon.data.images import ImageSet
from recon.data.pictures import SUFFIXES as SUFFIXES
from recon.data.pictures import opened
from recon.errors import ReconError
from recon.reading import LIMIT, refused

GREY = 2  # levels by which the channels of a grey picture may differ after JPEG's rounding


def load(folder: str | Path, split: str = "train") -> ImageSet:
    """Pictures in `folder/CLASS/*`, all of one size, grey or RGB. It has no test split: `split="test"` is empty.

    Raises:
      ReconError: no such folder, fewer than two classes, an empty class, a file that is no picture, or mixed sizes.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ReconError(f"There is no folder {folder}: give one that holds a folder of pictures for each class.")
    classes = sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    if len(classes) < 2:
        raise ReconError(f"{folder} holds {len(classes)} class folders: put each class's pictures in one of its own.")
    found: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        files = sorted(f for f in (folder / name).iterdir() if f.suffix.lower() in SUFFIXES)
        if not files:
            raise ReconError(
                f"{folder / name} holds no picture: add some ({', '.join(sorted(SUFFIXES))}) or remove it."
            )
        found += files
        labels += [label] * len(files)
    pool = ImageSet(
        pictures_in(found, None)[0], np.array(labels, dtype=np.int64), tuple(classes), f"folder {folder.name}"
    )
    return pool.take(np.arange(0)) if split == "test" else pool


def eight_bits(picture: Image) -> UInt8[np.ndarray, "h w *c"]:
    """Pixels from 0 to 255, grey or RGB. Of 16 bits the upper eight: Pillow's own conversion clips them to white.

    Raises:
      ValueError: whole or real numbers without a largest one, or an animation.
    """
    if (frames := getattr(picture, "n_frames", 1)) > 1:
        raise ValueError(f"it holds {frames} pictures")
    if picture.mode.startswith("I;16"):
        return (np.asarray(picture).astype(np.uint16) >> 8).astype(np.uint8)
    if picture.mode in ("I", "F"):
        raise ValueError(f"its pixels are numbers of 32 bits, mode {picture.mode}")
    return np.asarray(picture.convert("L" if picture.mode in ("1", "L") else "RGB"))


def in_channels(pixels: UInt8[np.ndarray, "h w c"], channels: int, file: Path) -> UInt8[np.ndarray, "h w d"]:
    """A picture in so many channels, 1 or 3: a grey one may be in either.

    Raises:
      ReconError: one of colour in one channel.
    """
    if pixels.shape[-1] == channels:
        return pixels
    if channels > 1:
        return pixels.repeat(channels, axis=-1)
    if int(np.ptp(pixels, axis=-1).max()) > GREY:
        raise ReconError(f"{file} is in colour and grey pictures are asked for: make all grey, as for training.")
    return pixels[..., 1:2]


def pictures_in(files: Sequence[Path], channels: int | None) -> tuple[UInt8[np.ndarray, "n h w c"], int]:
    """Pictures from files in 1 or 3 channels, or as they are stored; and how many were stored in others.

    Raises:
      ReconError: a file that is no picture, or one of colour where grey ones are asked for; mixed sizes, or more pixels
        than memory is meant for.
    """
    images: list[np.ndarray] = []
    others = 0
    for file in files:
        with refused(f"{file} cannot be read as a picture", "replace or remove it"), opened(file) as picture:
            pixels = eight_bits(picture)
        pixels = pixels.reshape(*pixels.shape[:2], -1)
        if channels is not None:
            others += pixels.shape[-1] != channels
            pixels = in_channels(pixels, channels, file)
        if pixels.nbytes * len(files) > LIMIT:
            raise ReconError(f"{len(files)} pictures like {file} take more than {LIMIT >> 30} GiB: give fewer.")
        if images and pixels.shape != images[0].shape:
            raise ReconError(
                f"{file} is {pixels.shape} (height, width, channels), the pictures before it {images[0].shape}: "
                "bring all to one size and mode."
            )
        images.append(pixels)
    return np.stack(images), others
