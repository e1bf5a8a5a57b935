"""Encoded pictures, opened within limits: of known formats, of bounded size."""

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

# Pillow knows many more, some of them through other programs.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP")
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp"}
PIXELS = 1 << 24  # of a picture: a few bytes may claim any number


@contextmanager
def opened(file: Path | io.BytesIO, pixels: int = PIXELS) -> Iterator[Image.Image]:
    """A picture, not decoded yet.

    Raises:
      OSError, ValueError: it is none, or has more than `pixels` pixels.
      Exception: whatever Pillow makes of a damaged one.
    """
    if isinstance(file, Path) and file.exists() and not file.is_file():
        raise ValueError("it is no plain file")
    with Image.open(file, formats=FORMATS) as picture:
        if math.prod(picture.size) > pixels:
            raise ValueError(f"it has {picture.size[0]} × {picture.size[1]} pixels, more than {pixels}")
        yield picture
