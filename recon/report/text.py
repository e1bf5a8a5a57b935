"""Words and pictures of the page."""

import base64
import gzip
import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape
from PIL import Image

SIDES = {"above": "above", "below": "below", "alike": "within", "exact": "at most"}
QUALITY = 65  # of figures re-encoded as WebP: under half of their PNGs' size


def blocks(text: str) -> list[tuple[str, list[str]]]:
    """A docstring as ("p" | "pre" | "li", lines): paragraphs, indented code, and items that begin with an asterisk."""
    found = []
    for part in text.split("\n\n"):
        lines = part.strip("\n").splitlines()
        if not lines:
            continue
        if lines[0].startswith("    "):
            found.append(("pre", ["\n".join(line.removeprefix("    ") for line in lines)]))
        elif lines[0].startswith("* "):
            items = [item.replace("\n", " ") for item in "\n".join(lines)[2:].split("\n* ")]
            found.append(("li", [" ".join(item.split()) for item in items]))
        else:
            found.append(("p", [" ".join(lines)]))
    return found


def coded(text: str) -> Markup:
    """A text as markup, with what stands between backticks as code."""
    return Markup(re.sub(r"(`+)(.+?)\1", r"<code>\2</code>", str(escape(text))))


def embedded(path: Path) -> tuple[str, int, int]:
    """A picture as an address that needs no file, and its width and height in pixels."""
    with Image.open(path) as picture:
        out = io.BytesIO()
        picture.convert("RGB").save(out, format="webp", quality=QUALITY, method=4)
        width, height = picture.size
    return f"data:image/webp;base64,{base64.b64encode(out.getvalue()).decode('ascii')}", width, height


def packed(text: str) -> str:
    """A text as base64 of its gzip, which the page's script unpacks."""
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode("ascii")


def criterion(claim: Mapping[str, Any]) -> str:
    """Kind and margin of a record's claim in the units of its estimates, why, and from how much it was judged."""
    margin, estimates = claim["margin"], claim["estimates"]
    scale = next((e["scale"] for e in estimates), "")
    if scale == "log2 ratio":
        size = f"a ratio of {2**margin:.3g}"
    elif scale == "share":
        size = f"{100 * margin:g} {'points' if ' points' in claim['effect'] else '%'}"
    else:
        size = f"{margin:.3g} {scale}".rstrip()
    groups = sorted({e["groups"] for e in estimates})
    counts = "–".join(map(str, dict.fromkeys((*groups[:1], *groups[-1:]))))
    draws = f"; from {counts} independent draw{'s' * (counts != '1')}" if counts else ""
    return f"Margin: {SIDES[claim['kind']]} {size} ({claim['reason']}){draws}."


def duration(seconds: float | None) -> str:
    """Seconds below two minutes, then minutes; in words where they are not known."""
    if seconds is None:
        return "unknown time"
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:,.0f} min"
