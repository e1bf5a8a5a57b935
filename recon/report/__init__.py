"""The report: stored records as one page that opens from disk. Nothing is computed here."""

from recon.report.page import MOST_BYTES, build, write

__all__ = ["MOST_BYTES", "build", "write"]
