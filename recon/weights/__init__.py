"""Weights from files of this or other programs: read without running anything in them, brought into Flax layout."""

from recon.weights.arrange import arranged, arranged_both
from recon.weights.doctor import Compared, Examined, compare, examine
from recon.weights.files import flat, load_weights, read_arrays, save_weights, told_activation
from recon.weights.layout import Layout
from recon.weights.moments import momentum
from recon.weights.names import bare
from recon.weights.network import widths_of
from recon.weights.precision import stored_bits

__all__ = [
    "Compared",
    "Examined",
    "Layout",
    "arranged",
    "arranged_both",
    "bare",
    "compare",
    "examine",
    "flat",
    "load_weights",
    "momentum",
    "read_arrays",
    "save_weights",
    "stored_bits",
    "told_activation",
    "widths_of",
]
