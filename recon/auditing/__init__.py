"""The audit of one's own model: what its initial and final weights give away of the images it was trained on."""

from recon.auditing.run import Audit, audit

__all__ = ["Audit", "audit"]
