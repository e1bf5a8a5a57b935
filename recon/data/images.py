"""Image sets as they come from a source, and the fingerprint that identifies them by content."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Int64, UInt8


@dataclass(frozen=True)
class ImageSet:
    """Labelled 8-bit images.

    Attributes:
      images: pixels, 0 to 255.
      labels: index of each image's class in `classes`.
      classes: class names.
      source: where they came from, in words shown to the user.
    """

    images: UInt8[np.ndarray, "n h w c"]
    labels: Int64[np.ndarray, " n"]
    classes: tuple[str, ...]
    source: str

    @cached_property
    def by_content(self) -> list[int]:
        """Indices of the images in the order of their content, whatever order the source stores them in."""
        return sorted(range(len(self.images)), key=self._keys.__getitem__)

    @cached_property
    def distinct(self) -> list[int]:
        """The same, of equal images the first only."""
        keys, order = self._keys, self.by_content
        return [i for j, i in enumerate(order) if j == 0 or keys[i] != keys[order[j - 1]]]

    @cached_property
    def _keys(self) -> list[bytes]:
        return content_keys(self.images)

    def take(self, index: Sequence[int] | np.ndarray) -> "ImageSet":
        """The images at `index`, in that order."""
        return ImageSet(self.images[index], self.labels[index], self.classes, self.source)


def fingerprint(images: np.ndarray, labels: np.ndarray) -> str:
    """SHA-256 (first 16 hex digits) of dtypes, shapes, pixels and labels, in order."""
    digest = hashlib.sha256()
    for array in (images, labels):
        array = np.ascontiguousarray(array)
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()[:16]


def content_keys(images: UInt8[np.ndarray, "n h w c"]) -> list[bytes]:
    """A hash of each image's pixels: names an image whatever order its set is stored in."""
    return [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in images]
