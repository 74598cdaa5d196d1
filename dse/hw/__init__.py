"""Accelerators: the YAML file form, the frozen internal form, technology and area; names no chip."""
