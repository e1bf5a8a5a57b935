"""Where pictures come from: a prepared TFDS directory, pictures inside installed packages, or a folder of one's own."""

import os

from recon.data import folder, prepared, samples
from recon.data.images import ImageSet, content_keys, fingerprint
from recon.errors import ReconError, unknown

__all__ = ["SOURCES", "ImageSet", "content_keys", "fingerprint", "load_images"]

SOURCES = ("auto", "tfds", "samples")


def load_images(
    dataset: str | None,
    split: str = "train",
    *,
    source: str = "auto",
    data_dir: str | os.PathLike[str] | None = None,
    images: str | os.PathLike[str] | None = None,
) -> ImageSet:
    """One split of a data set, from the first source that has it. Never downloads.

    Args:
      dataset: its name in a TFDS directory ("mnist", "cifar10", "tiny_imagenet"), None for the folder's own classes.
      split: "train" or "test".
      source: "auto" (a prepared TFDS directory, else package pictures), "tfds" or "samples".
      data_dir: TFDS directory (default: `TFDS_DATA_DIR`, else TFDS's own default).
      images: a folder of class folders, used in place of any other source.

    Raises:
      ReconError: the set is not there or cannot be read; says how to get it.
    """
    if images is not None:
        return folder.load(os.fspath(images), split)
    if dataset is None:
        raise ReconError("This task is about your own pictures: name their folder with --images.")
    if source not in SOURCES:
        raise unknown("source", source, SOURCES)
    directory = prepared.find(dataset, data_dir) if source != "samples" else None
    if directory is not None:
        return prepared.load(directory, split)
    where = prepared.data_root(data_dir)
    target = "data-tiny-imagenet" if dataset == "tiny_imagenet" else "data"
    fix = f"run `make {target}`, or point --data-dir or TFDS_DATA_DIR at a prepared directory (looked in {where})"
    if source == "tfds" or (source == "auto" and data_dir is not None):
        raise ReconError(f"{dataset} is not prepared: {fix}.")
    if dataset not in samples.SAMPLES:
        raise ReconError(f"{dataset} has no package pictures and is not prepared: {fix}.")
    return samples.load(dataset, split)
