"""Neural tangent kernels of finite networks, and of infinitely wide ones."""

from recon.kernels.empirical import as_matrix, kernel_distance, ntk, ntk_by_jacobian
from recon.kernels.infinite import InfiniteMLP, Kernels

__all__ = ["InfiniteMLP", "Kernels", "as_matrix", "kernel_distance", "ntk", "ntk_by_jacobian"]
