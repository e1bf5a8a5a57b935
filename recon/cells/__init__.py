"""Cells: the settings that benchmarks are made of, each computed once. One file for each kind."""

from recon.cells.attack import AttackCell
from recon.cells.base import Cell, data_record, fingerprints

__all__ = ["AttackCell", "Cell", "data_record", "fingerprints"]
