"""What a terminal shows of a run."""

import io

import pytest
from rich.console import Console

from recon.progress import bars

NAME = "mnist_odd_even N=20 W=128 linearised ntk-fast seed 0"


def lines(width):
    """Two tasks as a terminal of so many columns shows them: a run, and a cell of it with a long name and loss."""
    console = Console(width=width, force_terminal=True, file=io.StringIO(), color_system=None)
    display = bars(console)
    for name, total, done, text in (("fig2 quick", 50.0, 7.0, "7 of 50 cells"), (NAME, 1.0, 0.42, "loss 4.8e-17")):
        display.update(display.add_task(name, total=total, text=text), completed=done)
    with console.capture() as shown:
        console.print(display.get_renderable())
    return shown.get().splitlines()


@pytest.mark.parametrize("width", [80, 100, 140])
def test_percentage_and_time_are_there_however_narrow(width):
    run, cell = lines(width)
    assert max(len(run), len(cell)) <= width
    assert " 14% 0:00:" in run
    assert " 42% 0:00:" in cell
    assert run.count("left -:--:--") == cell.count("left -:--:--") == 1
    assert "7 of 50 cells" in run
    assert (NAME in cell) == (width == 140)
    assert "…" in cell or width == 140
    assert "loss 4.8e-17" in cell
