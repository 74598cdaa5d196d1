"""Design-space exploration of accelerators for attention and mixture-of-experts layers."""

__version__ = "0.1.0"
