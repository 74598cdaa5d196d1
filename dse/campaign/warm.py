"""Imported by the server that workers are forked from: what every worker's first trial would otherwise import for itself."""

from __future__ import annotations

import gc
from contextlib import suppress

import dse.campaign.evaluator  # noqa: F401
from dse import plugins
from dse.errors import UsageError

with suppress(UsageError):  # a broken catalogue: the coordinator tells of it
    plugins.model_catalogues()
    plugins.accelerator_catalogues()
gc.freeze()  # what is there now stays: no collection in a worker need look at it, or copy its pages
