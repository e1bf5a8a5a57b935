"""What the caller of the exact attack may set."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Exact:
    """Settings of the search.

    Attributes:
      seconds: stop after so much time (None: no limit).
      starts: stop after so many starts (None: 100 for each image, 20,000 or more after training).
      patience: stop after so many batches in a row that found nothing.
      batch: most starts at once.
      rounds: most rounds of the first stage.
      ratio: accept a vector whose median |g| on inactive units is below this fraction of rms |g| on active ones. At
        0.01 mixtures came in, which left a search for 200 CIFAR-10 images on 2048 units stuck at 199.
      agreement: and whose pattern agrees with its image's on this fraction of the units.
      tangent: search by the whole network's gradients, too; without, by the first layer alone (ReLU).
      loose: search by the first layer alone, and allow more units that were active for a while, as for an
        optimiser's state.
    """

    seconds: float | None = None
    starts: int | None = None
    patience: int = 20
    batch: int = 128
    rounds: int = 30
    ratio: float = 0.002
    agreement: float = 0.85
    tangent: bool = True
    loose: bool = False
