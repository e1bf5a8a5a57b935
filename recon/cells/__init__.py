"""Cells: the settings that benchmarks are made of, each computed once. One file for each kind."""

from recon.cells.attack import AttackCell
from recon.cells.base import NEAR, Cell, data_record, fingerprints
from recon.cells.pruning import PruningCell

__all__ = ["NEAR", "AttackCell", "Cell", "PruningCell", "data_record", "fingerprints"]
