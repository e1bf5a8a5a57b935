"""Drawing from stored records; matplotlib is imported when something is drawn."""

from recon.plots.style import COLOURS, LABELS, Axes, Figure, interval, log_ticks, new_figure, save, shades

__all__ = ["COLOURS", "LABELS", "Axes", "Figure", "interval", "log_ticks", "new_figure", "save", "shades"]
