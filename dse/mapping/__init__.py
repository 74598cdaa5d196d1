"""Mappings of one operator on one core: the frontier of count vectors that no capacity, bandwidth or energy enters."""
