"""Progress of long computations: kernels report a fraction and a text, whoever calls decides how it is shown."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, Task, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text

Report = Callable[[float, str], None]
"""Called with the fraction done, in [0, 1], and a short text such as the loss."""

PLAIN_EVERY = 15.0  # seconds between lines where the output is no terminal


def silent(fraction: float, text: str) -> None:
    """Shows nothing."""


class Shortened(TextColumn):
    """A text on one line, the first to be cut where a terminal is narrow: names, not how far and how long."""

    def render(self, task: Task) -> Text:
        """The text, on a line."""
        text = super().render(task)
        text.no_wrap, text.overflow = True, "ellipsis"
        return text


def bars(console: Console) -> Progress:
    """A rich progress display with bar, elapsed and remaining time, which are there at 80 columns too."""
    return Progress(
        Shortened("{task.description}", table_column=Column()),
        BarColumn(bar_width=12, table_column=Column(no_wrap=True)),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(table_column=Column(no_wrap=True)),
        TextColumn("left"),
        TimeRemainingColumn(table_column=Column(no_wrap=True)),
        Shortened("{task.fields[text]}", table_column=Column()),
        console=console,
        transient=True,
    )


@contextmanager
def reporter(title: str, show: bool | Report = True) -> Iterator[Report]:
    """A `Report` for one computation: a bar with ETA on a terminal, a line now and then elsewhere.

    Args:
      show: True for the standard error stream, False for silence, or a `Report` that takes its place.
    """
    if not isinstance(show, bool):
        yield show
    elif not show:
        yield silent
    elif Console(stderr=True).is_terminal:
        with bars(Console(stderr=True)) as display:
            task = display.add_task(title, total=1.0, text="")
            yield lambda fraction, text: display.update(task, completed=fraction, text=text)
    else:
        yield plain(title)


def plain(title: str) -> Report:
    """A `Report` that writes a line to the standard error stream at most every `PLAIN_EVERY` seconds."""
    start = last = time.monotonic()

    def report(fraction: float, text: str) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= PLAIN_EVERY:
            last = now
            left = (now - start) * (1 - fraction) / fraction if fraction > 0 else float("nan")
            print(f"{title}: {fraction:4.0%}, about {left:.0f} s left {text}", file=sys.stderr, flush=True)

    return report
