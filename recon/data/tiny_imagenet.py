"""Tiny-ImageNet's original archive as a TFDS data set; preparing it takes no TensorFlow.

The archive's test images have no labels, so the split "test" is its validation images, as `val_annotations.txt` labels
them. JPEG files are stored as they are; grey ones, which the archive has, are decoded and stored as RGB in PNG.
"""

import io
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import tensorflow_datasets as tfds
from tensorflow_datasets.core.download.checksums import UrlInfo

from recon.data.pictures import opened as picture_in
from recon.data.tiny_imagenet_classes import CLASSES
from recon.errors import ReconError, printable, reason
from recon.reading import archive as unpacking
from recon.reading import member

URL = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
SIZE, SHA256 = 248_100_043, "6198c8ae015e2b3e007c7841da39ec069199b9aa3bfa943a462022fe5e43c821"
ROOT = "tiny-imagenet-200"
WNIDS, ANNOTATIONS = f"{ROOT}/wnids.txt", f"{ROOT}/val/val_annotations.txt"
TRAIN = re.compile(rf"{ROOT}/train/(n\d{{8}})/images/\1_\d+\.JPEG")
SIDE = 64
UNPACKED = 1 << 30  # bytes of all members; the archive's take a quarter of it
TEXT, PICTURE = 1 << 20, 1 << 16  # bytes of a list, and of a picture

Labelled = dict[str, str]  # name in the archive → WordNet id


def contents(archive: Path) -> dict[str, Labelled]:
    """The archive's labelled pictures by split, once the whole of it has been read and checked.

    Raises:
      ReconError: no such file, a truncated or damaged one, names that lead out of the archive's folder, or another
        archive than Tiny-ImageNet's.
    """
    try:
        with unpacking(archive, UNPACKED) as opened:
            names = set(opened.namelist())
            for name in names:
                if name.startswith("/") or "\\" in name or ".." in PurePosixPath(name).parts:
                    raise _foreign(archive, f"the name {name!r} leads out of its folder")
            for name in (WNIDS, ANNOTATIONS):
                if name not in names:
                    raise _foreign(archive, f"it has no {name}")
            if (damaged := opened.testzip()) is not None:
                raise _broken(archive, f"{damaged} fails its checksum")
            wnids, annotations = (
                member(opened, name, TEXT).decode("ascii", "replace") for name in (WNIDS, ANNOTATIONS)
            )
    except FileNotFoundError as error:
        raise ReconError(f"There is no file {archive}: download it from {URL}.") from error
    except ReconError:
        raise
    except Exception as error:  # whatever a damaged archive makes of the library
        raise _broken(archive, reason(error)) from error
    if sorted(wnids.split()) != list(CLASSES):
        raise _foreign(archive, f"{WNIDS} does not list its 200 classes")
    train = {m.string: m[1] for m in map(TRAIN.fullmatch, sorted(names)) if m}
    if missing := sorted(set(CLASSES) - set(train.values())):
        raise _foreign(archive, f"it has no training picture of {missing[0]}")
    rows = [line.split("\t") for line in annotations.splitlines()]
    if not rows or any(len(row) < 2 or row[1] not in CLASSES for row in rows):
        raise _foreign(archive, f"{ANNOTATIONS} does not label pictures with its classes")
    test = {f"{ROOT}/val/images/{row[0]}": row[1] for row in rows}
    if missing := sorted(set(test) - names):
        raise _foreign(archive, f"it has no {missing[0]}")
    return {"train": {n: c for n, c in train.items() if c in CLASSES}, "test": test}


def _broken(archive: Path, why: str) -> ReconError:
    return ReconError(f"{archive} is no whole zip archive ({printable(why)}): download it again from {URL}.")


def _foreign(archive: Path, why: str) -> ReconError:
    return ReconError(f"{archive} is not the Tiny-ImageNet archive ({printable(why)}): download that from {URL}.")


def rgb(encoded: bytes) -> bytes:
    """A 64 × 64 picture as it is if it is RGB; decoded, made RGB and encoded without loss otherwise.

    Raises:
      ValueError: it is of another size.
      Exception: whatever Pillow makes of what is no picture.
    """
    with picture_in(io.BytesIO(encoded)) as picture:
        if picture.size != (SIDE, SIDE):
            raise ValueError(f"it is {picture.size[0]} × {picture.size[1]} pixels, not {SIDE} × {SIDE}")
        picture.load()
        if picture.mode == "RGB":
            return encoded
        out = io.BytesIO()
        picture.convert("RGB").save(out, format="png")
        return out.getvalue()


def examples(archive: Path, labelled: Labelled) -> Iterator[tuple[str, dict[str, Any]]]:
    """Names, and encoded pictures with their classes.

    Raises:
      ReconError: one cannot be read.
    """
    with unpacking(archive, UNPACKED) as opened:
        for name, wnid in labelled.items():
            try:
                picture = rgb(member(opened, name, PICTURE))
            except Exception as error:  # whatever a damaged picture makes of the library
                raise _broken(archive, f"{name} cannot be read as a picture: {reason(error)}") from error
            yield name, {"image": picture, "label": wnid}


class TinyImagenet(tfds.core.GeneratorBasedBuilder):  # type: ignore[misc]
    """Pictures of 64 × 64 × 3 with one of 200 WordNet ids; the name is what TFDS makes `tiny_imagenet` of.

    Args:
      archive: the archive, if it need not be downloaded. It is checked at once, before TFDS makes any folder.
      options: as every builder of TFDS takes them.

    Raises:
      ReconError: as `contents`.
    """

    VERSION = tfds.core.Version("1.0.0")
    url_infos = {URL: UrlInfo(size=SIZE, checksum=SHA256, filename=f"{ROOT}.zip")}  # noqa: RUF012

    def __init__(self, archive: Path | None = None, **options: Any) -> None:  # noqa: D107
        self.archive = archive
        self.labelled = None if archive is None else contents(archive)
        super().__init__(**options)

    def _info(self) -> Any:
        features = {
            "image": tfds.features.Image(shape=(SIDE, SIDE, 3)),
            "label": tfds.features.ClassLabel(names=CLASSES),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description="Tiny-ImageNet: 200 classes of ImageNet at 64 × 64.",
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", "label"),
            homepage=URL,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        archive = self.archive or Path(dl_manager.download(URL))
        splits = self.labelled or contents(archive)
        return {split: self._generate_examples(archive, labelled) for split, labelled in splits.items()}

    def _generate_examples(self, archive: Path, labelled: Labelled) -> Iterator[tuple[str, dict[str, Any]]]:
        return examples(archive, labelled)
