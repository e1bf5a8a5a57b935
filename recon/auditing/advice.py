"""What stops such attacks in general, as stored records of this suite show it; the tests compare both."""

from typing import NamedTuple


class Finding(NamedTuple):
    """What was measured.

    Attributes:
      title, words: what was changed, and what came of it.
      record: the record in results/ that holds the numbers.
    """

    title: str
    words: str
    record: str


NOISE = Finding(
    "Noise with clipping (DP-SGD) stops it",
    "with ε up to 10,000 neither attack that was tried brought back a recognisable image of 20 digits; "
    "with ε of 1,000,000 ntk-fast brought back 27 %. Clipping alone is no defence: the exact attack brought back all.",
    "dp/quick-tfds",
)
WIDTH = Finding(
    "Many images for the first layer's width stop the search for images",
    "after ordinary training of ReLU networks on 50 or 100 digits, nothing came back of 6 networks of 2.56 units an "
    "image, everything of 5 of 6 at 3.84, and everything of 6 of 6 at 5.12. Whether a given picture was used shows "
    "all the same.",
    "frontier/quick-samples",
)
FAINT = Finding(
    "Noise on a single gradient",
    "all 64 images of a batch came back with a noise multiplier of 0.00001, none with 0.0001.",
    "gradient-step/quick-samples",
)
EARLY = Finding(
    "Stopping early is no defence",
    "wherever training was stopped, after one step or at the end, the exact attack brought back all 10 digits.",
    "figG1/quick-tfds",
)
AVERAGE = Finding(
    "Averaging clients is no defence while they have few images",
    "of 3 rounds of federated averaging the average gave back all 60 images of all clients.",
    "foreign/full-tfds",
)
FINDINGS = (NOISE, WIDTH, FAINT, EARLY, AVERAGE)
