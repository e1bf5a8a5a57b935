"""Charts of a report as SVG, in the page's own colours, light or dark; drawn here since matplotlib's take a second."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from markupsafe import Markup, escape

WIDTH, HEIGHT = 340.0, 230.0  # of a chart, in units that are about a phone's pixels: text of 11 can be read there
LEFT, RIGHT, TOP, BOTTOM = 46.0, 16.0, 14.0, 36.0  # of the area around the axes
DECADES = 7  # powers of ten that are labelled, at most
JITTER = 0.6  # of a row's height over which points that lie near each other are spread


@dataclass(frozen=True)
class Axis:
    """A scale of numbers along a chart's side.

    Attributes:
      low, high: numbers at its ends.
      start, end: where these are.
      log: steps are factors.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Where a number is; those beyond the ends lie at them."""
        low, high, v = (math.log10(x) if self.log else x for x in (self.low, self.high, self._inside(value)))
        return self.start + (self.end - self.start) * (v - low) / (high - low)

    def _inside(self, value: float) -> float:
        return min(max(value, self.low), self.high)

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """Numbers to label, with their labels."""
        if not self.log:
            step = 10.0 ** math.floor(math.log10(self.high - self.low))
            step = next(s for s in (step / 5, step / 2, step, 2 * step) if (self.high - self.low) / s <= 6)
            first = math.ceil(self.low / step)
            return [(i * step, f"{i * step:g}") for i in range(first, math.floor(self.high / step + 1e-9) + 1)]
        powers = range(math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9) + 1)
        every = -(-len(powers) // DECADES)
        return [(10.0**p, f"{10.0**p:g}" if -3 <= p <= 3 else f"1e{p}") for p in powers if p % every == 0]


def decades(values: Iterable[float]) -> tuple[float, float]:
    """Powers of ten around positive numbers."""
    told = [math.log10(v) for v in values]
    low, high = math.floor(min(told)), math.ceil(max(told))
    return 10.0**low, 10.0 ** max(high, low + 1)


def spectrum(values: Float[np.ndarray, " k"], places: Int[np.ndarray, " k"], cut: int, rounding: float) -> Markup:
    """Singular values over their places, from 1; the cut and the level of rounding are lines.

    Args:
      values: above zero.
      cut: number of values above it.
    """
    level = [rounding] * (rounding > 0)
    x = Axis(0.0, float(max(places[-1], cut + 1)), LEFT, WIDTH - RIGHT)
    y = Axis(*decades([*values, *level]), HEIGHT - BOTTOM, TOP, log=True)
    marks = [dot(x(float(place)), y(float(v)), "a" if place <= cut else "b") for place, v in zip(places, values)]
    right = x(cut + 0.5) < WIDTH / 2
    marks += [
        line(x(cut + 0.5), TOP, x(cut + 0.5), HEIGHT - BOTTOM, "mark"),
        text(x(cut + 0.5) + (4 if right else -4), TOP + 10, f"cut after {cut}", "start" if right else "end"),
    ]
    for v in level:
        marks += [line(LEFT, y(v), WIDTH - RIGHT, y(v), "level"), text(LEFT + 4, y(v) - 4, "rounding")]
    return chart("Singular values of the first layer's change", x, y, "number", "singular value", marks)


def strip(rows: Sequence[tuple[str, Float[np.ndarray, "_"]]], limit: float) -> Markup:
    """Distances on a line for each set of images, and the limit under which an image counts as recovered.

    Args:
      rows: names of the sets, and distances, finite; at least one is above zero.
    """
    above = [float(v) for _, distances in rows for v in distances if v > 0]
    low, high = decades([*above, limit])
    x = Axis(low, high, LEFT, WIDTH - RIGHT, log=True)
    tall = (HEIGHT - TOP - BOTTOM) / len(rows)
    rng = np.random.default_rng(0)
    marks = [line(x(limit), TOP, x(limit), HEIGHT - BOTTOM, "mark"), text(x(limit) + 4, TOP - 3, "limit")]
    for i, (name, distances) in enumerate(rows):
        middle, kind = TOP + (i + 0.6) * tall, "ab"[i % 2]
        spread = JITTER * tall * (rng.random(len(distances)) - 0.5)
        marks += [dot(x(float(d)), middle + dy, kind) for d, dy in zip(distances, spread.tolist())]
        marks.append(text(LEFT + 4, TOP + i * tall + 12, name))
    return chart("Distances to the nearest reconstruction", x, None, "distance", "", marks)


def roc(curves: Sequence[tuple[str, Float[np.ndarray, "_"], Float[np.ndarray, "_"]]]) -> Markup:
    """True over false positive rates, a line for each way to tell images, and the diagonal that guesses have."""
    x, y = Axis(0.0, 1.0, LEFT, WIDTH - RIGHT), Axis(0.0, 1.0, HEIGHT - BOTTOM, TOP)
    marks = [line(x(0.0), y(0.0), x(1.0), y(1.0), "level")]
    for i, (name, false, true) in enumerate(curves):
        points = " ".join(f"{x(float(f)):.1f},{y(float(t)):.1f}" for f, t in zip(false, true, strict=True))
        kind, height = "ab"[i % 2], y(0.0) - 12 - 14 * (len(curves) - 1 - i)
        marks += [
            Markup('<polyline class="{}" points="{}"/>').format(kind, points),
            line(x(0.34), height - 4, x(0.4), height - 4, kind),
            text(x(0.42), height, name),
        ]
    return chart("Training images found over others taken for them", x, y, "false positives", "found", marks)


def chart(title: str, x: Axis, y: Axis | None, below: str, beside: str, marks: Iterable[Markup]) -> Markup:
    """Marks in a frame with labelled axes."""
    frame = [line(LEFT, HEIGHT - BOTTOM, WIDTH - RIGHT, HEIGHT - BOTTOM, "axis")]
    for value, label in x.ticks:
        frame += [line(x(value), HEIGHT - BOTTOM, x(value), HEIGHT - BOTTOM + 4, "axis")]
        frame += [text(x(value), HEIGHT - BOTTOM + 15, label, "middle")]
    frame.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 5, below, "middle"))
    if y is not None:
        frame.append(line(LEFT, TOP, LEFT, HEIGHT - BOTTOM, "axis"))
        for value, label in y.ticks:
            frame += [line(LEFT - 4, y(value), LEFT, y(value), "axis"), text(LEFT - 6, y(value) + 4, label, "end")]
        frame.append(
            Markup('<g transform="translate(11 {:g}) rotate(-90)">{}</g>').format(
                (TOP + HEIGHT - BOTTOM) / 2, text(0.0, 0.0, beside, "middle")
            )
        )
    return Markup('<svg viewBox="0 0 {:g} {:g}" role="img" aria-label="{}"><title>{}</title>{}</svg>').format(
        WIDTH, HEIGHT, title, title, Markup().join([*frame, *marks])
    )


def line(x0: float, y0: float, x1: float, y1: float, kind: str) -> Markup:
    """A straight line; the kind is a class of the style sheet."""
    return Markup(f'<line class="{kind}" x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}"/>')


def dot(x: float, y: float, kind: str) -> Markup:
    """A point: a disc of the first kind, a ring of the other."""
    return Markup(f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="2.2"/>')


def text(x: float, y: float, words: str, anchor: str = "start") -> Markup:
    """A label."""
    return Markup(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>')
