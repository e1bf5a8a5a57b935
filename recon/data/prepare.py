"""Preparing data sets through TFDS, in the format that needs no TensorFlow; the only code that downloads.

MNIST and CIFAR-10 are TFDS's own and take TensorFlow to prepare. Tiny-ImageNet is `recon.data.tiny_imagenet`.
"""

import os
import socket
import urllib.parse
from pathlib import Path
from typing import Any

from recon.data import prepared
from recon.errors import ReconError, unknown

# The hosts that TFDS fetches from, asked first: without a network its own retries take over three minutes to fail.
HOSTS = {
    "mnist": "https://storage.googleapis.com",
    "cifar10": "https://www.cs.toronto.edu",
    "tiny_imagenet": "http://cs231n.stanford.edu",
}


def _reachable(url: str, timeout: float = 5.0) -> bool:
    if any(os.environ.get(v) for v in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")):
        return True  # only the proxy can tell
    parts = urllib.parse.urlparse(url)
    try:
        with socket.create_connection((parts.hostname, 443 if parts.scheme == "https" else 80), timeout):
            return True
    except OSError:
        return False


def found(dataset: str, data_dir: str | os.PathLike[str] | None = None) -> str | None:
    """The directory of `dataset` if it is prepared.

    Raises:
      ReconError: unknown data set, or a damaged directory.
    """
    if dataset not in HOSTS:
        raise unknown("data set", dataset, HOSTS)
    directory = prepared.find(dataset, data_dir)
    if directory is None:
        return None
    prepared.load(directory, "train")
    return str(directory)


def found_or_reachable(dataset: str, data_dir: str | os.PathLike[str] | None = None) -> str | None:
    """The directory of `dataset` if it is prepared, None if it can be downloaded.

    Raises:
      ReconError: unknown data set, a damaged directory, or neither.
    """
    directory = found(dataset, data_dir)
    if directory is None and not _reachable(HOSTS[dataset]):
        archive = "name its archive with ZIP=PATH, " if dataset == "tiny_imagenet" else ""
        raise ReconError(
            f"Cannot reach {HOSTS[dataset]} to download {dataset}: connect to the internet, {archive}or copy a "
            f"prepared directory to {prepared.data_root(data_dir) / dataset}."
        )
    return directory


def from_archive(archive: str | os.PathLike[str], data_dir: str | os.PathLike[str] | None = None) -> str:
    """Prepare Tiny-ImageNet from its archive, or from a folder that holds it; a no-op if it is there.

    Takes neither the network nor TensorFlow. Returns the prepared directory.

    Raises:
      ReconError: no such file, a damaged or foreign one, or a directory that cannot be written.
    """
    if (directory := found("tiny_imagenet", data_dir)) is not None:
        return directory
    from recon.data.tiny_imagenet import ROOT, TinyImagenet

    path = Path(archive)
    builder = TinyImagenet(
        archive=path / f"{ROOT}.zip" if path.is_dir() else path,
        data_dir=str(prepared.data_root(data_dir)),
        file_format="array_record",
    )
    try:
        builder.download_and_prepare()
    except OSError as error:
        raise ReconError(f"{builder.data_dir} cannot be written ({error}): name another with --data-dir.") from error
    return str(builder.data_dir)


def prepare(dataset: str, data_dir: str | os.PathLike[str] | None = None) -> str:
    """Download and prepare `dataset` as array_record files; a no-op if it is there. Returns its directory.

    Raises:
      ReconError: as `found_or_reachable`; a package that this takes is missing; the download failed.
    """
    directory = found_or_reachable(dataset, data_dir)
    if directory is not None:
        return directory
    where: dict[str, Any] = {"data_dir": str(prepared.data_root(data_dir)), "file_format": "array_record"}
    try:
        if dataset == "tiny_imagenet":
            import requests  # noqa: F401

            from recon.data.tiny_imagenet import TinyImagenet

            builder = TinyImagenet(**where)
        else:
            import tensorflow  # noqa: F401
            import tensorflow_datasets as tfds

            builder = tfds.builder(dataset, **where)
    except ImportError as error:
        target = "data-tiny-imagenet" if dataset == "tiny_imagenet" else "data"
        raise ReconError(
            f"Downloading and preparing {dataset} needs a package ({error}): run `make {target}`."
        ) from error
    try:
        builder.download_and_prepare()
    except ReconError:
        raise
    except Exception as error:
        why = f"{type(error).__name__}: {str(error).split(chr(10), 1)[0]}"
        raise ReconError(f"Downloading {dataset} failed ({why}): try again later.") from error
    return str(builder.data_dir)
