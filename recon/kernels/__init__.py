"""Neural tangent kernels of finite networks; those of infinitely wide ones are in `infinite`."""

from recon.kernels.empirical import as_matrix, compiled_ntk, kernel_distance, ntk, ntk_by_jacobian

__all__ = ["as_matrix", "compiled_ntk", "kernel_distance", "ntk", "ntk_by_jacobian"]
