"""Stored records for papers, pages and other programs: tables, citations, a description for machines."""

from recon.publish.tables import csv_table, latex_document, latex_table, markdown_claims, markdown_table

__all__ = ["csv_table", "latex_document", "latex_table", "markdown_claims", "markdown_table"]
