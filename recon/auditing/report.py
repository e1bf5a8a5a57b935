"""An audit as files: a report to read, a record, the reconstructions as arrays and as pictures."""

import math
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from recon.auditing.classes import by_class, moments
from recon.auditing.data import Compared
from recon.auditing.evidence import facts_of_rocs, facts_of_spectrum
from recon.auditing.parts import Section
from recon.auditing.pictures import overview, png, shown
from recon.auditing.pipeline import JUNIT, SARIF
from recon.auditing.result import Audit
from recon.auditing.sections import OVERVIEW, sections
from recon.auditing.used import facts_of_use
from recon.auditing.verdict import answer, leaks
from recon.errors import ReconError, reason
from recon.publish.pages import style, templates
from recon.records import json_bytes, provenance, write_bytes
from recon.records.files import npz_bytes
from recon.records.places import folder_to_write
from recon.weights.layout import KERNELS

OWN = "recon.auditing"  # the templates' package
IMAGES, NAME = "images", "reconstruction-{}.png"
OURS = re.compile(r"reconstruction-\d{3,}\.png")  # pictures that an audit may remove
# Facts of an audit that are written as they are.
PLAIN = (
    "verdict", "n", "certified", "vouched", "up_to_scale", "features", "from_state", "from_gradient", "doubts", "bits",
    "updates", "adapter", "attacks", "notes", "skipped", "interrupted", "seconds",
)  # fmt: skip


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
        old += [folder / "report.html", folder / OVERVIEW] if report.exists() else []
        old += [picture for picture in (folder / IMAGES).glob(NAME.format("*")) if OURS.fullmatch(picture.name)]
        for file in old:
            file.unlink(missing_ok=True)
    except OSError as error:
        raise ReconError(f"Cannot replace the audit in {folder} ({reason(error)}): choose another place.") from error


def save(audit: Audit, folder: str | Path) -> None:
    """Write report.html, report.md, report.json, reconstructions.npz and, of pictures, a PNG of each into a folder.

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
            for i, picture in enumerate(shown(audit)):
                write_bytes(images / NAME.format(f"{i:03d}"), png(picture))
            write_bytes(folder / OVERVIEW, png(overview(audit)))
        write_bytes(folder / "report.json", json_bytes(facts))
        model, made_by = sections(audit, facts), origin(facts)
        write_bytes(folder / "report.md", markdown(model, made_by).encode())
        write_bytes(folder / "report.html", page(model, made_by).encode())


def record(audit: Audit) -> dict[str, Any]:
    """Everything but the pictures, for machines."""
    found = audit.found
    return {
        **{name: getattr(audit, name) for name in PLAIN},
        "answer": [sentence for sentence in answer(audit) if sentence],
        "leaks": leaks(audit),
        "network": asdict(audit.network),
        "activation": {
            "name": audit.network.activation,
            "known": audit.activation.known(audit.network, audit.vouched),
            "tried": audit.activation.lines(),
        },
        "arrays": audit.layout.layers,
        "kernels": KERNELS[audit.layout.transposed],
        "left_out": audit.layout.left_out,
        "view": asdict(audit.view),
        "attack": found.attack,
        "absent": found.absent,
        "why": found.why,
        "work": found.work,
        "attack_seconds": found.seconds,
        "stages": [asdict(stage) for stage in audit.stages],
        "spectrum": facts_of_spectrum(audit),
        **{side: counted(getattr(audit, side)) for side in ("train", "held_out", "start")},
        "roc": facts_of_rocs(audit),
        "membership": facts_of_use(audit),
        "reconstructions": rows(audit),
        "classes": by_class(audit),
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
    made, limit = [], 0.0 if train is None else train.limit
    for j in range(len(found.images)):
        row = {"index": j} | {name: values[j].item() for name, values in told.items() if values is not None}
        if train is not None and len(i := np.flatnonzero(train.index == j)):
            row |= {"image": train.images.names[i[0]], "distance": float(train.distance[i[0]])}
            if train.images.labels is not None:
                row["class"] = train.images.labels[i[0]]
        known = row.get("certified") or row.get("distance", math.inf) < limit
        if known and not audit.up_to_scale:
            row |= {f"class {when}": int(said.found[j]) for when, said in moments(audit)}
        made.append(row)
    return made


def markdown(model: Sequence[Section], made_by: str) -> str:
    """A report as Markdown."""
    parts = ["# Audit"]
    for section in model:
        parts += [f"## {section.title}", *(part.markdown() for part in section.parts)]
    return "\n\n".join([*parts, made_by]) + "\n"


def page(model: Sequence[Section], made_by: str) -> str:
    """A report as one HTML file with everything inside."""
    template = templates(OWN).get_template("report.html.j2")
    return str(template.render(sections=model, origin=made_by, style=style(OWN)))


def origin(facts: dict[str, Any]) -> str:
    """What made the report."""
    made = facts["provenance"]
    return f"recon {made['versions']['recon']}, commit {made['commit'] or 'unknown'}, {made['made_at']}."
