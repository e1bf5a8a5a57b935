"""The regression gate: what a run measured, against what a run before it measured on the same data."""

from recon.regression.baseline import Baseline, Reason, Spread, Tolerance, make, path, read, write
from recon.regression.compare import CHANGED, FAILS, Row, compare
from recon.regression.kernels import kernels_record
from recon.regression.measures import KINDS, MEASURES, Group, Measure, groups, seeds_wanted
from recon.regression.tables import COLUMNS, cells_of, counted, markdown, plain

__all__ = [
    "CHANGED",
    "COLUMNS",
    "FAILS",
    "KINDS",
    "MEASURES",
    "Baseline",
    "Group",
    "Measure",
    "Reason",
    "Row",
    "Spread",
    "Tolerance",
    "cells_of",
    "compare",
    "counted",
    "groups",
    "kernels_record",
    "make",
    "markdown",
    "path",
    "plain",
    "read",
    "seeds_wanted",
    "write",
]
