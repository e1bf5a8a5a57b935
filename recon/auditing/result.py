"""What an audit found."""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Int

from recon.attacks import Reconstruction
from recon.attacks.membership import Membership
from recon.auditing.activation import Activation
from recon.auditing.data import Compared, Nearest
from recon.auditing.view import View
from recon.networks import MLP
from recon.networks.conv_dense import ConvDense
from recon.weights import Layout

OUT_OF_TIME = ("out of time", "time budget")  # as the exact and the gradient attacks say it


@dataclass(frozen=True)
class Stage:
    """One run of an attack.

    Attributes:
      attack: its name.
      images: how many reconstructions it made, `vouched` of which it vouches for, at their size or up to it.
      seconds: wall time of running, without tracing and compiling.
      why: it stopped, as its result says.
    """

    attack: str
    images: int
    vouched: int
    seconds: float
    why: str

    @classmethod
    def of(cls, attack: str, found: Reconstruction) -> "Stage":
        """What came of a run."""
        return cls(attack, len(found.images), count_vouched(found), found.seconds.get("run", 0.0), found.why)


@dataclass(frozen=True)
class Predicted:
    """The class that the network has for each image, by its greatest output.

    Attributes:
      found: of reconstructions.
      train: of training images given, None where none were.
    """

    found: Int[np.ndarray, " m"]
    train: Int[np.ndarray, " n"] | None


@dataclass(frozen=True)
class Defences:
    """What would stop the attack, as it was measured, in words and as a table that the report shows as it is.

    Attributes:
      words, columns, rows: these.
      interrupted: measuring was stopped from the keyboard.
    """

    words: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    interrupted: bool = False


@dataclass(frozen=True)
class Audit:
    """What an attacker gets.

    Attributes:
      network: the architecture.
      layout: which arrays its layers are.
      view: how its inputs are pictures.
      found: the reconstruction, in the network's input space.
      attacks: what was run, in order; `found.attack` is what `found` is from.
      stages: the same, with what came of each.
      activation: how the network's activation is known.
      from_state: the optimiser's state was used.
      from_gradient: one gradient was, in the place of final weights.
      updates: so many updates were, whose mean counts; 0 where final weights were given.
      adapter: a LoRA adapter was, which was merged into the initial weights.
      features: reconstructions are features that a frozen extractor gave the trained head, not images.
      up_to_scale: distances are to the best multiple of each reconstruction, as nothing tells how bright it is.
      train, held_out: distances to training images, and to others as a control; None where none were given.
      nearest: distances of training images and others given to their nearest reconstruction; None without both.
      membership: which of the training images given were trained on; None where none were given.
      predicted: classes as the network tells them, before and after training where these were the weights given, or at
        the weights of a gradient; none where its outputs are no classes.
      defences: what would stop this attack, measured on this setting; None where nothing was measured.
      start: distances of the training images to what the attack started from.
      seconds: wall time of reading, attacking and comparing.
      allowed: seconds that a stage of the attack was allowed, None for no limit.
      skipped: why a stage was left out, in a sentence; None where none was.
      interrupted: it was stopped from the keyboard; `found` is the best until then.
      unrelated: initial and final weights look like those of two networks.
      doubts: what keeps the exact attack from certifying more, as far as its numbers show it.
      notes: how the files were read, where it is not as they are, in sentences.
      bits: significant bits to which the initial and the final weights look rounded, None for those of float32.
      verdict: the result in plain words.
    """

    network: MLP | ConvDense
    layout: Layout
    view: View
    found: Reconstruction
    attacks: tuple[str, ...]
    stages: tuple[Stage, ...] = ()
    activation: Activation = field(default_factory=Activation)
    from_state: bool = False
    from_gradient: bool = False
    updates: int = 0
    adapter: bool = False
    features: bool = False
    up_to_scale: bool = False
    train: Compared | None = None
    held_out: Compared | None = None
    start: Compared | None = None
    nearest: Nearest | None = None
    membership: Membership | None = None
    predicted: tuple[Predicted, ...] = ()
    defences: Defences | None = None
    seconds: float = 0.0
    allowed: float | None = None
    skipped: str | None = None
    interrupted: bool = False
    unrelated: bool = False
    bits: tuple[int | None, int | None] = (None, None)
    doubts: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    verdict: str = ""

    @property
    def n(self) -> int | None:
        """Number of training images as the rank tells it, None where it does not.

        It is exact where all of them are certified. Otherwise there may be more: the rank is at most the number of
        directions in which images of their kind differ at all.
        """
        return self.found.n_estimated

    @property
    def certified(self) -> int | None:
        """Number of reconstructions that the attack vouches for, None where it has no certificate."""
        return None if self.found.certified is None else count_certified(self.found)

    @property
    def vouched(self) -> int:
        """Number of reconstructions that are certified, or would be if their brightness were known."""
        return count_vouched(self.found)

    @property
    def dense(self) -> MLP:
        """The dense layers, of which the first one's change is attacked."""
        return self.network.head if isinstance(self.network, ConvDense) else self.network

    @property
    def one_layer_leaks(self) -> bool:
        """Whether it is a network of leaky units in one layer, whose images nothing but their own gradients tell."""
        return isinstance(self.network, MLP) and bool(self.network.units.leak) and len(self.network.widths) == 1

    @property
    def stopped(self) -> bool:
        """Whether the audit was stopped from the keyboard, while it attacked or while it measured defences."""
        return self.interrupted or (self.defences is not None and self.defences.interrupted)

    @property
    def out_of_time(self) -> bool:
        """Whether the attack ended for want of time."""
        return self.allowed is not None and self.found.why in OUT_OF_TIME


def count_certified(found: Reconstruction) -> int:
    """Number of certified images, none where the attack has no certificate."""
    return 0 if found.certified is None else int(found.certified.sum())


def count_vouched(found: Reconstruction) -> int:
    """Number of images that the attack vouches for, at their size or up to it."""
    vouched = found.certified if found.up_to_scale is None else found.up_to_scale
    return 0 if vouched is None else int(vouched.sum())
