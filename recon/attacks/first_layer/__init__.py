"""Exact recovery from the first layer's change: pure functions, in NumPy on BLAS."""
