"""The audit of one's own model: what its initial and final weights give away of the images it was trained on."""

from recon.auditing.report import save
from recon.auditing.result import Audit
from recon.auditing.run import audit

__all__ = ["Audit", "audit", "save"]
