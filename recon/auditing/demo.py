"""A network trained on the spot, in files as one's own would be: what a newcomer audits first."""

from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Float
from PIL import Image

from recon.dynamics import Descent, train
from recon.networks import MLP
from recon.tasks import load_task
from recon.weights import save_weights

N, WIDTH = 20, 256  # images and units of either hidden layer: trained and audited in seconds


@dataclass(frozen=True)
class Demo:
    """Files to audit.

    Attributes:
      initial, final: weights before and after training.
      data, held_out: folders with the training images, and with as many others.
      mean: that was subtracted from the pixels in [0, 1].
    """

    initial: Path
    final: Path
    data: Path
    held_out: Path
    mean: float


def make_demo(folder: Path, seed: int = 0) -> Demo:
    """Train a network on handwritten digits that come with a package, and write what an audit of it takes.

    Args:
      folder: for the files.
      seed: chooses images and initial weights.

    Raises:
      ReconError: the place cannot be written.
    """
    digits = load_task("mnist_odd_even", N, seed=seed, source="samples", n_test=1)
    network = MLP((WIDTH, WIDTH))
    start = jax.tree.map(np.asarray, network.init(jax.random.key(seed), digits.image_shape))
    trained = train(network, start, digits.train.x, digits.train.y, Descent(momentum=0.9))
    made = Demo(folder / "init.safetensors", folder / "final.safetensors", folder / "train", folder / "other",
                float(digits.mean[0]))  # fmt: skip
    save_weights(made.initial, start)
    save_weights(made.final, trained.final.params)
    for place, images in ((made.data, digits.train.x), (made.held_out, digits.held_out.x)):
        save_pictures(digits.pixels(images), place)
    return made


def save_pictures(pixels: Float[np.ndarray, "n h w 1"], folder: Path) -> None:
    """Write grey pictures in [0, 1] as PNG of 8 bits, named by their numbers."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, picture in enumerate(np.rint(255 * pixels[..., 0]).astype(np.uint8)):
        Image.fromarray(picture).save(folder / f"{i:02d}.png")
