"""Schedules of one graph on one core: what runs slice by slice, what stays on chip, and the frontiers that follow."""
