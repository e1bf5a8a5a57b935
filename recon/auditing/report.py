"""An audit as files: a report to read, a record, the reconstructions as arrays and as pictures."""

import io
import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image

from recon.auditing.data import Compared
from recon.auditing.pipeline import JUNIT, SARIF
from recon.auditing.result import Audit
from recon.auditing.used import facts_of_use, used
from recon.auditing.verdict import leaks, many, missing
from recon.errors import ReconError, reason
from recon.publish import markdown_table
from recon.records import json_bytes, provenance, write_bytes
from recon.records.files import npz_bytes
from recon.records.places import folder_to_write
from recon.weights.layout import KERNELS

IMAGES, NAME = "images", "reconstruction-{}.png"
OURS = re.compile(r"reconstruction-\d{3,}\.png")  # pictures that an audit may remove
COLUMNS, MOST = 10, 100  # pictures in a row of the overview, and in all of it
ZOOM = 64  # least height of a picture in it, in pixels
# Facts of an audit that are written as they are.
PLAIN = (
    "verdict", "n", "certified", "vouched", "up_to_scale", "features", "from_state", "from_gradient", "doubts", "bits",
    "attacks", "skipped", "interrupted", "seconds",
)  # fmt: skip
READ = """- *Certified*: the attack vouches for this image without having seen a training image, for one of two
  reasons. Either its pixels are whole levels of an 8-bit picture in the range that --mean and --std tell,
  which no wrong image has. Or the attack found all images that the rank shows, what this one was computed
  from is confirmed, and more than the first layer's biases tells its brightness. It is less than L2 0.1
  from a training image, in pixels of [0, 1] (without --mean and --std, less than 1 % of its length). An image
  that is not certified may be right all the same.
- *Up to scale*: the same, but nothing sure tells how bright the image is: some multiple of it is a training
  image.
- *Confidence*: how nearly the image passes the attack's checks, from 0 to 1. It is no probability.
- Distances are L2 in the network's input space{relative}. Each training image is matched to one
  reconstruction. The distances of held-out images are what chance gives.
- The audit is of plain MLPs with ReLU units. That nothing came back is no proof of privacy.
"""
USED = """- Every training image lies in the span of the first layer's change, as far as
  rounding of the weights allows: the threshold, which follows from the errors that the change shows. So no attack
  need find it, and the network may be too narrow for one. Distances are relative to the image's length.
- *Yes*: it lies in the span, and held-out images do not. A mixture of training images whose weights add up to
  one does, too, without being one.
- *Up to its size*: some multiple of it does. The first biases do not confirm its own size, or were not trained
  as the kernel was.
- *No*: it lies outside, as it was given: a change by one grey level makes another image, and with a wrong --mean
  or --image-shape all are others. A training image lies outside only if it left no trace of its own:
  its part of the change is below rounding, or one with that of a near duplicate.
- *No answer*: the change has no clear rank, held-out images lie in the span, too, or are missing, or the image lies
  off the span by little more than rounding.
"""
LABEL = """- *Label*: the class that the loss had for the image, counted from 0; −1 where the loss does not tell.
"""


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Let one audit at a time write to a folder, so that all files are the last one's; where systems have locks."""
    handle = None
    with suppress(ImportError, OSError):
        import fcntl

        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
        fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        yield
    finally:
        if handle is not None:
            os.close(handle)


def clear(folder: Path) -> None:
    """Remove an earlier audit's files, its report first: wherever this stops, none is left beside other arrays."""
    report = folder / "report.json"
    try:
        old = [report, *(folder / name for name in ("report.md", SARIF, JUNIT))]
        old += [folder / "overview.png"] if report.exists() else []
        old += [picture for picture in (folder / IMAGES).glob(NAME.format("*")) if OURS.fullmatch(picture.name)]
        for file in old:
            file.unlink(missing_ok=True)
    except OSError as error:
        raise ReconError(f"Cannot replace the audit in {folder} ({reason(error)}): choose another place.") from error


def save(audit: Audit, folder: str | Path) -> None:
    """Write report.md, report.json, reconstructions.npz and, of pictures, a PNG of each into a folder.

    Raises:
      ReconError: the place cannot be written.
    """
    folder, found = Path(folder), audit.found
    images = folder_to_write(folder / IMAGES)
    with alone(folder):
        facts = record(audit)
        clear(folder)
        arrays = {"images": found.images, "certified": found.certified, "confidence": found.confidence}
        arrays["up_to_scale"] = found.up_to_scale
        told = {name: array for name, array in arrays.items() if array is not None}
        write_bytes(folder / "reconstructions.npz", npz_bytes(told))
        if audit.view.pictures and len(found.images):
            made = bright(audit, found.images)
            sure = made[found.certified] if audit.certified else made
            pixels = audit.view.shown(made, sure)
            for i, picture in enumerate(pixels):
                write_bytes(images / NAME.format(f"{i:03d}"), png(picture))
            write_bytes(folder / "overview.png", png(overview(audit, pixels, sure)))
        write_bytes(folder / "report.json", json_bytes(facts))
        write_bytes(folder / "report.md", markdown(audit, facts).encode())


def record(audit: Audit) -> dict[str, Any]:
    """Everything but the pictures, for machines."""
    found = audit.found
    return {
        **{name: getattr(audit, name) for name in PLAIN},
        "leaks": leaks(audit),
        "network": asdict(audit.network),
        "arrays": audit.layout.layers,
        "kernels": KERNELS[audit.layout.transposed],
        "left_out": audit.layout.left_out,
        "view": asdict(audit.view),
        "attack": found.attack,
        "absent": found.absent,
        "why": found.why,
        "work": found.work,
        "attack_seconds": found.seconds,
        **{side: counted(getattr(audit, side)) for side in ("train", "held_out", "start")},
        "membership": facts_of_use(audit),
        "reconstructions": rows(audit),
        "defences": None if audit.defences is None else asdict(audit.defences),
        "provenance": provenance(),
    }


def counted(these: Compared | None) -> dict[str, Any] | None:
    """Distances of a set of images; null where there is none."""
    if these is None:
        return None
    reached = [float(d) if math.isfinite(d) else None for d in these.distance]
    return {"limit": these.limit, "within": these.within, "distance": reached, "names": list(these.images.names)}


def rows(audit: Audit) -> list[dict[str, Any]]:
    """A line for each reconstruction: certificate, and the training image that it was matched to."""
    found, train = audit.found, audit.train
    told = {"certified": found.certified, "up to scale": found.up_to_scale, "confidence": found.confidence}
    told |= {"label": found.labels}
    made = []
    for j in range(len(found.images)):
        row = {"index": j} | {name: values[j].item() for name, values in told.items() if values is not None}
        if train is not None and len(i := np.flatnonzero(train.index == j)):
            row |= {"image": train.images.names[i[0]], "distance": float(train.distance[i[0]])}
        made.append(row)
    return made


def markdown(audit: Audit, facts: dict[str, Any]) -> str:
    """The report."""
    gap = facts["work"].get("gap")
    least, source = "" if audit.vouched == audit.n else "at least ", "gradient" if audit.from_gradient else "change"
    rank = "not told by the rank" if audit.n is None else f"{least}{audit.n}, by the rank of the first layer's {source}"
    hidden = " and ".join(map(str, audit.network.widths))
    about = {
        "network": f"{hidden} hidden units, {many(audit.network.outputs, 'output')}; ReLU units are assumed",
        "arrays, from the input on": f"{', '.join(audit.layout.names)}, kernels {facts['kernels']}",
        "input": f"{audit.view.shape}{', stored channels first' if audit.view.channels_first else ''}",
        "training images": rank + (f" (gap {gap:.3g})" if gap else ""),
        "attack": f"{in_order(audit.attacks)}; the result is that of {facts['attack']}, which ended with: "
        + facts["why"],
        "attacked": attacked(audit),
        "left out": ", ".join(audit.layout.left_out) or "nothing",
        "seconds": f"{audit.seconds:.1f}",
    }
    parts = [
        "# Audit\n",
        audit.verdict + "\n",
        "## What was audited\n",
        markdown_table(("", ""), [*about.items()]) + "\n",
    ]
    compared = (("training", audit.train), ("held-out", audit.held_out), ("training, from the start", audit.start))
    if any(these is not None for _, these in compared):
        columns = ("images", "number", "within the limit", "least", "median", "largest")
        table = [(name, *summary(these)) for name, these in compared if these is not None]
        parts += ["## Distances\n", markdown_table(columns, table) + "\n"]
    if told := facts["membership"]:
        sets, images = [told[side] for side in ("given", "held_out") if told[side]], told["images"][:MOST]
        parts += ["## Was this picture used?\n", used(audit) + "\n"]
        for lines in (sets, images):
            parts.append(markdown_table([*lines[0]], [tuple(map(word, line.values())) for line in lines]) + "\n")
        if (rest := len(told["images"]) - MOST) > 0:
            parts.append(f"{rest} more are in report.json.\n")
        parts.append(USED)
    parts.append("## Reconstructions\n")
    if audit.view.pictures and facts["reconstructions"]:
        above = "training images above their reconstructions" if audit.train else "in the order of the table"
        parts.append(f"![Reconstructions](overview.png)\n\nAt most {MOST} are shown, {above}.\n")
    if facts["reconstructions"]:
        columns = tuple(dict.fromkeys(key for row in facts["reconstructions"] for key in row))
        table = [tuple(word(row.get(key)) for key in columns) for row in facts["reconstructions"]]
        parts.append(markdown_table(columns, table) + "\n")
    else:
        parts.append("None.\n")
    if (tried := audit.defences) is not None:
        parts += ["## What would stop this attack\n", tried.words + "\n"]
        parts += [markdown_table(tried.columns, tried.rows) + "\n"] if tried.rows else []
    relative = ", relative to the length of the feature vector" if audit.features else ""
    relative += ", from the best multiple of a reconstruction" if audit.up_to_scale else ""
    parts += ["## How to read it\n", READ.format(relative=relative)]
    parts += [LABEL] * audit.from_gradient
    made = facts["provenance"]
    parts.append(f"recon {made['versions']['recon']}, commit {made['commit'] or 'unknown'}, {made['made_at']}.\n")
    return "\n".join(parts)


def attacked(audit: Audit) -> str:
    """What the attacker works on; of one gradient the threat model, too."""
    if not audit.from_gradient:
        return "the optimiser's state" if audit.from_state else "the weights' change"
    words = "one gradient: of a single batch, as a server or whoever listens in federated learning has it"
    return f"{words}. {absent}" if (absent := missing(audit)) else words


def in_order(attacks: tuple[str, ...]) -> str:
    """What was run, a repeated attack named once."""
    runs = [(name, len(list(same))) for name, same in groupby(attacks)]
    return ", then ".join(name if times == 1 else f"{name} ({times} times)" for name, times in runs)


def summary(these: Compared) -> tuple[str, ...]:
    """A line of the table of distances."""
    d = these.distance
    numbers = [f"{v:.2g}" if np.isfinite(v) else "–" for v in (d.min(), np.median(d), d.max())]
    return str(len(d)), f"{these.within} (< {these.limit:g})", *numbers


def word(value: object) -> str:
    """An entry of the table of reconstructions."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "–" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)


def png(pixels: Float[np.ndarray, "h w c"]) -> bytes:
    """A picture in [0, 1] as a PNG of 8 bits."""
    shown, out = np.rint(255 * pixels).astype(np.uint8), io.BytesIO()
    Image.fromarray(shown[..., 0] if shown.shape[-1] == 1 else shown).save(out, format="png", optimize=True)
    return out.getvalue()


def bright(audit: Audit, x: Float[np.ndarray, "n *shape"]) -> Float[np.ndarray, "n *shape"]:
    """Images to show; where nothing tells how bright they are, all equally bright."""
    if not audit.up_to_scale or not len(x):
        return x
    peak = np.abs(x).max(axis=tuple(range(1, x.ndim)), keepdims=True)
    made: np.ndarray = x / np.maximum(peak, np.finfo(np.float32).tiny)
    return made


def overview(
    audit: Audit, pixels: Float[np.ndarray, "m h w c"], like: Float[np.ndarray, "k h w c"]
) -> Float[np.ndarray, "H W c"]:
    """Rows of reconstructions, under the training images that they were matched to if there are any."""
    h, w, c = pixels.shape[1:]
    strips = [pixels[:MOST]]
    if audit.train is not None:
        train, shown = audit.train, np.argsort(audit.train.distance, kind="stable")
        order = np.array([i for i in shown if train.index[i] >= 0][:MOST], int)
        strips = [audit.view.shown(bright(audit, train.images.x[order]), like), pixels[train.index[order]]]
    n = len(strips[0])
    lines = -(-n // COLUMNS)
    canvas = np.ones((lines, len(strips), COLUMNS, h + 1, w + 1, c))
    for s, strip in enumerate(strips):
        for i, picture in enumerate(strip):
            canvas[i // COLUMNS, s, i % COLUMNS, :h, :w] = picture
    whole = canvas.transpose(0, 1, 3, 2, 4, 5).reshape(lines * len(strips) * (h + 1), COLUMNS * (w + 1), c)
    zoom = max(1, ZOOM // h)
    return whole.repeat(zoom, axis=0).repeat(zoom, axis=1)
