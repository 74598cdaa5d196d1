"""Comparison with numbers from outside: published claims and measured silicon."""
