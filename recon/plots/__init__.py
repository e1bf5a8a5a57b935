"""Drawing from stored records; matplotlib is imported when something is drawn."""

from recon.plots.style import COLOURS, LABELS, figure, interval, log_ticks, save, shades

__all__ = ["COLOURS", "LABELS", "figure", "interval", "log_ticks", "save", "shades"]
