"""The only code that downloads: `make data` prepares data sets through TFDS, in the format that needs no TensorFlow."""

import os
import socket
import urllib.parse

from recon.data import prepared
from recon.errors import ReconError

# The hosts that TFDS fetches from, asked first: without a network its own retries take over three minutes to fail.
HOSTS = {"mnist": "https://storage.googleapis.com", "cifar10": "https://www.cs.toronto.edu"}


def _reachable(url: str, timeout: float = 5.0) -> bool:
    if any(os.environ.get(v) for v in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")):
        return True  # only the proxy can tell
    try:
        with socket.create_connection((urllib.parse.urlparse(url).hostname, 443), timeout):
            return True
    except OSError:
        return False


def found_or_reachable(dataset: str, data_dir: str | os.PathLike[str] | None = None) -> str | None:
    """The directory of `dataset` if it is prepared, None if it can be downloaded.

    Raises:
      ReconError: unknown data set, a damaged directory, or neither.
    """
    if dataset not in HOSTS:
        raise ReconError(f"Unknown data set {dataset!r}: choose from {', '.join(HOSTS)}.")
    found = prepared.find(dataset, data_dir)
    if found is not None:
        prepared.load(found, "train")
        return str(found)
    if not _reachable(HOSTS[dataset]):
        raise ReconError(
            f"Cannot reach {HOSTS[dataset]} to download {dataset}: connect to the internet, or copy a prepared "
            f"directory to {prepared.data_root(data_dir) / dataset}."
        )
    return None


def prepare(dataset: str, data_dir: str | os.PathLike[str] | None = None) -> str:
    """Download and prepare `dataset` as array_record files; a no-op if it is there. Returns its directory.

    Raises:
      ReconError: as `found_or_reachable`; TensorFlow is missing; the download failed.
    """
    found = found_or_reachable(dataset, data_dir)
    if found is not None:
        return found
    try:
        import tensorflow  # noqa: F401
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise ReconError(f"Preparing data needs TensorFlow ({error}): run it as `make data`.") from error
    builder = tfds.builder(dataset, data_dir=str(prepared.data_root(data_dir)), file_format="array_record")
    try:
        builder.download_and_prepare()
    except Exception as error:
        raise ReconError(f"Downloading {dataset} failed ({type(error).__name__}: {error}): try again later.") from error
    return str(builder.data_dir)
