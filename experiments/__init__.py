"""Experiments: each folder with a run.py answers one question and compares what it finds with expected values."""
