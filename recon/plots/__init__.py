"""Drawing from stored records; matplotlib is imported when something is drawn."""

from recon.plots.style import COLOURS, LABELS, figure, save, shades

__all__ = ["COLOURS", "LABELS", "figure", "save", "shades"]
