"""Predictions of measured collectives and expert exchanges: what the tables of real nodes are compared with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dse.errors import UsageError, did_you_mean
from dse.system.collectives import collective_cost, level_cost, measured_cost
from dse.system.exchange import RoutedMessages, exchange_s
from dse.system.system import Operation

if TYPE_CHECKING:
    from dse.system.system import System

_ALIASES: Final = {"alltoall": Operation.ALL_TO_ALL}


def predict_collective_s(
    system: System, op: str, *, size_bytes: float, ranks: int, implementation: str = "nccl", dtype: str = "fp16"
) -> float:
    """Seconds of one collective over `ranks` neighbouring chips of `system`.

    `size_bytes` as nccl-tests reports it: all-gather all that a rank receives, reduce-scatter and all-to-all all that it
    sends. With protocols of `implementation` on the level that holds the ranks, the fastest of them; where it has none
    for this operation, the alpha-beta cost of the level (`dse.system.collectives`). The data type changes nothing.

    Raises:
        UsageError: an unknown operation, sizes below 1, or more ranks than chips.
    """
    del dtype
    operation = _operation(op)
    if ranks < 1 or size_bytes < 1:
        raise UsageError(f"a collective needs at least 1 rank and 1 byte; given: {ranks} ranks, {size_bytes:g} bytes")
    if ranks == 1:
        return 0.0
    spans = system.spans(ranks)
    if len(spans) > 1:
        return collective_cost(system, operation, size_bytes, ranks).seconds
    level = spans[0][0]
    found = measured_cost(level, operation, size_bytes, ranks, implementation)
    return (found or level_cost(level, operation, size_bytes, ranks)).seconds


def predict_all_to_all_s(
    system: System,
    *,
    phase: str,
    mode: str,
    ranks: int,
    nodes: int,
    tokens_per_rank: int,
    hidden: int,
    top_k: int,
    experts: int,
    dtype: str = "",
    sms: int = 0,
) -> float:
    """Seconds of one expert dispatch or combine over `ranks` chips in `nodes` scale-up domains.

    Dispatch carries fp8 with one fp32 scale per 128 values, combine bf16, unless `dtype` (fp8 or bf16) says otherwise;
    `sms` workers copy in normal mode. `experts` changes nothing: routing is uniform.

    Raises:
        UsageError: unknown mode, phase or data type, a system whose links have no such measurements, or sizes below 1.
    """
    del experts
    if min(ranks, nodes, tokens_per_rank, hidden, top_k) < 1:
        raise UsageError("an expert exchange needs ranks, nodes, tokens, hidden width and experts per token of at least 1")
    if ranks % nodes:
        raise UsageError(f"{ranks} ranks cannot be spread evenly over {nodes} nodes; take a multiple of {nodes}")
    width = dtype or ("fp8" if phase == "dispatch" else "bf16")
    messages = RoutedMessages(
        tokens=tokens_per_rank, experts_per_token=top_k, bytes_per_token=token_bytes(hidden, width, low_latency=mode == "low_latency")
    )
    return exchange_s(system, messages, mode=mode, phase=phase, ranks=ranks, nodes=nodes, workers=sms)


def token_bytes(hidden: int, dtype: str, *, low_latency: bool) -> float:
    """Bytes of one token on the wire: bf16 2 per value; fp8 1 and an fp32 scale per 128, with 16 bytes of header in low latency.

    Source: DeepEP, message layout of its dispatch kernels; the measured tables count the same.

    Raises:
        UsageError: another data type.
    """
    if dtype in ("bf16", "fp16"):
        return 2.0 * hidden
    if dtype == "fp8":
        return hidden + 4.0 * hidden / 128 + (16.0 if low_latency else 0.0)
    raise UsageError(f"expert exchange in '{dtype}' is not known; allowed: bf16, fp16, fp8")


def _operation(name: str) -> Operation:
    if name in _ALIASES:
        return _ALIASES[name]
    if name not in set(Operation):
        raise UsageError(f"operation '{name}' is not known; allowed: {', '.join(Operation)}.{did_you_mean(name, list(Operation))}")
    return Operation(name)
