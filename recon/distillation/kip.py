"""Kernel inducing points (Nguyen et al. 2021): fit the training targets by kernel regression on the set."""

from jaxtyping import PRNGKeyArray

from recon.distillation.base import DistilledSet, Method, Problem
from recon.distillation.descent import KernelDistillation, run
from recon.distillation.regression import regression_loss
from recon.progress import Report


def distil(problem: Problem, settings: KernelDistillation, key: PRNGKeyArray, report: Report) -> DistilledSet:
    """Minimise ½ mean‖y_T − K_TS (K_SS + ridge)⁻¹ y_S‖²; see `recon.distillation.descent.run`."""
    return run("kip", regression_loss, lambda p, _: (p.x, p.y), problem, settings, key, report)


METHOD = Method("kip", "kernel regression on the set fits the training targets", KernelDistillation(), distil)
