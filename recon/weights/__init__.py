"""Weights from files of this or other programs: read without running anything in them, brought into Flax layout."""

from recon.weights.files import load_weights, read_arrays, save_weights
from recon.weights.layout import Layout, arranged, flat, momentum, widths_of

__all__ = ["Layout", "arranged", "flat", "load_weights", "momentum", "read_arrays", "save_weights", "widths_of"]
