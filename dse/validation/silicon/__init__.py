"""Measured kernels of real chips against calibrated predictions."""
