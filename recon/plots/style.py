"""One look for every figure: colours with a fixed meaning, and files that do not differ from run to run."""

import io
import os
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recon.records import write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes as Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure as Figure
else:  # names for the annotations of modules that import them from here, without matplotlib
    Axes = Figure = Any

# Okabe and Ito's colours, told apart in every common form of colour blindness; grey is for controls alone.
COLOURS = {"linearised": "#0072B2", "standard": "#D55E00", "held_out": "#8a8a8a", "start": "#bdbdbd"}
LABELS = {
    "linearised": "linearised dynamics",
    "standard": "standard dynamics",
    "held_out": "held-out images (control)",
    "start": "attack's start (control)",
}

SHADE = 5  # of 255 levels: no pixel of a stored PNG is more than two off, and a third of its bytes is saved

RC: dict[str, Any] = {
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "figure.dpi": 160,
    "svg.hashsalt": "recon",
    "pdf.fonttype": 42,
}


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure of the project's style, in inches, drawn without any display."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams.update(RC)  # type: ignore[arg-type]  # its stub lists every key
    from matplotlib.figure import Figure as MatplotlibFigure

    return MatplotlibFigure(figsize=(width, height), layout="constrained")


def shades(values: Iterable[Any]) -> dict[Any, Any]:
    """A colour for each distinct value, dark to light in their order."""
    import matplotlib

    ordered = sorted(set(values))
    # The light end of the scale does not show on white.
    return dict(zip(ordered, matplotlib.colormaps["viridis"](np.linspace(0, 0.85, len(ordered))), strict=True))


def log_ticks(axis: "Axis") -> None:
    """Label a logarithmic axis in plain numbers, once all is drawn: at 1, 2 and 5 within two decades, else at 1."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    low, high = axis.get_data_interval()
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high < 100 * low else (1.0,)))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def interval(axes: "Axes", y: float, estimate: Mapping[str, Any] | None, colour: str, size: float = 3.0) -> None:
    """An effect's value and interval ("value", "low", "high") as a point on a line at height y, what there is of it."""
    if estimate is None or estimate["value"] is None:
        return
    axes.plot(estimate["value"], y, "o", color=colour, markersize=size)
    if estimate["low"] is not None and estimate["high"] is not None:
        axes.plot([estimate["low"], estimate["high"]], [y, y], color=colour)


def save(drawn: "Figure | Sequence[Figure]", stem: Path) -> list[Path]:
    """Write a figure as PNG, PDF and SVG beside each other; returns the files.

    Of several figures the PDF has a page each, and the other files from the second on are named STEM-2, STEM-3, ...
    """
    from matplotlib.backends.backend_pdf import PdfPages

    # A date in the file would make every redraw differ.
    os.environ.setdefault("SOURCE_DATE_EPOCH", "0")
    pages = list(drawn) if isinstance(drawn, Sequence) else [drawn]
    files, book = [], io.BytesIO()
    with PdfPages(book) as pdf:
        for i, page in enumerate(pages, 1):
            # Laid out once: the layout does not depend on the format, and takes as long as the drawing.
            page.draw_without_rendering()
            page.set_layout_engine("none")
            pdf.savefig(page)
            for kind in ("png", "svg"):
                out = io.BytesIO()
                page.savefig(out, format=kind, metadata={"Date": None} if kind == "svg" else None)
                files.append(stem.with_name(f"{stem.name}{f'-{i}' if i > 1 else ''}.{kind}"))
                write_bytes(files[-1], smaller(out.getvalue()) if kind == "png" else out.getvalue())
    files.append(stem.with_name(f"{stem.name}.pdf"))
    write_bytes(files[-1], book.getvalue())
    return files


def smaller(png: bytes) -> bytes:
    """The same picture to the eye in fewer bytes: shades of `SHADE`, no transparency, a palette if 256 colours do.

    Raises:
      ValueError: a pixel is transparent.
    """
    from PIL import Image

    with Image.open(io.BytesIO(png)) as picture:
        pixels, dpi = np.asarray(picture.convert("RGBA")), picture.info["dpi"]
    if pixels[..., 3].min() < 255:
        raise ValueError("a figure is opaque")
    height, width, _ = pixels.shape
    pixels = np.rint(pixels / SHADE).astype(np.uint8) * np.uint8(SHADE)
    # Four bytes as one number: three of colour, and 255.
    colours, places = np.unique(pixels.view(np.uint32), return_inverse=True)
    few = len(colours) <= 256
    rows = (places if few else pixels[..., :3]).reshape(height, -1).astype(np.uint8)
    # Each row begins with its filter, which is none: flat areas and lines compress better as they are.
    content = zlib.compress(np.pad(rows, ((0, 0), (1, 0))).tobytes(), 9)
    density = [round(each / 0.0254) for each in dpi]  # dots a metre
    parts = {
        b"IHDR": struct.pack(">IIBBBBB", width, height, 8, 3 if few else 2, 0, 0, 0),
        **({b"PLTE": colours.view(np.uint8).reshape(-1, 4)[:, :3].tobytes()} if few else {}),
        b"pHYs": struct.pack(">IIB", *density, 1),
        b"IDAT": content,
        b"IEND": b"",
    }
    chunks = (struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in parts.items())
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)
