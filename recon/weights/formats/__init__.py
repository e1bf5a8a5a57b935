"""Formats of files of weights. A new one is one file in this package that defines `FORMAT`."""

from recon.registry import defined
from recon.weights.formats.base import Format

__all__ = ["Format", "formats"]


def formats() -> dict[str, Format]:
    """Every format of the package, by name."""
    return defined(__name__, "FORMAT")
