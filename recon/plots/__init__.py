"""Drawing from stored records; matplotlib is imported when something is drawn."""

from recon.plots.style import COLOURS, LABELS, figure, log_ticks, save, shades

__all__ = ["COLOURS", "LABELS", "figure", "log_ticks", "save", "shades"]
