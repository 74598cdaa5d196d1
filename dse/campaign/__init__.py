"""Campaigns: the file, the plan, the runner, the durable log, the run folder."""
