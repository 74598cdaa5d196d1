"""Prices counts: latency, energy and their breakdown, bounds, over whole tables of design points at once."""
