"""`recon doctor`: what files of weights hold and how an audit would read them, without attacking."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from recon.cli.console import out
from recon.cli.options import Kernels, Layers
from recon.errors import ReconError

if TYPE_CHECKING:
    from recon.weights import Compared, Examined

SHOWN = 40  # arrays of a file that is no network, which are listed
NAMED = 4  # arrays that are left out, by name


def doctor(
    files: Annotated[list[Path], typer.Argument(help="Files of weights; of two, the initial and the final.")],
    layers: Layers = None,
    kernels: Kernels = None,
) -> None:
    """What do files of weights hold, and how would an audit read them? Nothing is attacked.

    Says the format, the layers it takes for the network, what it leaves out and why, the activation if the file tells
    it, and to how many bits the numbers were rounded. Of two files also whether they fit together, how far the first
    layer moved, and the rank of its change. Exit code 1: a file cannot be read as a network, or two do not fit.

    Example: recon doctor init.keras final.keras
    """
    from recon.weights import compare, examine

    found: list[Examined] = []
    problems = 0
    for path in files:
        try:
            one = examine(path, layers=layers or (), kernels=kernels)
        except ReconError as error:
            problems += 1
            tell(str(path), [("problem", str(error))])
            continue
        found.append(one)
        problems += one.problem is not None
        tell(str(path), described(one))
    if len(files) == len(found) == 2 and not problems:
        try:
            tell("together", together(compare(*found, layers=layers or (), kernels=kernels)))
        except ReconError as error:
            problems += 1
            tell("together", [("problem", str(error))])
    if problems:
        raise typer.Exit(1)


def tell(title: str, rows: Sequence[tuple[str, str]]) -> None:
    """Print a title and rows below it."""
    out.print(f"[bold]{escape(title)}[/]", highlight=False, soft_wrap=True)
    for key, value in rows:
        shown = f"[red]{escape(value)}[/]" if key == "problem" else escape(value)
        out.print(f"  {key:<14}{shown}", highlight=False, soft_wrap=True)


def described(one: "Examined") -> list[tuple[str, str]]:
    """What a file holds, as rows of a table."""
    from recon.weights.names import natural
    from recon.weights.precision import ROUNDED

    numbers = sum(array.size for array in one.arrays.values())
    rows = [("format", f"{one.format}, {len(one.arrays)} arrays, {numbers:,} numbers")]
    layout = one.layout
    if layout is None:
        names = sorted(one.arrays, key=natural)
        rows += [("array", array_of(one, name)) for name in names[:SHOWN]]
        rows += [("", f"and {len(names) - SHOWN} more")] if len(names) > SHOWN else []
    else:
        stored = "(out, in)" if layout.transposed else "(in, out)"
        sizes = "-".join(map(str, one.sizes))
        rows.append(("network", f"{sizes}, kernels stored {stored}"))
        for kernel, bias in layout.layers:
            rows.append(("layer", f"{array_of(one, kernel)}, {'no bias' if bias is None else array_of(one, bias)}"))
    rows.append(("activation", one.activation or "the file does not tell"))
    if one.bits is not None and one.bits in ROUNDED:
        lost = (
            f"changes below {100 * 2.0**-one.bits:.1g} % of a weight are lost" if one.bits < 24 else "stored as float64"
        )
        rows.append(("rounding", f"to {one.bits} significant bits, as of {ROUNDED[one.bits]}: {lost}"))
    rows += [("normalisation", path or "without a name") for path in one.normalised]
    for reason, left in one.left_out.items():
        names = sorted(left, key=natural)
        some = ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
        rows.append(("left out", f"{reason}: {some}"))
    return rows + ([] if one.problem is None else [("problem", one.problem)])


def array_of(one: "Examined", name: str) -> str:
    """An array's name, shape and kind."""
    array = one.arrays[name]
    return f"{name} {tuple(array.shape)} {array.dtype}"


def together(pair: "Compared") -> list[tuple[str, str]]:
    """How two files fit together, as rows of a table."""
    rows = [("first layer", f"moved by {pair.moved:.2g} of its size")]
    if pair.rank is not None:
        told = (
            f"{pair.rank} (gap {pair.gap:.2g}): at least {pair.rank} training images, if plain gradient steps made it"
        )
    elif pair.gap is None:
        told = "not computed for a layer so large: an audit does"
    else:
        told = f"not clear (largest gap {pair.gap:.2g}), as after Adam, noise or rounding: an audit says more"
    return [*rows, ("rank", told)]
