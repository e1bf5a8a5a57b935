"""Rows of small pictures: stored as one PNG strip in a record, drawn as one image in a figure."""

import base64
import io
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int
from PIL import Image

from recon.data.pictures import opened
from recon.records import Stored

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def encode(pixels: Float[np.ndarray, "n h w c"]) -> dict[str, Any]:
    """Pictures in [0, 1] as a JSON-able strip: a base64 PNG of shape (h, n·w), and n."""
    return {"n": len(pixels), "png": _row(pixels, format="png", optimize=True)}


def encode_small(pixels: Float[np.ndarray, "n h w c"], quality: int = 70) -> dict[str, Any]:
    """As `encode`, but a lossy WebP, "webp" for "png": a third of the bytes where pictures are noisy."""
    return {"n": len(pixels), "webp": _row(pixels, format="webp", quality=quality, method=6)}


def decode(strip: dict[str, Any]) -> np.ndarray:
    """The pictures of a strip, 8-bit, (n, h, w) or (n, h, w, 3); a WebP has three channels, grey or not."""
    with opened(io.BytesIO(base64.b64decode(strip["png" if "png" in strip else "webp"]))) as picture:
        row = np.asarray(picture)
    return np.stack(np.split(row, strip["n"], axis=1))


def pair(stored: Stored, index: Int[np.ndarray, " k"]) -> dict[str, dict[str, Any]]:
    """Strips of an attack cell's training images and of their reconstructions, "train" and "found"."""
    mean = np.array(stored.record["data"]["mean"], np.float32)
    return {name: encode(stored.arrays[name][index] + mean) for name in ("train", "found")}


def choose(distance: Float[np.ndarray, " n"], each: int) -> np.ndarray:
    """Indices of the `each` best, most middling and worst of n images, by distance; all of them where n ≤ 3·each."""
    order = np.argsort(distance, kind="stable")
    if len(order) <= 3 * each:
        return order
    middle = (len(order) - each) // 2
    return np.concatenate([order[:each], order[middle : middle + each], order[-each:]])


def draw(
    axes: "Axes", rows: list[dict[str, Any]], names: list[str], gaps: tuple[int, ...] = (), ranked: bool = True
) -> None:
    """Draw strips under each other, a thin gap between pictures and a wide one before each index in `gaps`.

    Args:
      rows: the strips.
      names: of the rows.
      gaps: where one part of the pictures ends and another begins.
      ranked: say above them that they go from best to worst.
    """
    pictures = [decode(row) for row in rows]
    n, h, w = pictures[0].shape[:3]
    pad, wide = max(1, w // 14), max(3, w // 3)
    left = np.array([i * (w + pad) + wide * sum(i >= g for g in gaps) for i in range(n)])
    canvas = np.full((len(rows) * (h + pad) - pad, left[-1] + w, 3), 255, np.uint8)
    for r, row in enumerate(pictures):
        for i, picture in enumerate(row):
            rgb = picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=2)
            canvas[r * (h + pad) : r * (h + pad) + h, left[i] : left[i] + w] = rgb
    draw_canvas(axes, canvas, [r * (h + pad) + h / 2 for r in range(len(rows))], names)
    if not ranked:
        return
    starts = [0, *gaps]
    for i, label in zip(starts, ["best", "median", "worst"] if len(starts) == 3 else ["best to worst"], strict=False):
        axes.text(left[i], -pad - 1, label, ha="left", va="bottom", fontsize=7, color="#555555")


def draw_canvas(axes: "Axes", canvas: np.ndarray, places: list[float], names: list[str], **style: Any) -> None:
    """Draw a picture without a frame, with names of its rows at their places, in pixels from above."""
    axes.imshow(canvas, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks(places, names, **style)
    axes.tick_params(length=0)
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _row(pixels: Float[np.ndarray, "n h w c"], **options: Any) -> str:
    """The pictures beside each other as an image file, in base64; options as in `Image.save`."""
    n, h, w, c = pixels.shape
    row = np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8).transpose(1, 0, 2, 3).reshape(h, n * w, c)
    out = io.BytesIO()
    Image.fromarray(row[..., 0] if c == 1 else row).save(out, **options)
    return base64.b64encode(out.getvalue()).decode("ascii")
