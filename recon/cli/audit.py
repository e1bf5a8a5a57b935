"""`recon audit`: what a network's weights give away of the images it was trained on."""

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from recon.cli import STOPPED, completion
from recon.cli.checkpoints import audit_over_training
from recon.cli.console import out, say, shown, table
from recon.cli.interrupts import leave
from recon.cli.options import Kernels, Layers, flag
from recon.cli.pipeline import FOUND, FailOn, exit_code, require_answerable
from recon.errors import ReconError
from recon.records.places import folder_to_write

if TYPE_CHECKING:
    from recon.auditing.result import Defences

WEIGHTS = ".safetensors (or a folder of them), .npz, .keras, .h5, .skops, .onnx, Flax .msgpack or an Orbax folder."


def audit(
    init: Annotated[
        Path | None,
        typer.Option("--init", "--weights", help=f"Weights before training, or those of --gradient: {WEIGHTS}"),
    ] = None,
    final: Annotated[Path | None, typer.Option(help="Weights after training, or a checkpoint.")] = None,
    checkpoints: Annotated[
        Path | None,
        typer.Option(
            help="In place of --final: a folder of checkpoints, each of which is audited. The same command goes on "
            "where it was stopped."
        ),
    ] = None,
    gradient: Annotated[
        Path | None,
        typer.Option(help="In place of --final: the gradient of one batch at --weights, saved as weights are."),
    ] = None,
    update: Annotated[
        list[Path] | None,
        typer.Option(
            help="In place of --final: final less initial weights, as a client sends them; of several the mean."
        ),
    ] = None,
    adapter: Annotated[
        Path | None,
        typer.Option(help="In place of --final: a LoRA adapter for --init, PEFT's folder with adapter_config.json."),
    ] = None,
    network: Annotated[
        str | None,
        typer.Option(
            help="Architecture, mlp:1024x1024, to check (default: as the weights tell); conv:down=max and the like for "
            "convolutions before dense layers."
        ),
    ] = None,
    activation: Annotated[
        str,
        typer.Option(
            help="Of the hidden units: relu, leaky_relu (leaky_relu:0.2 for another slope), gelu, silu, tanh, elu, "
            "softplus, sigmoid; auto tries ReLU, and where nothing comes back the others.",
            autocompletion=completion.activations,
        ),
    ] = "auto",
    data: Annotated[
        Path | None, typer.Option(help="Training images, to measure distances to: a folder of pictures or an .npz.")
    ] = None,
    heldout: Annotated[
        Path | None, typer.Option(help="Images that were not trained on, the control, as --data.")
    ] = None,
    optimizer_state: Annotated[
        Path | None,
        typer.Option(
            help="File with Adam's first moment or SGD's momentum buffer (may be the one of --final): attacked in "
            "place of the weights' change."
        ),
    ] = None,
    features: Annotated[
        bool, flag("--features", "Audit the trained head behind a frozen extractor: its features come back.")
    ] = False,
    image_shape: Annotated[
        str | None, typer.Option(help="28x28, 32x32x3 or, channels first, 3x32x32 (default: a square, if it is one).")
    ] = None,
    mean: Annotated[
        str | None,
        typer.Option(
            help="The network takes (pixel - mean)/std of pixels in [0, 1]; by channel with commas. Known, they bound "
            "what an image can be."
        ),
    ] = None,
    std: Annotated[str | None, typer.Option(help="See --mean.")] = None,
    layers: Layers = None,
    kernels: Kernels = None,
    linearised: Annotated[
        bool, flag("--linearised", "The weights are of a Taylor model around the initial ones, or came of one step.")
    ] = False,
    attack: Annotated[
        str,
        typer.Option(
            help="auto (exact, a few times if need be, then hybrid, or ntk-fast) or a name, see `recon list`.",
            autocompletion=completion.audits,
        ),
    ] = "auto",
    m: Annotated[
        int | None, typer.Option("-m", min=1, help="Images to reconstruct, where the weights do not tell.")
    ] = None,
    limit: Annotated[
        float | None, typer.Option(help="Distance that counts as recovered (default: L2 0.1 of pixels in [0, 1]).")
    ] = None,
    seconds: Annotated[float | None, typer.Option(help="Stop each stage of the attack after so long.")] = None,
    seed: Annotated[int, typer.Option(help="Of the attack.")] = 0,
    defences: Annotated[
        bool,
        flag(
            "--defences",
            "Measure what would stop the attack: train on the images found again, one thing changed at "
            "a time, and attack (a minute, or --seconds).",
        ),
    ] = False,
    demo: Annotated[
        bool, flag("--demo", "Audit a network that is trained on the spot, and say how it was done: needs no files.")
    ] = False,
    fail_on: FailOn = None,
    folder: Annotated[Path, typer.Option("--out", help="Folder for the report and the pictures.")] = Path(
        ".recon/audit"
    ),
) -> None:
    """Attack your own model: how many training images do its weights before and after training, or one gradient, show?

    Takes multi-layer perceptrons, also behind convolutions, of PyTorch, Flax, Keras, scikit-learn or anything else that
    saves arrays. Ctrl-C reports what was found so far. Writes report.html, the same as report.md and report.json,
    reconstructions.npz and a PNG of each reconstruction.

    Example: recon audit --init init.safetensors --final final.safetensors --data pictures/

    One gradient: recon audit --weights weights.npz --gradient gradient.npz

    A first look: recon audit --demo
    """
    folder_to_write(folder / "images")  # before hours of work, not after
    if demo:
        files = init, final, checkpoints, gradient, update, adapter, optimizer_state, data, heldout, mean, std
        if any(given is not None for given in files):
            raise ReconError("--demo audits a network of its own: leave out the files, or --demo.")
        init, final, data, heldout, mean = demonstrate(folder, seed)
    require_answerable(fail_on, data, heldout)
    if init is None:
        raise ReconError("Give the weights before training by --init, or --demo for a first look.")
    options: dict[str, Any] = {
        "network": network,
        "activation": activation,
        "layers": layers or (),
        "kernels": kernels,
        "features": features,
        "data": data,
        "held_out": heldout,
        "image_shape": None if image_shape is None else sizes(image_shape),
        "mean": numbers(mean),
        "std": numbers(std),
        "linearised": linearised,
        "attack": attack,
        "m": m,
        "limit": limit,
        "seconds": seconds,
        "key": seed,
        "defences": defences,
    }
    if checkpoints is not None:
        if update or any(given is not None for given in (final, gradient, adapter, optimizer_state)):
            raise ReconError(
                "--checkpoints takes the place of --final, what stands for it, and --optimizer-state: give one."
            )
        audit_over_training(init, checkpoints, folder, fail_on, **options)
        return
    from recon.auditing import audit as run
    from recon.auditing.pipeline import Checked, findings, unanswered
    from recon.auditing.report import save
    from recon.auditing.verdict import leaks

    options |= {"gradient": gradient, "update": update, "adapter": adapter, "optimizer_state": optimizer_state}
    made = run(init, final, **options)
    save(made, folder)
    out.print(f"[{'red' if leaks(made) else 'yellow'}]{escape(made.verdict)}[/]", highlight=False, soft_wrap=True)
    if made.defences is not None:
        show_defences(made.defences)
    say(f"{made.seconds:.1f} s. Report: {folder / 'report.html'}")
    path = final or gradient or adapter or (update or [init])[0]
    checked = Checked(path, findings(made), made.seconds, unanswered(made).get(fail_on or "", ""))
    code = exit_code([checked], fail_on, folder)
    if made.stopped or made.out_of_time:
        leave(STOPPED if made.stopped and fail_on and code != FOUND else code)
    if code:
        raise typer.Exit(code)


def show_defences(measured: "Defences") -> None:
    """Print what would stop the attack."""
    drawn = table(*measured.columns)
    for row in measured.rows:
        drawn.add_row(*row)
    out.print(drawn, markup=False)
    say(measured.words)


def demonstrate(folder: Path, seed: int) -> tuple[Path, Path, Path, Path, str]:
    """Write files to audit, say how one would audit them, and give the options' values."""
    from recon.auditing.demo import make_demo

    made = make_demo(folder / "demo", seed)
    mean = str(made.mean)
    files = [shlex.quote(shown(path)) for path in (made.initial, made.final, made.data, made.held_out)]
    say("A network was trained on 20 digits. To audit its files again, as you would your own:")
    say(f"recon audit --init {files[0]} --final {files[1]} --data {files[2]} --heldout {files[3]} --mean {mean}")
    return made.initial, made.final, made.data, made.held_out, mean


def sizes(text: str) -> tuple[int, ...]:
    """The numbers of 28x28."""
    if not re.fullmatch(r"[1-9]\d{0,5}(x[1-9]\d{0,5}){1,2}", text, re.ASCII):
        raise ReconError(f"{text!r} is no shape of an image: write 28x28 or 32x32x3.")
    return tuple(map(int, text.split("x")))


def numbers(text: str | None) -> tuple[float, ...] | None:
    """The numbers of 0.49,0.48,0.45; None where nothing is said."""
    try:
        return None if text is None else tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise ReconError(f"{text!r} is no number: write 0.13, or one for each channel with commas.") from error
