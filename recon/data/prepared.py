"""Source 1: a prepared TensorFlow Datasets directory, read with `tfds.data_source`: no network, no TensorFlow."""

import logging
import os
from functools import lru_cache
from pathlib import Path

import msgspec
import numpy as np
from rich.progress import track

from recon.data.cache import Arrays, decoded
from recon.data.images import ImageSet
from recon.errors import ReconError
from recon.reading import LIMIT, content, json, refused

TFDS_DEFAULT = "~/tensorflow_datasets"
NAMES_LIMIT = 1 << 20  # bytes of a list of class names


class Split(msgspec.Struct):
    """A split, as dataset_info.json tells it."""

    name: str


class Info(msgspec.Struct, rename="camel"):
    """What counts of dataset_info.json."""

    splits: list[Split]
    file_format: str = "tfrecord"


def data_root(data_dir: str | os.PathLike[str] | None = None) -> Path:
    """`data_dir`, else `TFDS_DATA_DIR`, else the default of TensorFlow Datasets."""
    return Path(data_dir or os.environ.get("TFDS_DATA_DIR") or TFDS_DEFAULT).expanduser()


def find(dataset: str, data_dir: str | os.PathLike[str] | None = None) -> Path | None:
    """The newest prepared version of `dataset`, or None. Looks at file names only."""
    found = [p.parent for p in (data_root(data_dir) / dataset).glob("*.*.*/dataset_info.json")]
    return max(found, key=lambda p: [int(n) if n.isdigit() else -1 for n in p.name.split(".")], default=None)


def load(directory: Path, split: str) -> ImageSet:
    """One split of a prepared data set; the last ones are remembered while their files stay as they are.

    Raises:
      ReconError: the directory is not in array_record format, lacks the split, or cannot be read.
    """
    found = ((f.name, f.stat()) for f in sorted(directory.iterdir()))
    return _load(directory, split, tuple((name, s.st_size, s.st_mtime_ns) for name, s in found))


@lru_cache(maxsize=4)
def _load(directory: Path, split: str, files_now: tuple[tuple[str, int, int], ...]) -> ImageSet:  # noqa: ARG001
    """See `load`; `files_now` tells apart what the directory has held."""
    name = f"{directory.parent.name} {directory.name}"
    target = "data-tiny-imagenet" if directory.parent.name == "tiny_imagenet" else "data"
    again = f"prepare it again with `make {target}` (its directory is {directory})"
    with refused(f"{name}: dataset_info.json is damaged", again):
        info = json(directory / "dataset_info.json", Info)
    if info.file_format != "array_record":
        raise ReconError(f"{name} is stored as {info.file_format[:20]!r}, not array_record: {again}.")
    if split not in (known := [s.name for s in info.splits]):
        raise ReconError(f"{name} has no split {split!r}, only {', '.join(map(repr, known))[:200]}: {again}.")
    files = sorted(directory.glob(f"*-{split}.array_record*"))
    if not files:
        raise ReconError(f"{name}: no array_record file for split {split!r}: {again}.")

    def decode() -> Arrays:
        logging.getLogger("absl").setLevel(logging.ERROR)  # its advice to install OpenCV
        import tensorflow_datasets as tfds

        source = tfds.builder_from_directory(str(directory)).as_data_source(split=split)
        n, batch = len(source), 500
        if not 0 < n <= sum(file.stat().st_size for file in files):
            raise ValueError(f"{n} records do not fit the files")
        labels = np.empty(n, np.int64)
        for start in track(range(0, n, batch), f"Decoding {name} {split}", transient=True):
            stop = min(start + batch, n)
            for i, example in enumerate(source.__getitems__(list(range(start, stop))), start):
                if i == 0:  # in place: Tiny-ImageNet's training images are 1.2 GB
                    if n * example["image"].size > LIMIT:
                        raise ValueError(f"its pictures take more than {LIMIT >> 30} GiB")
                    images = np.empty((n, *example["image"].shape), np.uint8)
                images[i] = example["image"]
                labels[i] = example["label"]
        return images, labels

    with refused(f"{name} cannot be read", again):
        images, labels = decoded(files, f"tfds {name} {split}", decode)
        names = directory / "label.labels.txt"
        told = content(names, NAMES_LIMIT).decode().split() if names.exists() else None
        classes = told or [str(i) for i in range(int(labels.max()) + 1)]
        if not 0 <= labels.min() <= labels.max() < len(classes):
            raise ValueError("it has labels without a class")
    return ImageSet(images, labels, tuple(classes), f"TFDS {name}")
