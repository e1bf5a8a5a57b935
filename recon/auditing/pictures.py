"""Reconstructions as pictures, beside the training images that they were matched to."""

import io

import numpy as np
from jaxtyping import Float, Int
from PIL import Image

from recon.auditing.parts import Pair
from recon.auditing.result import Audit

COLUMNS, MOST = 10, 100  # pictures in a row of the overview, and in all of it
ZOOM = 64  # least height of a picture in it, in pixels
LARGEST = 128  # height of a picture in the page, in pixels: more is in the file


def shown(audit: Audit) -> Float[np.ndarray, "m h w c"]:
    """All reconstructions as pixels in [0, 1]."""
    made = bright(audit, audit.found.images)
    return audit.view.shown(made, surest(audit))


def surest(audit: Audit) -> Float[np.ndarray, "k h w c"]:
    """Reconstructions that tell what is black and what is white: the certified ones if there are any."""
    made = bright(audit, audit.found.images)
    return made[audit.found.certified] if audit.certified else made


def originals(audit: Audit, index: Int[np.ndarray, " k"]) -> Float[np.ndarray, "k h w c"]:
    """Training images given as pixels in [0, 1], shown as reconstructions are."""
    assert audit.train is not None
    return audit.view.shown(bright(audit, audit.train.images.x[index]), surest(audit))


def matched(audit: Audit) -> Int[np.ndarray, " k"]:
    """Training images given that have a reconstruction, the nearest first, at most `MOST`."""
    assert audit.train is not None
    order = np.argsort(audit.train.distance, kind="stable")
    return order[audit.train.index[order] >= 0][:MOST]


def pairs(audit: Audit) -> tuple[Pair, ...]:
    """At most `MOST` reconstructions, each beside its training image where these were given."""
    found, train, pixels = audit.found, audit.train, shown(audit)
    vouched = found.certified if found.certified is not None else np.zeros(len(pixels), bool)
    scaled = found.up_to_scale if found.up_to_scale is not None else vouched
    marks = ["certified" if sure else "up to scale" if scaled[j] else "" for j, sure in enumerate(vouched)]

    def pair(j: int, more: tuple[tuple[bytes, str], ...], *words: str) -> Pair:
        mark = marks[j] and f"✓ {marks[j]}"
        mine = (small(pixels[j]), f"Reconstruction {j}")
        return Pair((*more, mine), ", ".join(word for word in (*words, mark) if word), bool(marks[j]))

    if train is None:
        return tuple(pair(j, (), str(j)) for j in range(min(len(pixels), MOST)))
    index, names = matched(audit), train.images.names
    return tuple(
        pair(int(train.index[i]), ((small(x), f"Training image {names[i]}"),), names[i], f"L2 {train.distance[i]:.2g}")
        for i, x in zip(index, originals(audit, index), strict=True)
    )


def small(pixels: Float[np.ndarray, "h w c"]) -> bytes:
    """A picture for the page."""
    return png(pixels, LARGEST)


def png(pixels: Float[np.ndarray, "h w c"], largest: int | None = None) -> bytes:
    """A picture in [0, 1] as a PNG of 8 bits, shrunk to a height or width if that is told and it is larger."""
    made, out = np.rint(255 * pixels).astype(np.uint8), io.BytesIO()
    picture = Image.fromarray(made[..., 0] if made.shape[-1] == 1 else made)
    if largest is not None:
        picture.thumbnail((largest, largest))
    picture.save(out, format="png", optimize=True)
    return out.getvalue()


def bright(audit: Audit, x: Float[np.ndarray, "n *shape"]) -> Float[np.ndarray, "n *shape"]:
    """Images to show; where nothing tells how bright they are, all equally bright."""
    if not audit.up_to_scale or not len(x):
        return x
    peak = np.abs(x).max(axis=tuple(range(1, x.ndim)), keepdims=True)
    made: np.ndarray = x / np.maximum(peak, np.finfo(np.float32).tiny)
    return made


def overview(audit: Audit) -> Float[np.ndarray, "H W c"]:
    """Rows of reconstructions, under the training images that they were matched to if there are any."""
    pixels = shown(audit)
    h, w, c = pixels.shape[1:]
    strips = [pixels[:MOST]]
    if audit.train is not None:
        index = matched(audit)
        strips = [originals(audit, index), pixels[audit.train.index[index]]]
    n = len(strips[0])
    lines = -(-n // COLUMNS)
    canvas = np.ones((lines, len(strips), COLUMNS, h + 1, w + 1, c))
    for s, strip in enumerate(strips):
        for i, picture in enumerate(strip):
            canvas[i // COLUMNS, s, i % COLUMNS, :h, :w] = picture
    whole = canvas.transpose(0, 1, 3, 2, 4, 5).reshape(lines * len(strips) * (h + 1), COLUMNS * (w + 1), c)
    zoom = max(1, ZOOM // h)
    return whole.repeat(zoom, axis=0).repeat(zoom, axis=1)
